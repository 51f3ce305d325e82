package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// memory is the part of the spool that is not on disk: uploads whose clients
// wait for the set and get no id before it is published. The source is the only
// part of an upload that never has to reach the disk.
type memory struct {
	mu   sync.Mutex
	free int64 // bytes
	held map[string]*heldSource
}

type heldSource struct {
	file  *os.File
	bytes int64

	disk   sync.Mutex // held while the source is made durable
	onDisk bool
}

// reserve reserves n bytes and reports whether they were available.
func (m *memory) reserve(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.free {
		return false
	}
	m.free -= n
	return true
}

func (m *memory) unreserve(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
}

func (m *memory) get(digest string) *heldSource {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[digest]
}

// hold stores a source and reports whether it did; it does not if it has an
// equal one.
func (m *memory) hold(digest string, h *heldSource) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[digest] != nil {
		return false
	}
	m.held[digest] = h
	return true
}

// remove deletes a source. Open files of it stay valid.
func (m *memory) remove(digest string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.held[digest]
	if !ok {
		return nil
	}
	delete(m.held, digest)
	m.free += h.bytes
	return h.file.Close()
}

// MemoryFile creates a file in memory, which disappears with the process.
// This process can open it again by its name.
func MemoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("source", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create memory file: %w", err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd)), nil
}

// ReceiveInMemory is like Receive, but stores the upload in memory while
// Config.Memory has room for it, and otherwise on disk.
func (s *Spool) ReceiveInMemory(body io.Reader, filename string) (*Upload, error) {
	if s.config.Memory == 0 {
		return s.Receive(body, filename)
	}
	file, err := MemoryFile()
	if err != nil { // fall back to the disk
		return s.Receive(body, filename)
	}
	return s.receive(&Upload{Filename: filename, Timings: make(ladder.Timings), spool: s, file: file, inMemory: true}, body)
}

// content writes the bytes of an upload to memory or disk.
type content struct{ *Upload }

func (u content) Write(b []byte) (int, error) {
	if u.inMemory {
		if u.spool.memory.reserve(int64(len(b))) {
			u.taken += int64(len(b))
			return u.file.Write(b)
		}
		if err := u.spill(); err != nil {
			return 0, err
		}
	}
	return u.file.Write(b)
}

// spill moves the upload from memory to disk.
func (u *Upload) spill() error {
	file, err := u.spool.newPart()
	if err != nil {
		return err
	}
	err = copyFile(file, u.file)
	_ = u.file.Close() // of the memory file
	u.file, u.inMemory = file, false
	u.spool.memory.unreserve(u.taken)
	u.taken = 0
	return err
}

// copyFile appends the complete content of from to to.
func copyFile(to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(from, 0, info.Size()))
	return err
}

// InMemory reports whether the upload is in memory.
func (u *Upload) InMemory() bool { return u.inMemory }

// Hold stores an in-memory upload under its digest until Remove. It does not
// survive the process unless Persist is called.
func (u *Upload) Hold() {
	if u.spool.memory.hold(u.Digest(), &heldSource{file: u.file, bytes: u.taken}) {
		u.file, u.taken = nil, 0
	}
	u.Discard() // if an equal source is held already
}

// Persist makes a held source durable. It does nothing for a source on disk,
// and returns os.ErrNotExist for an unknown one.
func (s *Spool) Persist(digest string) error {
	h := s.memory.get(digest)
	if h == nil {
		_, err := os.Stat(s.path(digest))
		return err
	}
	h.disk.Lock()
	defer h.disk.Unlock()
	if h.onDisk {
		return nil
	}
	err := s.persist(h.file, digest)
	h.onDisk = err == nil
	return err
}

func (s *Spool) persist(from *os.File, digest string) (err error) {
	part, err := s.newPart()
	if err != nil {
		return fmt.Errorf("persist source: %w", err)
	}
	err = copyFile(part, from)
	if err == nil {
		err = part.Sync()
	}
	if err == nil {
		err = durable.Rename(part.Name(), s.path(digest))
	}
	if err != nil {
		_ = os.Remove(part.Name()) // otherwise swept at the next start
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return fmt.Errorf("persist source: %w", err)
	}
	return nil
}

// open opens a held source with its own file offset.
func (h *heldSource) open() (*os.File, error) { return os.Open(h.file.Name()) }
