//go:build versitygw

package bucket_test

import (
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

func TestVariantsAreDeletedWithTheirImage(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	for _, name := range []string{"cat", "dog"} {
		set, m := n.begin(t, name, "the maker")
		if _, err := set.Commit(m, render.Origin{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, parent := range map[string]string{"cat, small": "cat", "dog, small": "dog"} {
		set, m := n.begin(t, name, "the maker")
		if _, err := set.Commit(m, render.Origin{Parent: id(parent)}); err != nil {
			t.Fatal(err)
		}
	}
	late, m := n.begin(t, "cat, gray", "the maker")
	if err := n.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Commit(m, render.Origin{Parent: id("cat")}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a variant of a deleted image: %v, want not_found", err)
	}
	for name, want := range map[string]bool{"cat": false, "cat, small": false, "cat, gray": false, "dog": true, "dog, small": true} {
		if got := n.Has(id(name)); got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
}

// An image may be a variant of its own variant: a single variant is an image itself, and
// the other way round it is made from the same source.
func TestVariantsOfEachOtherAreDeletedTogether(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	for _, name := range []string{"cat", "cat, small", "cat, gray"} {
		n.mustPublish(t, name)
	}
	for image, variant := range map[string]string{"cat": "cat, small", "cat, small": "cat, gray", "cat, gray": "cat"} {
		if err := n.RecordVariant(t.Context(), id(image), id(variant)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, server); len(left) != 0 || n.Len() != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestVariantOfAnImageThatIsGoneIsNotRecorded(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	if err := n.RecordVariant(t.Context(), id("cat"), id("dog")); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v", err)
	}
	if left := keys(t, server); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
