// Package verify checks the integrity of stored data: every set against its
// manifest, every file and original against its digest, and that there are no
// orphans. It needs no daemon and no lock, and changes nothing unless it
// repairs. A set that is deleted while it is checked is not a problem.
package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

// Config says what to check.
type Config struct {
	Files     string // the served directory
	Originals string // the directory of originals, which need not exist
	Quick     bool   // names and sizes alone: no digest is computed
	Repair    bool   // set damaged sets and originals aside
	Report    func(Problem)
}

// Kind is a kind of problem.
type Kind string

// The kinds.
const (
	NoManifest       Kind = "no_manifest"       // a directory with the name of a set
	DamagedManifest  Kind = "damaged_manifest"  // cannot be read, or is not that of the set
	MissingFile      Kind = "missing_file"      // the manifest names it
	DamagedFile      Kind = "damaged_file"      // its size or digest is not that of the manifest
	UnknownFile      Kind = "unknown_file"      // the manifest does not name it; harmless
	DamagedOriginal  Kind = "damaged_original"  // its size or digest is not that of the source
	OrphanedOriginal Kind = "orphaned_original" // of no set; the next start of the daemon deletes it
	SetAside         Kind = "set_aside"         // was damaged earlier, and its image was not made again
	Unreadable       Kind = "unreadable"        // a file that may be sound: this user may not read it, for example
)

// Harmless reports whether a problem needs no action.
func (k Kind) Harmless() bool { return k == UnknownFile || k == OrphanedOriginal }

// orUnreadable returns the kind of damage that an error of reading a file shows.
func (k Kind) orUnreadable(err error) Kind {
	if publish.Lost(err) {
		return k
	}
	return Unreadable
}

// Problem is something that is not as it should be.
type Problem struct {
	Kind     Kind   `json:"kind"`
	ID       string `json:"id"`
	File     string `json:"file,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Repaired bool   `json:"repaired"`           // it was set aside
	Original string `json:"original,omitempty"` // path of the original, from which the image can be made again
}

// Totals counts what was checked.
type Totals struct {
	Sets      int   `json:"sets"`
	Files     int   `json:"files"`
	Originals int   `json:"originals"`
	Bytes     int64 `json:"bytes"` // of the files and originals that were read
	Problems  int   `json:"problems"`
	Harmless  int   `json:"harmless"`
	Repaired  int   `json:"repaired"`
}

type checker struct {
	Config

	mu     sync.Mutex
	totals Totals
	hashed map[inode]string // digests of originals: sets of one source share a file
	known  map[string]bool  // sets that were seen
}

type inode struct{ dev, ino uint64 }

// Run checks everything and returns what it counted. Problems are reported and
// are not errors. It reads several files concurrently, with the lowest CPU and
// I/O priority.
func Run(ctx context.Context, c Config) (Totals, error) {
	k := &checker{Config: c, hashed: make(map[inode]string), known: make(map[string]bool)}
	entries, err := os.ReadDir(c.Files)
	if err != nil {
		return k.totals, fmt.Errorf("verify: %w", err)
	}
	ids := make(chan string)
	group, ctx := errgroup.WithContext(ctx)
	for range max(2, runtime.NumCPU()) {
		group.Go(func() error {
			runtime.LockOSThread() // never unlocked: the thread ends with its priority
			Yield()
			for id := range ids {
				k.set(ctx, id)
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(ids)
		for _, e := range entries {
			if !ladder.ValidID(e.Name()) {
				continue
			}
			select {
			case ids <- e.Name():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return k.totals, err
	}
	return k.totals, errors.Join(k.setAside(), k.orphans())
}

// Yield gives the thread the lowest priority for the processor and the disk. It
// is a hint: an error does not matter. The caller must have locked its goroutine to
// the thread.
func Yield() {
	const ioprioWhoProcess, ioprioIdle = 1, 3 << 13
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, ioprioIdle)
}

// set checks one set and its original.
func (k *checker) set(ctx context.Context, id string) {
	dir := filepath.Join(k.Files, id)
	b, err := os.ReadFile(filepath.Join(dir, manifest.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := os.Lstat(dir); gone == nil {
			k.problem(Problem{Kind: NoManifest, ID: id})
		}
		return
	}
	if err != nil {
		k.problem(Problem{Kind: DamagedManifest.orUnreadable(err), ID: id, File: manifest.FileName, Detail: err.Error()})
		return
	}
	m, err := manifest.Decode(b)
	if err == nil && m.ID != id {
		err = fmt.Errorf("it is the manifest of %s", m.ID)
	}
	if err != nil {
		k.problem(Problem{Kind: DamagedManifest, ID: id, File: manifest.FileName, Detail: err.Error()})
		return
	}
	k.count(func(t *Totals) { t.Sets++ })
	k.mu.Lock()
	k.known[id] = true
	k.mu.Unlock()
	if k.files(ctx, dir, m) && ctx.Err() == nil {
		k.original(ctx, m)
	}
}

// files checks the files of a set, and reports whether all are sound.
func (k *checker) files(ctx context.Context, dir string, m manifest.Manifest) bool {
	for _, v := range m.Variants {
		if ctx.Err() != nil {
			return false
		}
		kind, detail := k.file(ctx, filepath.Join(dir, v.Name()), v.Bytes, v.SHA256)
		if kind == "" {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, manifest.FileName)); err != nil {
			return false // deleted meanwhile
		}
		k.problem(Problem{Kind: kind, ID: m.ID, File: v.Name(), Detail: detail})
		return false
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if _, ok := m.Variant(e.Name()); !ok && e.Name() != manifest.FileName && e.Name() != catalog.VariantsDir {
			k.problem(Problem{Kind: UnknownFile, ID: m.ID, File: e.Name()})
		}
	}
	return true
}

// file compares a file with what is known of it. kind is "" if it is sound.
func (k *checker) file(ctx context.Context, path string, size int64, digest string) (kind Kind, detail string) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return MissingFile, ""
	case err != nil:
		return DamagedFile.orUnreadable(err), err.Error()
	case info.Size() != size:
		return DamagedFile, fmt.Sprintf("%d bytes, want %d", info.Size(), size)
	}
	k.count(func(t *Totals) { t.Files++ })
	if k.Quick {
		return "", ""
	}
	got, err := k.hash(ctx, path)
	switch {
	case ctx.Err() != nil:
		return "", ""
	case err != nil:
		return DamagedFile.orUnreadable(err), err.Error()
	case got != digest:
		return DamagedFile, "SHA-256 is " + got + ", want " + digest
	}
	return "", ""
}

// original checks the original of a set, if one is kept.
func (k *checker) original(ctx context.Context, m manifest.Manifest) {
	path := filepath.Join(k.Originals, m.ID)
	info, err := os.Lstat(path)
	if k.Originals == "" || err != nil {
		return
	}
	k.count(func(t *Totals) { t.Originals++ })
	if info.Size() != m.Source.Bytes {
		k.damagedOriginal(m.ID, fmt.Sprintf("%d bytes, want %d", info.Size(), m.Source.Bytes))
		return
	}
	if k.Quick {
		return
	}
	var node inode
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		node = inode{uint64(s.Dev), s.Ino} //nolint:unconvert // its type depends on the architecture
	}
	k.mu.Lock()
	got, ok := k.hashed[node]
	k.mu.Unlock()
	if !ok {
		if got, err = k.hash(ctx, path); err != nil {
			switch {
			case ctx.Err() != nil || errors.Is(err, fs.ErrNotExist):
			case publish.Lost(err):
				k.damagedOriginal(m.ID, err.Error())
			default:
				k.report(Problem{Kind: Unreadable, ID: m.ID, Detail: err.Error()})
			}
			return
		}
		k.mu.Lock()
		k.hashed[node] = got
		k.mu.Unlock()
	}
	if got != m.Source.SHA256 {
		k.damagedOriginal(m.ID, "SHA-256 is "+got+", want "+m.Source.SHA256)
	}
}

// hash returns the SHA-256 of a file, in hex.
func (k *checker) hash(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, contextReader{ctx, f})
	k.count(func(t *Totals) { t.Bytes += n })
	return hex.EncodeToString(hash.Sum(nil)), err
}

type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// setAside reports the sets that were set aside earlier.
func (k *checker) setAside() error {
	entries, err := os.ReadDir(filepath.Join(k.Files, publish.AsideDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("verify: %w", err)
	}
	for _, e := range entries {
		if ladder.ValidID(e.Name()) && !k.known[e.Name()] {
			k.known[e.Name()] = true
			k.report(Problem{Kind: SetAside, ID: e.Name(), Original: k.pathOfOriginal(e.Name())})
		}
	}
	return nil
}

// orphans reports originals without a set.
func (k *checker) orphans() error {
	if k.Originals == "" {
		return nil
	}
	entries, err := os.ReadDir(k.Originals)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("verify: %w", err)
	}
	for _, e := range entries {
		if !ladder.ValidID(e.Name()) || k.known[e.Name()] {
			continue
		}
		if _, err := os.Lstat(filepath.Join(k.Files, e.Name())); errors.Is(err, fs.ErrNotExist) { // it may be newer than the list of sets
			k.report(Problem{Kind: OrphanedOriginal, ID: e.Name()})
		}
	}
	return nil
}

// problem reports a problem of a set, after it was set aside if it is to be
// repaired.
func (k *checker) problem(p Problem) {
	p.Original = k.pathOfOriginal(p.ID)
	k.mu.Lock()
	k.known[p.ID] = true
	k.mu.Unlock()
	if k.Repair && !p.Kind.Harmless() && p.Kind != Unreadable {
		if err := publish.SetAside(k.Files, p.ID); err != nil {
			p.Detail = "cannot be set aside: " + err.Error()
		} else {
			p.Repaired = true
		}
	}
	k.report(p)
}

// damagedOriginal reports a damaged original. It is of no use: setting it aside
// lets the next upload of the same image store it again.
func (k *checker) damagedOriginal(id, detail string) {
	p := Problem{Kind: DamagedOriginal, ID: id, Detail: detail}
	if k.Repair {
		aside := filepath.Join(k.Originals, publish.AsideDir)
		err := os.MkdirAll(aside, 0o750)
		if err == nil {
			err = durable.Rename(filepath.Join(k.Originals, id), filepath.Join(aside, id))
		}
		if err != nil {
			p.Detail = "cannot be set aside: " + err.Error()
		}
		p.Repaired = err == nil
	}
	k.report(p)
}

func (k *checker) pathOfOriginal(id string) string {
	path := filepath.Join(k.Originals, id)
	if _, err := os.Lstat(path); k.Originals == "" || err != nil {
		return ""
	}
	return path
}

func (k *checker) report(p Problem) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Kind.Harmless() {
		k.totals.Harmless++
	} else {
		k.totals.Problems++
	}
	if p.Repaired {
		k.totals.Repaired++
	}
	k.Report(p)
}

func (k *checker) count(step func(*Totals)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	step(&k.totals)
}
