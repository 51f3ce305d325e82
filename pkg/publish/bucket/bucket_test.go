//go:build versitygw

package bucket_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
	"github.com/optimizerd/optimizerd/pkg/spool"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

var epoch = time.Date(2026, 11, 21, 20, 46, 0, 0, time.UTC)

// node is a store of sets with its data folder.
type node struct {
	*bucket.Store
	spool *spool.Spool
	dir   string
}

// open opens a node over the bucket at url.
func open(t *testing.T, url, dir string) node {
	t.Helper()
	objects, err := s3.Open(s3test.Config(url), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	staging, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 1 << 20, MinFree: 1, Memory: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open(bucket.Config{Dir: filepath.Join(dir, "index"), KeepOriginals: true}, objects, staging, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // it may be closed already
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	return node{s, staging, dir}
}

// id of the set that name stands for.
func id(name string) string {
	return ladder.DefaultConfig().Recipe().ID(sha256.Sum256([]byte(name)))
}

var widths = []int{320, 480, 640, 960, 1280}

// begin stages a set of five files, which hold what maker makes of name.
func (n node) begin(t *testing.T, name, maker string) (render.Set, manifest.Manifest) {
	t.Helper()
	set, err := n.Begin(t.Context(), id(name))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(name))
	m := manifest.Manifest{
		Version: manifest.Version, ID: id(name), CreatedAt: strictjson.At(epoch), Width: 1280, Height: 960,
		Source: manifest.Source{SHA256: hex.EncodeToString(digest[:]), Bytes: int64(len(name))},
	}
	for _, width := range widths {
		content := fmt.Sprint(name, maker, width)
		err := set.Variant(ladder.Variant{Format: ladder.WebP, Width: width, Height: width * 3 / 4, Bytes: int64(len(content))}, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
	}
	m.Variants = set.Variants()
	m.Srcset = manifest.Srcset(m.Variants)
	return set, m
}

func (n node) publish(t *testing.T, name, maker string) (manifest.Manifest, error) {
	t.Helper()
	set, m := n.begin(t, name, maker)
	return set.Commit(m, render.Origin{})
}

func (n node) mustPublish(t *testing.T, name string) manifest.Manifest {
	t.Helper()
	m, err := n.publish(t, name, "")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// read returns a file of a set.
func (n node) read(t *testing.T, id, name string) (string, error) {
	t.Helper()
	content, v, err := n.Open(t.Context(), id, name)
	if err != nil {
		return "", err
	}
	defer content.Close()
	b, err := io.ReadAll(content)
	if sum := sha256.Sum256(b); err == nil && hex.EncodeToString(sum[:]) != v.SHA256 {
		err = errors.New("the digest is not that of the manifest")
	}
	return string(b), err
}

// checkWhole reads every file of a set.
func (n node) checkWhole(t *testing.T, id string) {
	t.Helper()
	m, err := n.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range m.Variants {
		if _, err := n.read(t, id, v.Name()); err != nil {
			t.Errorf("%s: %v", v.Key, err)
		}
	}
}

// keys returns the keys of all objects in the bucket.
func keys(t *testing.T, server *s3test.Server) (all []string) {
	t.Helper()
	root := filepath.Join(server.Dir, s3test.BucketName)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			key, _ := filepath.Rel(root, path)
			all = append(all, key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// objects of the set id, as keys returns them.
func objects(id string) []string {
	all := []string{id + "/" + manifest.FileName}
	for _, width := range widths {
		all = append(all, fmt.Sprintf("%s/%d.webp", id, width))
	}
	slices.Sort(all)
	return all
}

func TestSetIsStoredUnderTheKeysOfItsManifest(t *testing.T) {
	server := s3test.Start(t)
	dir := t.TempDir()
	n := open(t, server.URL, dir)
	m := n.mustPublish(t, "cat")
	if got := keys(t, server); !slices.Equal(got, objects(m.ID)) {
		t.Errorf("the bucket has %v", got)
	}
	n.checkWhole(t, m.ID)
	if _, err := n.read(t, m.ID, "640.webp"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "..", "manifest.json", "1600.webp", "../" + m.ID + "/320.webp"} {
		if _, err := n.read(t, m.ID, name); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, server.URL, dir)
	items, _, err := again.List(10, "")
	if err != nil || len(items) != 1 || items[0].ID != m.ID || !items[0].CreatedAt.Equal(epoch) {
		t.Errorf("after a restart there are %v, %v", items, err)
	}
	again.checkWhole(t, m.ID)
}

func TestAbortedSetLeavesNothing(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	set, _ := n.begin(t, "cat", "")
	set.Abort()
	if got := keys(t, server); len(got) != 0 || n.Has(id("cat")) {
		t.Errorf("left behind: %v", got)
	}
	if left, err := os.ReadDir(filepath.Join(n.dir, "spool")); err != nil || len(left) != 0 {
		t.Errorf("the spool has %v, %v", left, err)
	}
}

// Two processes make the same sets at the same time, and their codecs give
// different bytes.
func TestCommitsOfTwoMakersEndWithOneTrueManifest(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	nodes := []node{open(t, proxy.URL, t.TempDir()), open(t, proxy.URL, t.TempDir())}
	for round := range 20 {
		name := fmt.Sprint("cat ", round)
		manifests := make([]manifest.Manifest, len(nodes))
		var makers sync.WaitGroup
		for i, n := range nodes {
			makers.Go(func() {
				var err error
				if manifests[i], err = n.publish(t, name, fmt.Sprint("maker ", i)); err != nil {
					t.Error(err)
				}
			})
		}
		makers.Wait()
		for _, n := range nodes {
			n.checkWhole(t, id(name))
		}
		if !slices.Equal(manifests[0].Variants, manifests[1].Variants) {
			t.Errorf("two manifests: %v, %v", manifests[0].Variants, manifests[1].Variants)
		}
	}
	if over := proxy.Overwritten(); len(over) != 0 {
		t.Errorf("overwritten: %v", over)
	}
}

// What a Worker pulled earlier has no digest in its metadata.
func TestObjectWithoutADigestIsAdopted(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	objects, err := s3.Open(s3test.Config(server.URL), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer objects.Close()
	key, sum := id("cat")+"/640.webp", sha256.Sum256([]byte("pulled"))
	pulled := s3.Object{Key: key, Bytes: 6, SHA256: hex.EncodeToString(sum[:])}
	if _, _, err := objects.PutNew(t.Context(), pulled, strings.NewReader("pulled")); err != nil {
		t.Fatal(err)
	}
	server.DropMetadata(key)
	m := n.mustPublish(t, "cat")
	if got, err := n.read(t, m.ID, "640.webp"); err != nil || got != "pulled" {
		t.Errorf("got %q, %v", got, err)
	}
	if n.Adopted() != 1 {
		t.Errorf("%d files count as adopted, want 1", n.Adopted())
	}
	n.checkWhole(t, m.ID)
}

func TestDeleteLeavesWhatBelongsToOthers(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	n.mustPublish(t, "cat")
	n.mustPublish(t, "dog")
	foreign := filepath.Join(server.Dir, s3test.BucketName, "state")
	if err := os.WriteFile(foreign, []byte("the Worker's"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is unknown
		if err := n.Delete(id("cat")); err != nil {
			t.Fatal(err)
		}
	}
	want := slices.Sorted(slices.Values(append(objects(id("dog")), "state")))
	if got := keys(t, server); !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
	if _, err := n.Get(id("cat")); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v", err)
	}
	n.mustPublish(t, "cat")
	n.checkWhole(t, id("cat"))
}

func TestDeletionIsFinishedLater(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	dir := t.TempDir()
	n := open(t, proxy.URL, dir)
	n.mustPublish(t, "cat")
	proxy.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete || strings.HasSuffix(r.URL.Path, manifest.FileName) {
			return false
		}
		s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		return true
	})
	if err := n.Delete(id("cat")); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	if n.Has(id("cat")) {
		t.Error("the set is still listed")
	}
	if err := n.Close(); err != nil { // as a crash would
		t.Fatal(err)
	}
	proxy.Intercept(nil)
	again := open(t, proxy.URL, dir)
	if got := keys(t, server); len(got) != 0 || again.Len() != 0 {
		t.Errorf("after a restart there are %v", got)
	}
}

// A set is whole or gone, whatever the order of making and deleting.
func TestDeleteBesideACommit(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	for round := range rounds {
		n.mustPublish(t, "cat")
		var both sync.WaitGroup
		both.Go(func() {
			if err := n.Delete(id("cat")); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if _, err := n.publish(t, "cat", ""); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if n.Has(id("cat")) {
			n.checkWhole(t, id("cat"))
			if round%2 == 0 {
				continue
			}
			if err := n.Delete(id("cat")); err != nil {
				t.Fatal(err)
			}
		}
		if got := keys(t, server); len(got) != 0 {
			t.Fatalf("round %d: files without a set: %v", round, got)
		}
	}
}

func TestOriginalsComeAndGoWithTheirSet(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	content := "GIF89a-original"
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	n.mustPublish(t, content)
	if _, err := n.Original(id(content)); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an original that was not named: %v", err)
	}
	before := n.Bytes()
	for range 2 {
		n.KeepOriginal(id(content), path)
	}
	if n.Bytes() <= before {
		t.Errorf("retention counts %d bytes with the original, and %d without", n.Bytes(), before)
	}
	m, err := n.Original(id(content))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.CopyOriginal(t.Context(), m, n.spool); err != nil {
		t.Fatal(err)
	}
	f, err := n.spool.Source(m.Source.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != content {
		t.Errorf("the original contains %q, %v", got, err)
	}
	if n.OriginalSize(id(content)) != int64(len(content)) {
		t.Errorf("its size is %d", n.OriginalSize(id(content)))
	}
	if err := n.Delete(id(content)); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, server); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestRetentionDeletesTheOldest(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	for i, name := range []string{"a", "b", "c"} {
		set, m := n.begin(t, name, "")
		m.CreatedAt = strictjson.At(epoch.Add(time.Duration(i) * time.Hour))
		if _, err := set.Commit(m, render.Origin{}); err != nil {
			t.Fatal(err)
		}
		set.Abort()
	}
	if deleted, err := n.Prune(t.Context(), catalog.Retention{MaxAge: 90 * time.Minute}, epoch.Add(2*time.Hour)); deleted != 1 || err != nil {
		t.Errorf("deleted %d, %v", deleted, err)
	}
	if n.Has(id("a")) || !n.Has(id("b")) || !n.Has(id("c")) {
		t.Error("the wrong sets are left")
	}
}

// A body that breaks off is continued where it broke off.
func TestCutBodyIsContinued(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	n := open(t, proxy.URL, t.TempDir())
	m := n.mustPublish(t, strings.Repeat("cat", 1000))
	var gets int
	proxy.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet {
			return false
		}
		gets++
		if gets > 1 {
			return false
		}
		v := m.Variants[0]
		w.Header().Set("Content-Length", fmt.Sprint(v.Bytes))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", v.Bytes-1, v.Bytes))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write([]byte("catcat"))
		w.(http.Flusher).Flush()
		s3test.HangUp()
		return true
	})
	if _, err := n.read(t, m.ID, m.Variants[0].Name()); err != nil || gets != 2 {
		t.Errorf("%v after %d requests", err, gets)
	}
}

// A storm of 503s: every set is whole in the end or not there at all, and nothing
// is written twice.
func TestStormOfRefusals(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	n := open(t, proxy.URL, t.TempDir())
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	proxy.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		refuse := random.IntN(4) == 0
		mu.Unlock()
		if refuse {
			s3test.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		}
		return refuse
	})
	var published, refused int
	for i := range 20 {
		name := fmt.Sprint("cat ", i)
		if _, err := n.publish(t, name, ""); err == nil {
			published++
		} else if refused++; fault.CodeOf(err) != fault.Unavailable || n.Has(id(name)) {
			t.Errorf("got %v", err)
		}
	}
	proxy.Intercept(nil)
	if published == 0 || published != n.Len() {
		t.Errorf("%d sets published, %d refused, %d listed", published, refused, n.Len())
	}
	for i := range 20 {
		n.mustPublish(t, fmt.Sprint("cat ", i)) // again: what is there is adopted
		n.checkWhole(t, id(fmt.Sprint("cat ", i)))
	}
	if over := proxy.Overwritten(); len(over) != 0 {
		t.Errorf("overwritten: %v", over)
	}
}

func TestStoreThatIsAwayIsKnownAndComesBack(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	server.Down()
	if _, err := n.publish(t, "cat", ""); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	if fault.CodeOf(n.Check()) != fault.Unavailable {
		t.Error("the store counts as reachable")
	}
	server.Up()
	for n.Check() != nil && t.Context().Err() == nil {
		time.Sleep(10 * time.Millisecond) // the test's time limit ends this
	}
	n.mustPublish(t, "cat")
}

func TestIndexIsMadeFromTheBucket(t *testing.T) {
	server := s3test.Start(t)
	dir := t.TempDir()
	n := open(t, server.URL, dir)
	for _, name := range []string{"cat", "dog", "cow"} {
		n.mustPublish(t, name)
	}
	if err := n.Delete(id("cow")); err != nil {
		t.Fatal(err)
	}
	n.mustPublish(t, "hen")
	inBucket := filepath.Join(server.Dir, s3test.BucketName)
	for _, lost := range []string{id("hen") + "/640.webp", id("dog") + "/manifest.json"} { // a damaged set, and one that is not published
		if err := os.Remove(filepath.Join(inBucket, lost)); err != nil {
			t.Fatal(err)
		}
	}
	rebuild := func(n node, want bucket.Rebuilt) {
		t.Helper()
		got, err := n.Rebuild(t.Context(), func(int) {})
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		if ids := n.IDs(); !slices.Equal(ids, []string{id("cat")}) {
			t.Errorf("there are %v", ids)
		}
		n.checkWhole(t, id("cat"))
	}
	rebuild(n, bucket.Rebuilt{Sets: 1, Removed: 2, Damaged: 1})
	other := open(t, server.URL, t.TempDir()) // a new machine
	rebuild(other, bucket.Rebuilt{Sets: 1, Added: 1, Damaged: 1})
	rebuild(other, bucket.Rebuilt{Sets: 1, Damaged: 1})
}

func TestCommitFreesTheMemoryOfWhatWasStaged(t *testing.T) {
	n := open(t, s3test.Start(t).URL, t.TempDir())
	if _, err := n.publish(t, "cat", "a"); err != nil {
		t.Fatal(err)
	}
	scratch, err := n.spool.Scratch(strings.NewReader(strings.Repeat("x", 1<<10)), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer scratch.Close()
	if !strings.HasPrefix(scratch.Name(), "/proc/") {
		t.Errorf("no memory is left for a file of 1 KiB: it is %s", scratch.Name())
	}
}
