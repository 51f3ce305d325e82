package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Entry is one line of a journal: what became of a file or URL.
type Entry struct {
	Name     string    `json:"name"`            // absolute path, or the URL
	Bytes    int64     `json:"bytes,omitempty"` // of the file; with Modified it tells whether the file has changed
	Modified time.Time `json:"modified,omitzero"`
	SHA256   string    `json:"sha256,omitempty"` // lower-case hex
	ID       string    `json:"id,omitempty"`     // of the image; "" if it failed
	Code     string    `json:"code,omitempty"`   // of a failure that another attempt does not change
	Message  string    `json:"message,omitempty"`
}

// Journal records across interruptions what the daemon has accepted. It is an
// append-only file of JSON lines, so that a crash costs at most the last line.
// It is safe for concurrent use.
type Journal struct {
	mu       sync.Mutex
	file     *os.File
	byName   map[string]Entry
	byDigest map[string]Entry // that arrived
}

// OpenJournal reads the journal at path, which need not exist.
func OpenJournal(path string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{byName: make(map[string]Entry), byDigest: make(map[string]Entry)}
	old, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err == nil {
		defer old.Close()
		lines := bufio.NewReader(old)
		for err == nil {
			var line []byte
			line, err = lines.ReadBytes('\n')
			var e Entry
			if json.Unmarshal(line, &e) == nil { // a line that a crash has damaged costs one more upload
				j.index(e)
			}
		}
		if !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read journal: %w", err)
		}
	}
	if j.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, nil
}

func (j *Journal) index(e Entry) {
	j.byName[e.Name] = e
	if e.SHA256 != "" && e.ID != "" {
		j.byDigest[e.SHA256] = e
	}
}

// Add appends an entry, on a new line even if a crash truncated the last one.
func (j *Journal) Add(e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.index(e)
	_, err = j.file.Write(append(append([]byte{'\n'}, b...), '\n'))
	return err
}

// Named returns the last entry of a name.
func (j *Journal) Named(name string) (Entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.byName[name]
	return e, ok
}

// Arrived returns an accepted entry with a digest.
func (j *Journal) Arrived(sha256 string) (Entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.byDigest[sha256]
	return e, ok
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }
