package backup_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/backup"
)

// large is a store with many sets of 16 blobs in several snapshots. None of it can be read.
type large struct {
	backup.Store

	sets     int
	snapshot []byte
}

func largeDigest(n int) string {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)*0x9e3779b97f4a7c15) // spread evenly
	return hex.EncodeToString(b[:])
}

func (s *large) Blobs(_ context.Context, f func(string, int64)) error {
	for i := range s.sets * 16 {
		f(largeDigest(i), int64(i))
	}
	return nil
}

func (s *large) Snapshots(context.Context) (names []string, err error) {
	for day := range 9 {
		names = append(names, fmt.Sprintf("2026110%dT120000.000Z", day+1))
	}
	return names, nil
}

func (s *large) Get(ctx context.Context, _ string) (io.ReadCloser, error) { return nil, ctx.Err() }

func (s *large) GetSnapshot(context.Context, string) ([]byte, error) { return s.snapshot, nil }

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// measured is a large store that records the heap when a snapshot is written.
type measured struct {
	large

	heap int64
}

func (s *measured) PutSnapshot(context.Context, string, []byte) error {
	s.heap = heap()
	return nil
}

func (s *measured) Snapshots(context.Context) ([]string, error) { return nil, nil }

func TestBackupTakesLittleMemoryForEachBlob(t *testing.T) {
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "queue"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := &measured{large: large{sets: 3000}}
	before := heap()
	if _, err := backup.Run(t.Context(), backup.Config{Dir: data}, s); err != nil {
		t.Fatal(err)
	}
	const most = 60 // bytes; a map of digests takes 150
	if perBlob := (s.heap - before) / int64(s.sets*16); perBlob > most || perBlob < 20 {
		t.Errorf("%d bytes for each blob, want at most %d", perBlob, most)
	}
}

// A Pi with 100,000 images has 1.6 million files in its backup.
func TestVerifyTakesLittleMemoryForEachImage(t *testing.T) {
	s := &large{sets: 3000}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprintln(z, `{"version":1,"created_at":"2026-11-24T12:00:00Z","optimizerd":"9.8.7"}`)
	for i := range s.sets {
		fmt.Fprintf(z, "{\"path\":\"files/%026d/manifest.json\",\"sha256\":%q,\"bytes\":%d,\"original\":true}\n", i, largeDigest(i*16), i*16)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s.snapshot = b.Bytes()
	ctx, cancel := context.WithCancel(t.Context())
	before, used := heap(), int64(0)
	_, err := backup.Verify(ctx, backup.VerifyConfig{Progress: func(stage string, done, total int) {
		if stage == "sets" && done == 0 {
			used = heap() - before
			cancel()
		}
	}}, s)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	const most = 1000 // bytes for each image: 100 MB for 100,000
	if perImage := used / int64(s.sets); perImage > most || perImage < 16*20 {
		t.Errorf("%d bytes for each image, want at most %d", perImage, most)
	}
}
