package publish_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/render"
)

// makeVariant publishes a set that is made on demand from an image.
func makeVariant(t *testing.T, s *publish.Store, name, parent string) error {
	t.Helper()
	set, m := begin(t, s, name, epoch)
	_, err := set.Commit(m, render.Origin{Parent: id(parent)})
	return err
}

func TestVariantsAreDeletedWithTheirImage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	publishSet(t, s, "cat", epoch)
	publishSet(t, s, "dog", epoch)
	for name, parent := range map[string]string{"cat, small": "cat", "cat, gray": "cat", "dog, small": "dog"} {
		if err := makeVariant(t, s, name, parent); err != nil {
			t.Fatal(err)
		}
	}
	reopen(t, &s, dir)
	if err := s.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"cat": false, "cat, small": false, "cat, gray": false, "dog": true, "dog, small": true} {
		if got := s.Has(id(name)); got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
}

func TestVariantsOfVariantsAreDeletedToo(t *testing.T) {
	s := open(t, t.TempDir())
	publishSet(t, s, "cat", epoch)
	for _, step := range [][2]string{{"cat, small", "cat"}, {"cat, tiny", "cat, small"}} {
		if err := makeVariant(t, s, step[0], step[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	if n := s.Len(); n != 0 {
		t.Errorf("%d sets are left", n)
	}
}

func TestVariantsOfADamagedImageAreDeletedWithIt(t *testing.T) {
	for name, again := range map[string]bool{"while it is set aside": false, "once it is made again": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			publishSet(t, s, "cat", epoch)
			if err := makeVariant(t, s, "cat, small", "cat"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, id("cat"), manifest.FileName), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			reopen(t, &s, dir)
			if again {
				publishSet(t, s, "cat", epoch)
			}
			if got := s.Has(id("cat")); got != again {
				t.Fatalf("the image is there: %v, want %v", got, again)
			}
			if err := s.Delete(id("cat")); err != nil {
				t.Fatal(err)
			}
			if s.Has(id("cat, small")) {
				t.Error("the variant is still served")
			}
			if got := files(t, dir); len(got) != 0 {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

func TestVariantOfADeletedImageIsNotPublished(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	publishSet(t, s, "cat", epoch)
	set, m := begin(t, s, "cat, small", epoch)
	if err := s.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	if _, err := set.Commit(m, render.Origin{Parent: id("cat")}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v, want not_found", err)
	}
	if s.Has(id("cat, small")) {
		t.Error("it was published")
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}
