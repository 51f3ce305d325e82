// Package spool stores the sources of jobs: untrusted bytes become a checked
// file, named by its digest. It checks size, digest and, by the magic bytes,
// format; it decodes nothing.
//
// A file is <random>.part while it is received, and <sha256> once it is kept:
// complete and synced. An upload may also be held in memory until a client
// relies on it.
package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/durable/diskspace"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Config holds the settings of the spool.
type Config struct {
	Dir      string // created if missing
	MaxBytes int64  // of one source
	MinFree  int64  // bytes that must stay free on the disk, as in diskspace.Reserve
	Memory   int64  // bytes of uploads that may be held in memory

	// MakeRoom deletes old sets, if that is allowed, until the disk has space for this
	// many bytes more, and reports whether it has; may be nil.
	MakeRoom func(bytes int64) bool

	Retry      string // directory, on the same file system, of sources that are kept for retries; created if missing
	RetryBytes int64  // of them together; 0 keeps none
}

// Spool is the directory of sources. It is safe for concurrent use.
type Spool struct {
	config  Config
	reserve diskspace.Reserve
	memory  memory
}

const partSuffix = ".part"

// Open creates the directory and deletes partial uploads of an earlier process.
func Open(config Config) (*Spool, error) {
	dirs := []string{config.Dir}
	if config.RetryBytes > 0 {
		dirs = append(dirs, config.Retry)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("open spool: %w", err)
		}
	}
	s := &Spool{config: config, reserve: diskspace.Reserve{Dir: config.Dir, MinFree: config.MinFree}, memory: memory{free: config.Memory, held: make(map[string]*heldSource)}}
	return s, s.sweep(func(name string) bool { return !strings.HasSuffix(name, partSuffix) })
}

// Sweep deletes every stored source for whose digest needed returns false.
func (s *Spool) Sweep(needed func(sha256 string) bool) error {
	return s.sweep(func(name string) bool { return strings.HasSuffix(name, partSuffix) || needed(name) })
}

func (s *Spool) sweep(keep func(name string) bool) error {
	entries, err := os.ReadDir(s.config.Dir)
	if err != nil {
		return fmt.Errorf("sweep spool: %w", err)
	}
	for _, e := range entries {
		if keep(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(s.config.Dir, e.Name())); err != nil {
			return fmt.Errorf("sweep spool: %w", err)
		}
	}
	return nil
}

// Check returns a fault if a body of this many bytes (-1 if unknown), up to
// overhead of which are not the source, is too large or does not fit on the disk
// even after Room.
func (s *Spool) Check(bytes, overhead int64) error {
	if err := s.checkSize(bytes - overhead); err != nil {
		return err
	}
	return s.Room(bytes)
}

// Upload is a received source that is not stored yet. Its owner must call Keep, Hold
// or Discard; Discard after the others does nothing.
type Upload struct {
	SHA256   [sha256.Size]byte
	Bytes    int64
	Filename string // the client's name for it: for display, never a path
	Timings  ladder.Timings

	spool *Spool
	file  *os.File // the .part file, or one in memory; nil after Keep, Hold or Discard

	inMemory bool
	taken    int64 // reserved bytes of memory
}

// Path returns the path of the upload until Keep or Discard.
func (u *Upload) Path() string { return u.file.Name() }

// Digest returns the upload's SHA-256 in hex.
func (u *Upload) Digest() string { return hex.EncodeToString(u.SHA256[:]) }

// Receive streams body into the spool. Faults returned by body are passed
// through unchanged; a failed call leaves nothing behind.
func (s *Spool) Receive(body io.Reader, filename string) (*Upload, error) {
	file, err := s.newPart()
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return s.receive(&Upload{Filename: filename, Timings: make(ladder.Timings), spool: s, file: file}, body)
}

func (s *Spool) receive(u *Upload, body io.Reader) (*Upload, error) {
	if err := u.receive(body); err != nil {
		u.Discard()
		return nil, err
	}
	return u, nil
}

func (u *Upload) receive(body io.Reader) error {
	began := time.Now()
	var head bytes.Buffer
	_, err := io.CopyN(&head, body, imagefile.HeadSize)
	switch {
	case err != nil && !errors.Is(err, io.EOF): // a truncated body returns io.ErrUnexpectedEOF
		return fmt.Errorf("receive: %w", err)
	case head.Len() == 0:
		return fault.New(fault.InvalidRequest, "The body is empty; send the bytes of one image.")
	}
	if _, ok := imagefile.Sniff(head.Bytes()); !ok {
		return fault.New(fault.UnsupportedFormat, "Unsupported format: send a JPEG, PNG, WebP, GIF, HEIC, AVIF or TIFF image.")
	}
	hash := sha256.New()
	rest := io.LimitReader(io.MultiReader(&head, body), u.spool.config.MaxBytes+1)
	u.Bytes, err = io.Copy(io.MultiWriter(content{u}, u.Timings.Writer(ladder.StageHash, hash)), rest)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	hash.Sum(u.SHA256[:0])
	u.Timings.Since(began, ladder.StageReceive)
	if err := u.spool.checkSize(u.Bytes); err != nil {
		return err
	}
	defer u.Timings.Since(time.Now(), ladder.StageSpool)
	return u.file.Sync() // here rather than in Keep, which others wait for
}

// checkSize returns a fault if length (-1 if unknown) exceeds the size limit.
func (s *Spool) checkSize(length int64) error {
	if length > s.config.MaxBytes {
		return fault.New(fault.TooLarge, "The image is larger than %s, the limit of this server.", humanize.IBytes(uint64(s.config.MaxBytes)))
	}
	return nil
}

// Keep makes the upload durable under its digest. It is idempotent: equal
// content replaces itself.
func (u *Upload) Keep() error {
	defer u.Timings.Since(time.Now(), ladder.StageSpool)
	if u.inMemory {
		err := u.spool.persist(u.file, u.Digest())
		u.Discard()
		return err
	}
	if err := durable.Rename(u.file.Name(), u.spool.path(u.Digest())); err != nil {
		return fmt.Errorf("keep upload: %w", err)
	}
	err := u.file.Close()
	u.file = nil
	return err
}

// Discard deletes an upload that was not stored.
func (u *Upload) Discard() {
	if u.file == nil {
		return
	}
	if !u.inMemory {
		_ = os.Remove(u.file.Name()) // otherwise swept at the next start
	}
	_ = u.file.Close()
	u.file = nil
	u.spool.memory.unreserve(u.taken)
	u.taken = 0
}

// Link durably adds a file from the spool's file system under its digest, as a
// hard link.
func (s *Spool) Link(path, digest string) error {
	if err := os.Link(path, s.path(digest)); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("link source: %w", err)
	}
	return durable.SyncDir(s.config.Dir)
}

func (s *Spool) path(digest string) string { return filepath.Join(s.config.Dir, digest) }

// newPart creates the file of an upload that is being received. Open deletes those
// that an earlier process left.
func (s *Spool) newPart() (*os.File, error) { return os.CreateTemp(s.config.Dir, "*"+partSuffix) }

// Source opens a stored or held source for reading.
func (s *Spool) Source(digest string) (*os.File, error) {
	if h := s.memory.get(digest); h != nil {
		return h.open()
	}
	return os.Open(s.path(digest))
}

// Remove deletes a stored or held source; an unknown one is not an error.
func (s *Spool) Remove(digest string) error {
	if err := s.RemoveHeld(digest); err != nil {
		return err
	}
	if err := os.Remove(s.path(digest)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove source: %w", err)
	}
	return nil
}

// RemoveHeld is Remove for a held source; a stored one stays.
func (s *Spool) RemoveHeld(digest string) error {
	if err := s.memory.remove(digest); err != nil {
		return fmt.Errorf("remove source: %w", err)
	}
	return nil
}
