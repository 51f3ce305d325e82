//go:build versitygw

package move_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/publish/move"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
	"github.com/optimizerd/optimizerd/pkg/spool"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// fixture is both stores, empty.
type fixture struct {
	dir    string
	server *s3test.Server
	folder *publish.Store
	bucket *bucket.Store
	spool  *spool.Spool
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	staging, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 1 << 20, MinFree: 1})
	must(err)
	server := s3test.Start(t)
	objects, err := s3.Open(s3test.Config(server.URL), s3test.Key(), nil)
	must(err)
	b, err := bucket.Open(bucket.Config{Dir: filepath.Join(dir, "index"), KeepOriginals: true}, objects, staging, zaptest.NewLogger(t))
	must(err)
	t.Cleanup(func() { must(b.Close()) })
	f, err := publish.Open(publish.Config{
		Dir: filepath.Join(dir, "files"), Originals: filepath.Join(dir, "originals"), KeepOriginals: true,
	}, zaptest.NewLogger(t))
	must(err)
	t.Cleanup(func() { must(f.Close()) })
	return fixture{dir, server, f, b, staging}
}

const original = "GIF89a-source"

// publish publishes n sets in the folder, each with its original.
func (h fixture) publish(t *testing.T, n int) (all []manifest.Manifest) {
	t.Helper()
	source := filepath.Join(h.dir, "source")
	for i := range n {
		content := fmt.Sprint(original, i)
		digest := sha256.Sum256([]byte(content))
		id := ladder.DefaultConfig().Recipe().ID(digest)
		if err := os.WriteFile(source, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		set, err := h.folder.Begin(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Variant(ladder.Variant{Format: ladder.WebP, Width: 320, Height: 240, Bytes: int64(len(content))}, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		m, err := set.Commit(manifest.Manifest{
			Version: manifest.Version, ID: id, CreatedAt: strictjson.At(time.Date(2026, 11, 21, 20, i, 0, 0, time.UTC)), Width: 320, Height: 240,
			Source:   manifest.Source{SHA256: hex.EncodeToString(digest[:]), Bytes: int64(len(content))},
			Variants: set.Variants(), Srcset: manifest.Srcset(set.Variants()),
		}, render.Origin{Path: source})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
		if err := os.Remove(source); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// run moves and returns how many sets were copied, there already, and failed.
func (h fixture) run(t *testing.T, ctx context.Context, from, to move.Store, remove bool) (copied, there, failed int) {
	t.Helper()
	m := move.Move{From: from, To: to, Spool: h.spool, Delete: remove, Report: func(_ string, wasCopied bool, err error) {
		switch {
		case err != nil:
			failed++
			t.Log(err)
		case wasCopied:
			copied++
		default:
			there++
		}
	}}
	if err := m.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return copied, there, failed
}

func check(t *testing.T, s move.Store, all []manifest.Manifest) {
	t.Helper()
	for _, want := range all {
		m, err := s.Original(want.ID)
		if err != nil || !m.CreatedAt.Equal(want.CreatedAt.Time) {
			t.Errorf("%s: %v, %v", want.ID, m.CreatedAt, err)
		}
		content, v, err := s.Open(t.Context(), want.ID, "320.webp")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(content)
		if err = errors.Join(err, content.Close()); err != nil || int64(len(b)) != v.Bytes {
			t.Errorf("%s: %d bytes, %v", want.ID, len(b), err)
		}
	}
}

func TestSetsMoveThereAndBack(t *testing.T) {
	h := newFixture(t)
	all := h.publish(t, 5)
	if copied, there, failed := h.run(t, t.Context(), h.folder, h.bucket, false); copied != 5 || there != 0 || failed != 0 {
		t.Errorf("copied %d, there %d, failed %d", copied, there, failed)
	}
	check(t, h.bucket, all)
	check(t, h.folder, all)
	if copied, there, failed := h.run(t, t.Context(), h.folder, h.bucket, true); copied != 0 || there != 5 || failed != 0 {
		t.Errorf("again: copied %d, there %d, failed %d", copied, there, failed)
	}
	if h.folder.Len() != 0 {
		t.Errorf("%d sets are left", h.folder.Len())
	}
	if copied, _, failed := h.run(t, t.Context(), h.bucket, h.folder, true); copied != 5 || failed != 0 {
		t.Errorf("back: copied %d, failed %d", copied, failed)
	}
	check(t, h.folder, all)
	if h.bucket.Len() != 0 {
		t.Errorf("%d sets are left in the bucket", h.bucket.Len())
	}
}

func TestInterruptedMoveIsContinued(t *testing.T) {
	h := newFixture(t)
	all := h.publish(t, 5)
	ctx, cancel := context.WithCancel(t.Context())
	m := move.Move{From: h.folder, To: h.bucket, Spool: h.spool, Report: func(string, bool, error) { cancel() }}
	if err := m.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if copied, there, failed := h.run(t, t.Context(), h.folder, h.bucket, false); copied != 4 || there != 1 || failed != 0 {
		t.Errorf("copied %d, there %d, failed %d", copied, there, failed)
	}
	check(t, h.bucket, all)
}

func TestDamagedFileIsNotMovedNorDeleted(t *testing.T) {
	h := newFixture(t)
	all := h.publish(t, 2)
	damaged := filepath.Join(h.dir, "files", all[0].ID, "320.webp")
	if err := os.WriteFile(damaged, []byte(strings.Repeat("x", int(all[0].Variants[0].Bytes))), 0o644); err != nil {
		t.Fatal(err)
	}
	if copied, _, failed := h.run(t, t.Context(), h.folder, h.bucket, true); copied != 1 || failed != 1 {
		t.Errorf("copied %d, failed %d", copied, failed)
	}
	if h.bucket.Has(all[0].ID) || !h.folder.Has(all[0].ID) || h.folder.Has(all[1].ID) {
		t.Error("the damaged set was moved, or the other one was not")
	}
}

func TestMoveKeepsVariantsWithTheirImage(t *testing.T) {
	for name, variantOf := range map[string][2]int{"older than its image": {1, 0}, "newer than its image": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			all := h.publish(t, 2)
			image, variant := all[variantOf[0]].ID, all[variantOf[1]].ID
			if err := h.folder.RecordVariant(t.Context(), image, variant); err != nil {
				t.Fatal(err)
			}
			if _, _, failed := h.run(t, t.Context(), h.folder, h.bucket, true); failed != 0 || h.folder.Len() != 0 {
				t.Errorf("%d failed, %d are left", failed, h.folder.Len())
			}
			check(t, h.bucket, all)
			if _, _, failed := h.run(t, t.Context(), h.bucket, h.folder, true); failed != 0 || h.bucket.Len() != 0 {
				t.Errorf("back: %d failed, %d are left", failed, h.bucket.Len())
			}
			check(t, h.folder, all)
			if err := h.folder.Delete(image); err != nil {
				t.Fatal(err)
			}
			if h.folder.Has(variant) {
				t.Error("the image was deleted, and what was made from it on demand is still there")
			}
		})
	}
}

// blind is a store that cannot tell whether it has originals.
type blind struct{ move.Store }

func (blind) Original(string) (manifest.Manifest, error) {
	return manifest.Manifest{}, os.ErrDeadlineExceeded
}

func TestSetWhoseOriginalCannotBeLookedUpIsNotDeleted(t *testing.T) {
	h := newFixture(t)
	m := h.publish(t, 1)[0]
	if _, _, failed := h.run(t, t.Context(), blind{h.folder}, h.bucket, true); failed != 1 {
		t.Errorf("%d sets failed, want 1", failed)
	}
	if _, err := h.folder.Original(m.ID); err != nil {
		t.Errorf("the original is gone: %v", err)
	}
	if copied, _, failed := h.run(t, t.Context(), h.folder, h.bucket, true); copied != 1 || failed != 0 {
		t.Errorf("the next move copied %d sets and failed with %d", copied, failed)
	}
	if _, err := h.bucket.Original(m.ID); err != nil {
		t.Errorf("the original is not in the bucket: %v", err)
	}
}

// object returns the path of an object in the bucket.
func (h fixture) object(key string) string {
	return filepath.Join(h.server.Dir, s3test.BucketName, filepath.FromSlash(key))
}

func TestMoveCopiesAgainWhatTheBucketHasLostBeforeItDeletes(t *testing.T) {
	for _, remove := range []bool{false, true} {
		h := newFixture(t)
		all := h.publish(t, 3)
		h.run(t, t.Context(), h.folder, h.bucket, false)
		for _, m := range all[:2] { // the index still has them, like that of another bucket
			if err := errors.Join(os.RemoveAll(h.object(m.ID)), os.Remove(h.object("originals/"+m.ID))); err != nil {
				t.Fatal(err)
			}
		}
		if copied, there, failed := h.run(t, t.Context(), h.folder, h.bucket, remove); copied != 2 || there != 1 || failed != 0 {
			t.Errorf("copied %d, there %d, failed %d; want 2, 1, 0", copied, there, failed)
		}
		check(t, h.bucket, all)
	}
}

func TestSetWhoseCopyIsDamagedIsNotDeleted(t *testing.T) {
	for _, damaged := range []string{"%s/320.webp", "originals/%s"} {
		h := newFixture(t)
		m := h.publish(t, 1)[0]
		h.run(t, t.Context(), h.folder, h.bucket, false)
		object := h.object(fmt.Sprintf(damaged, m.ID))
		if err := os.WriteFile(object, []byte(strings.Repeat("x", int(m.Source.Bytes))), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, failed := h.run(t, t.Context(), h.folder, h.bucket, true); failed != 1 {
			t.Errorf("%s: %d sets failed, want 1", damaged, failed)
		}
		check(t, h.folder, []manifest.Manifest{m})
	}
}

func TestDamagedCopyInTheFolderKeepsTheSetInTheBucket(t *testing.T) {
	h := newFixture(t)
	all := h.publish(t, 2)
	h.run(t, t.Context(), h.folder, h.bucket, false)
	for i, content := range []string{strings.Repeat("x", int(all[0].Variants[0].Bytes)), ""} {
		file := filepath.Join(h.dir, "files", all[i].ID, "320.webp")
		err := os.Remove(file)
		if content != "" {
			err = os.WriteFile(file, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if copied, _, failed := h.run(t, t.Context(), h.bucket, h.folder, true); copied != 1 || failed != 1 {
		t.Errorf("copied %d, failed %d; want the set with a missing file to be copied, and that with a damaged one to fail", copied, failed)
	}
	check(t, h.bucket, all[:1])
	check(t, h.folder, all[1:])
}
