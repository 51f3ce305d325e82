package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/backup"
)

func backupOf(t *testing.T, args ...string) (totals backup.Totals) {
	t.Helper()
	stdout, stderr, status := run(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(stdout), &totals); err != nil || status != 0 {
		t.Fatalf("%v: status %d, %v: %s%s", args, status, err, stdout, stderr)
	}
	return totals
}

// sendAsync begins to upload photos, three at a time, and counts those that were
// accepted. What it returns waits for all, and returns their jobs.
func (s *server) sendAsync(t *testing.T, photos int, sent *atomic.Int32) (jobs func() []string) {
	t.Helper()
	ids := make([]string, photos)
	var load errgroup.Group
	load.SetLimit(3)
	go func() {
		for i := range photos {
			load.Go(func() error {
				var j jobAnswer
				s.do(t, http.MethodPost, "/v1/images", smallPhoto(t, i), map[string]string{"Prefer": "respond-async"}, &j)
				ids[i] = j.ID
				sent.Add(1)
				return nil
			})
		}
	}()
	return func() []string {
		t.Helper()
		await(t, "all photos are in", func() bool { return int(sent.Load()) == photos })
		return ids
	}
}

// The folder is destroyed while photos arrive. What had been accepted before the
// last backup is there afterwards: published, or a job that is executed.
func TestRestoreAfterTheFolderWasDestroyedUnderLoad(t *testing.T) {
	data, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	settings := []string{"storage.keep_originals=true", "ladder.widths=32", "codec.processes=1", "storage.upload_memory=0"}
	s := serve(t, data, settings...)
	const photos = 60
	var sent atomic.Int32
	accepted := s.sendAsync(t, photos, &sent)
	await(t, "some photos are in", func() bool { return sent.Load() > 5 })
	first := backupOf(t, "backup", to, "--set", "storage.dir="+data)
	jobs := accepted()
	s.stopCodecs(t) // some jobs have not ended, unless it was very fast
	second := backupOf(t, "backup", to, "--set", "storage.dir="+data)
	if second.Sets < first.Sets || second.Snapshot <= first.Snapshot || second.Sets+second.Sources < photos {
		t.Errorf("first %+v, then %+v", first, second)
	}
	key, _ := os.ReadFile(filepath.Join(data, "url-key")) // only with tokens there is one
	s.kill(t)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}

	restored, want := backupOf(t, "restore", to, "--set", "storage.dir="+data), second
	want.Copied, want.Bytes = restored.Copied, restored.Bytes // the second backup copied what was new
	if diff := cmp.Diff(want, restored); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	if b, _ := os.ReadFile(filepath.Join(data, "url-key")); !slices.Equal(b, key) {
		t.Error("the key that signs URLs is another one")
	}
	says(t, 0, "", "verify", "--set", "storage.dir="+data)
	s = serve(t, data, settings...)
	s.completes(t, data, jobs)
	stdout := says(t, 0, "", "verify", "--set", "storage.dir="+data)
	if !strings.Contains(stdout, "60 sets, ") || !strings.Contains(stdout, "60 originals") {
		t.Errorf("verify after all: %s", stdout)
	}
	third := backupOf(t, "backup", to, "--keep", "1", "--set", "storage.dir="+data)
	if third.Sets != photos || third.Deleted != 2 {
		t.Errorf("the third backup: %+v", third)
	}
	if fourth := backupOf(t, "backup", to, "--set", "storage.dir="+data); fourth.Copied != 0 || fourth.Sets != photos {
		t.Errorf("a backup of what has not changed: %+v", fourth)
	}
}

func TestBackupGoesOnAfterCtrlCAndSaysWhatIsDamaged(t *testing.T) {
	data, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	s := serve(t, data, "ladder.widths=32")
	m := s.optimize(t, smallPhoto(t, 1))
	other := s.optimize(t, smallPhoto(t, 2))
	cmd := exec.Command(filepath.Join(bin, "optimizerd"), "backup", to, "--set", "storage.dir="+data)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = cmd.Wait()
	backupOf(t, "backup", to, "--set", "storage.dir="+data)

	// One more, whose file is damaged before it is copied: it is left out.
	damaged := s.optimize(t, smallPhoto(t, 3))
	flip(t, filepath.Join(data, "files", damaged.Variants[0].Key))
	stdout, stderr, status := run(t, "backup", to, "--set", "storage.dir="+data)
	if status != 1 || !strings.Contains(stderr, damaged.ID) || !strings.Contains(stdout, "2 sets") || !strings.Contains(stdout, "1 damaged") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	// A file of the backup is damaged: the rest is restored.
	blob := m.Variants[0].SHA256
	put(t, filepath.Join(to, "blobs", blob[:2], blob), []byte("x"))
	into := filepath.Join(t.TempDir(), "data")
	stdout, stderr, status = run(t, "restore", to, "--set", "storage.dir="+into)
	if status != 1 || !strings.Contains(stderr, m.Variants[0].Name()) || !strings.Contains(stdout, "1 sets") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	checkFiles(t, filepath.Join(into, "files"), other)
	if stdout, _, status := run(t, "restore", "--list", to, "--set", "storage.dir="+into); status != 0 || strings.Count(stdout, "\n") < 2 {
		t.Errorf("the list: status %d: %s", status, stdout)
	}
	for _, refused := range []struct{ command, dir, data, because string }{
		{"restore", to, into, "is not empty"},
		{"restore", to, data, "in use by another optimizerd"},
		{"backup", filepath.Join(data, "backup"), data, "lost with it"},
	} {
		if _, stderr, status := run(t, refused.command, refused.dir, "--set", "storage.dir="+refused.data); status != 1 || !strings.Contains(stderr, refused.because) {
			t.Errorf("%+v: status %d: %s", refused, status, stderr)
		}
	}
}

// A machine that loses power during a restore starts the daemon when it is back.
func TestServeRefusesTheDataOfAnInterruptedRestore(t *testing.T) {
	data, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	s := serve(t, data, "ladder.widths=32")
	s.optimize(t, smallPhoto(t, 1))
	backupOf(t, "backup", to, "--set", "storage.dir="+data)
	s.kill(t)
	into := filepath.Join(t.TempDir(), "data")
	restored := backupOf(t, "restore", to, "--set", "storage.dir="+into)
	put(t, filepath.Join(into, "restore-in-progress"), []byte(restored.Snapshot))
	says(t, 1, "run 'optimizerd restore' again", "serve", "--set", "storage.dir="+into, "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=", "--set", "ladder.widths=32")
	backupOf(t, "restore", to, "--set", "storage.dir="+into)
	serve(t, into, "ladder.widths=32")
}

func TestBackupThroughALinkIntoTheDataIsRefused(t *testing.T) {
	data, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	says(t, 1, "lost with it", "backup", filepath.Join(link, "new", "backup"), "--set", "storage.dir="+data)
	says(t, 1, "lost with it", "backup", filepath.Join(data, "backup"), "--set", "storage.dir="+link)
}

func TestListOfSnapshotsInJSON(t *testing.T) {
	data, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	put(t, filepath.Join(data, "queue", "empty"), nil)
	made := []string{backupOf(t, "backup", to, "--set", "storage.dir="+data).Snapshot, backupOf(t, "backup", to, "--set", "storage.dir="+data).Snapshot}
	var listed []string
	for _, line := range decodeLines[struct{ Snapshot string }](t, says(t, 0, "", "restore", "--list", "--json", to)) {
		listed = append(listed, line.Snapshot)
	}
	if !slices.Equal(listed, made) {
		t.Errorf("listed %q, want %q", listed, made)
	}
}
