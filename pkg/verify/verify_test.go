package verify_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
	"github.com/optimizerd/optimizerd/pkg/verify"
)

func id(name string) string {
	return ladder.DefaultConfig().Recipe().ID(sha256.Sum256([]byte(name)))
}

// open opens the store of a data folder, as a daemon does.
func open(t *testing.T, dir string) *publish.Store {
	t.Helper()
	s, err := publish.Open(publish.Config{Dir: filepath.Join(dir, "files"), Originals: filepath.Join(dir, "originals"), KeepOriginals: true}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// data makes a data folder with a set, and its original, for each name.
func data(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	for _, name := range names {
		source := filepath.Join(dir, "source")
		if err := os.WriteFile(source, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		set, err := s.Begin(t.Context(), id(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Variant(ladder.Variant{Format: ladder.WebP, Width: 320, Height: 240, Bytes: int64(len(name))}, strings.NewReader(name)); err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte(name))
		_, err = set.Commit(manifest.Manifest{
			Version: manifest.Version, ID: id(name), CreatedAt: strictjson.At(time.Now()), Width: 320, Height: 240,
			Source:   manifest.Source{SHA256: hex.EncodeToString(digest[:]), Bytes: int64(len(name))},
			Variants: set.Variants(),
		}, render.Origin{Path: source})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(source); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t *testing.T, dir string, quick, repair bool) (found []string, totals verify.Totals) {
	t.Helper()
	totals, err := verify.Run(t.Context(), verify.Config{
		Files: filepath.Join(dir, "files"), Originals: filepath.Join(dir, "originals"), Quick: quick, Repair: repair,
		Report: func(p verify.Problem) { found = append(found, string(p.Kind)+" "+p.ID) },
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found, totals
}

func TestVerifyFindsNoProblemInWhatIsSound(t *testing.T) {
	dir := data(t, "cat", "dog")
	for _, quick := range []bool{true, false} {
		found, totals := run(t, dir, quick, false)
		if len(found) > 0 || totals.Sets != 2 || totals.Files != 2 || totals.Originals != 2 || (totals.Bytes == 12) == quick {
			t.Errorf("quick %v: %v, %+v", quick, found, totals)
		}
	}
}

// damaged makes a data folder with a sound set, others that are damaged as their
// names say, and an original of no set.
func damaged(t *testing.T) (dir string) {
	t.Helper()
	dir = data(t, "sound", "cut manifest", "no manifest", "changed file", "missing file", "short file", "changed original", "extra file")
	file := func(name string, elem ...string) string {
		return filepath.Join(append([]string{dir, "files", id(name)}, elem...)...)
	}
	change := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	change(file("cut manifest", manifest.FileName), `{"version": 1`)
	remove(file("no manifest", manifest.FileName))
	change(file("changed file", "320.webp"), "Changed file")
	remove(file("missing file", "320.webp"))
	change(file("short file", "320.webp"), "short")
	change(filepath.Join(dir, "originals", id("changed original")), "Changed original")
	change(file("extra file", "notes.txt"), "mine")
	if err := os.Mkdir(file("extra file", catalog.VariantsDir), 0o700); err != nil { // belongs there
		t.Fatal(err)
	}
	change(filepath.Join(dir, "originals", id("no set")), "orphan")
	return dir
}

func TestVerifyFindsAndSetsAsideEachDamage(t *testing.T) {
	dir := damaged(t)
	harmless := []string{"orphaned_original " + id("no set"), "unknown_file " + id("extra file")}
	quick := append([]string{
		"damaged_file " + id("short file"), "damaged_manifest " + id("cut manifest"),
		"missing_file " + id("missing file"), "no_manifest " + id("no manifest"),
	}, harmless...)
	thorough := append([]string{"damaged_file " + id("changed file"), "damaged_original " + id("changed original")}, quick...)
	slices.Sort(quick)
	slices.Sort(thorough)
	if found, _ := run(t, dir, true, false); !slices.Equal(found, quick) {
		t.Errorf("quick: %v, want %v", found, quick)
	}
	for _, repair := range []bool{false, true} { // the first changes nothing
		found, totals := run(t, dir, false, repair)
		if !slices.Equal(found, thorough) || totals.Problems != 6 || totals.Harmless != 2 || totals.Repaired != map[bool]int{true: 6}[repair] {
			t.Errorf("repair %v: %v, %+v, want %v", repair, found, totals, thorough)
		}
	}
	aside := slices.Clone(harmless)
	for _, name := range []string{"cut manifest", "no manifest", "changed file", "missing file", "short file"} {
		aside = append(aside, "set_aside "+id(name))
	}
	slices.Sort(aside)
	if found, _ := run(t, dir, false, false); !slices.Equal(found, aside) {
		t.Errorf("after the repair: %v, want the five sets aside, and what is harmless: %v", found, aside)
	}

	s := open(t, dir)
	defer s.Close()
	if s.Len() != 3 || !s.Has(id("sound")) || !s.Has(id("changed original")) || !s.Has(id("extra file")) {
		t.Errorf("the store has %d sets after the repair, want the 3 sound ones", s.Len())
	}
	if _, err := os.Stat(filepath.Join(dir, "originals", id("changed file"))); err != nil {
		t.Errorf("the original of a damaged set is lost at the next start: %v", err)
	}
}

// forbidden may be read by nobody, not even by root.
const forbidden = "/proc/sys/vm/compact_memory"

// A file that this user may not read can be sound, and the daemon's user may read it.
func TestFilesThatMayNotBeReadAreReportedAndNotSetAside(t *testing.T) {
	// Files whose size is that of the link, so that only reading fails.
	name := func(what string) string { return what + strings.Repeat(".", len(forbidden)-len(what)) }
	dir := data(t, name("manifest"), name("file"), name("original"))
	want := make([]string, 0, 3)
	for what, elem := range map[string][]string{
		"manifest": {"files", id(name("manifest")), manifest.FileName},
		"file":     {"files", id(name("file")), "320.webp"},
		"original": {"originals", id(name("original"))},
	} {
		path := filepath.Join(append([]string{dir}, elem...)...)
		if err := errors.Join(os.Remove(path), os.Symlink(forbidden, path)); err != nil {
			t.Fatal(err)
		}
		want = append(want, "unreadable "+id(name(what)))
	}
	slices.Sort(want)
	for range 2 {
		found, totals := run(t, dir, false, true)
		if !slices.Equal(found, want) || totals.Problems != 3 || totals.Repaired != 0 {
			t.Errorf("found %v, %+v, want %v", found, totals, want)
		}
	}
}

// Of two repairs at once, one finds the set gone: it must leave what the other has set
// aside.
func TestRepairTwiceAtOnceKeepsWhatIsSetAside(t *testing.T) {
	dir := data(t, "cat")
	files := filepath.Join(dir, "files")
	for range 2 {
		if err := publish.SetAside(files, id("cat")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(files, publish.AsideDir, id("cat"), "320.webp")); err != nil {
		t.Error(err)
	}
	// What was set aside earlier gives way to what is set aside now.
	if err := os.Mkdir(filepath.Join(files, id("cat")), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := publish.SetAside(files, id("cat")); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(files, publish.AsideDir, id("cat"))); err != nil || len(entries) != 0 {
		t.Errorf("set aside: %v, %v; want the empty directory", entries, err)
	}
}
