package publish_test

import (
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/publish"
)

// makeVariant publishes a set that is made on demand from an image.
func makeVariant(t *testing.T, s *publish.Store, name, parent string) error {
	t.Helper()
	set, m := begin(t, s, name, epoch)
	defer set.Abort()
	set.SetParent(id(parent))
	_, err := set.Commit(m)
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

func TestVariantOfADeletedImageIsNotPublished(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	publishSet(t, s, "cat", epoch)
	set, m := begin(t, s, "cat, small", epoch)
	set.SetParent(id("cat"))
	if err := s.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	if _, err := set.Commit(m); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v, want not_found", err)
	}
	set.Abort()
	if s.Has(id("cat, small")) {
		t.Error("it was published")
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}
