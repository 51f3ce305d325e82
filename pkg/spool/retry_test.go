package spool_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/spool"
)

// failedSources is a spool that keeps at most bytes of failed uploads, with three
// of them, as its directory and the digest of each.
func failedSources(t *testing.T, bytes int64) (s *spool.Spool, retry string, digests []string) {
	t.Helper()
	dir := t.TempDir()
	retry = filepath.Join(dir, "retry")
	s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 1 << 20, MinFree: 1, Retry: retry, RetryBytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	for _, jobID := range []string{"job_1", "job_2", "job_3"} {
		u, err := s.Receive(strings.NewReader(gif+jobID), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(u.Keep(), s.KeepForRetry(u.Digest(), jobID), s.Remove(u.Digest())); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, u.Digest())
	}
	return s, retry, digests
}

func TestSourceOfAFailedJobComesBack(t *testing.T) {
	s, retry, digests := failedSources(t, 1<<20)
	if _, err := s.Source(digests[1]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed, it is still there: %v", err)
	}
	if err := s.Retry(digests[1], "job_2"); err != nil {
		t.Fatal(err)
	}
	f, err := s.Source(digests[1])
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := s.KeepForRetry(digests[1], "job_2"); err != nil { // it fails again
		t.Error(err)
	}
	if err := s.DeleteRetries(func(jobID string) bool { return jobID == "job_2" }); err != nil {
		t.Error(err)
	}
	if got := names(t, retry); !slices.Equal(got, []string{"job_2"}) {
		t.Errorf("kept are %v, want job_2", got)
	}
	if err := s.Retry(digests[0], "job_1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not kept: %v, want fs.ErrNotExist", err)
	}
}

func TestOldestFailedSourcesAreDeletedFirst(t *testing.T) {
	two := 2 * int64(len(gif+"job_1"))
	if _, retry, _ := failedSources(t, two); !slices.Equal(names(t, retry), []string{"job_2", "job_3"}) {
		t.Errorf("of three, two fit: kept are %v", names(t, retry))
	}
	s, retry, _ := failedSources(t, 1<<20)
	if err := s.Check(0, 0); err != nil || len(names(t, retry)) != 3 {
		t.Errorf("with space for an upload %v are kept (%v), want all", names(t, retry), err)
	}
	if err := s.Check(1<<60, 1<<60); err == nil || len(names(t, retry)) != 0 {
		t.Errorf("without space for an upload %v are kept (%v), want none and an error", names(t, retry), err)
	}
}

func TestSourceThatIsNotOnDiskIsNotKept(t *testing.T) {
	s, retry, _ := failedSources(t, 1<<20)
	if err := s.KeepForRetry(strings.Repeat("a", 64), "job_4"); err != nil || len(names(t, retry)) != 3 {
		t.Errorf("got %v, and %v are kept", err, names(t, retry))
	}
}
