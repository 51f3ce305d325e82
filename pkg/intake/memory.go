package intake

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/atomicfile"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// memory is the part of the spool that is not on the disk: uploads whose
// clients wait for the set, and are told nothing before it is published. A
// source is what of an upload need not be written at all.
type memory struct {
	mu   sync.Mutex
	free int64 // bytes
	held map[string]*heldSource
}

type heldSource struct {
	file  *os.File
	bytes int64

	disk   sync.Mutex // held by who makes it durable
	onDisk bool
}

// take reserves n bytes, if there are so many.
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

// drop forgets a source. Who has it open keeps it.
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

// newMemoryFile is a file that is on no disk, so that a crash leaves nothing of
// it; this process can open it anew by its name.
func newMemoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("upload", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd)), nil
}

// ReceiveInMemory is Receive without the disk, as long as Config.Memory has
// room for all that is held: what has not goes on to the disk.
func (s *Spool) ReceiveInMemory(body io.Reader, filename string) (*Upload, error) {
	if s.config.Memory == 0 {
		return s.Receive(body, filename)
	}
	file, err := newMemoryFile()
	if err != nil { // the disk is there for all that
		return s.Receive(body, filename)
	}
	return s.receive(&Upload{Filename: filename, Timings: make(ladder.Timings), spool: s, file: file, inMemory: true}, body)
}

// content is where the bytes of an upload go.
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

// spill moves the upload from memory to the disk.
func (u *Upload) spill() error {
	file, err := u.spool.newPart()
	if err != nil {
		return err
	}
	err = copyFile(file, u.file)
	_ = u.file.Close() // of memory
	u.file, u.inMemory = file, false
	u.spool.memory.unreserve(u.taken)
	u.taken = 0
	return err
}

// copyFile copies a whole file behind what is in the other.
func copyFile(to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(from, 0, info.Size()))
	return err
}

// InMemory reports whether the upload is not on the disk.
func (u *Upload) InMemory() bool { return u.inMemory }

// Hold keeps an upload that is in memory under its digest, until Remove. It
// does not survive this process unless it is made to Persist.
func (u *Upload) Hold() {
	m := &u.spool.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[u.Digest()] == nil {
		m.held[u.Digest()] = &heldSource{file: u.file, bytes: u.taken}
		u.file, u.taken = nil, 0
	}
}

// Persist makes a held source durable. One that is on the disk alone is so
// already; one that is not there at all is os.ErrNotExist.
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
		err = atomicfile.Rename(part.Name(), s.path(digest))
	}
	if err != nil {
		_ = os.Remove(part.Name()) // what cannot be removed now is swept at the next start
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return fmt.Errorf("persist source: %w", err)
	}
	return nil
}

func (s *Spool) newPart() (*os.File, error) { return os.CreateTemp(s.config.Dir, "*"+partSuffix) }

// open opens a held source anew, so that nobody shares a place in it.
func (h *heldSource) open() (*os.File, error) { return os.Open(h.file.Name()) }
