package spool

import (
	"fmt"
	"io"
	"os"
)

// Scratch is a temporary file that leaves nothing behind after a crash: in
// memory while Config.Memory has room, and otherwise an unlinked file on disk.
type Scratch struct {
	*os.File

	spool *Spool
	taken int64 // reserved bytes of memory
}

// Scratch creates a file for n bytes and fills it from body, which must contain
// exactly n.
func (s *Spool) Scratch(body io.Reader, n int64) (*Scratch, error) {
	scratch, err := s.newScratch(n)
	if err != nil {
		return nil, fmt.Errorf("create scratch file: %w", err)
	}
	got, err := io.Copy(scratch.File, io.LimitReader(body, n+1))
	if err == nil && got != n {
		err = fmt.Errorf("got %d bytes, want %d", got, n)
	}
	if err != nil {
		scratch.Close()
		return nil, fmt.Errorf("write scratch file: %w", err)
	}
	return scratch, nil
}

func (s *Spool) newScratch(n int64) (*Scratch, error) {
	if s.memory.reserve(n) {
		if file, err := MemoryFile(); err == nil {
			return &Scratch{file, s, n}, nil
		}
		s.memory.unreserve(n) // fall back to the disk
	}
	if err := s.Room(n); err != nil {
		return nil, err
	}
	file, err := s.newPart()
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close() // the error of Remove says it
		return nil, err
	}
	return &Scratch{file, s, 0}, nil
}

// Close deletes the file.
func (s *Scratch) Close() {
	_ = s.File.Close() // nothing reads it any more
	s.spool.memory.unreserve(s.taken)
	s.taken = 0
}
