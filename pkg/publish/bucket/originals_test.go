package bucket_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// The entry of a set may be removed by hand between an upload's look at the set and its
// keeping the original.
func TestOriginalOfASetThatLostItsEntryIsNotKept(t *testing.T) {
	id, index := strings.Repeat("a", 26), filepath.Join(t.TempDir(), "index")
	entry := filepath.Join(index, id+".json")
	if err := os.Mkdir(index, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(entry, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := s3.Open(s3test.Config("http://127.0.0.1:1"), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open(bucket.Config{Dir: index, KeepOriginals: true}, objects, nil, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Remove(entry); err != nil {
		t.Fatal(err)
	}
	s.KeepOriginal(id, "unused") // it must not wait for itself
	if s.OriginalSize(id) != 0 {
		t.Error("the original is kept")
	}
}
