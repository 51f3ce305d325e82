package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/backup"
)

// savedPhotos returns a backup of a daemon's folder with these numbers of photos, and the
// path of a file of the first image in it.
func savedPhotos(t *testing.T, photos int) (data, to, id, file, blob string) {
	t.Helper()
	data, to = t.TempDir(), filepath.Join(t.TempDir(), "backup")
	s := serve(t, data, "ladder.widths=32", "storage.keep_originals=true")
	images := s.optimizePhotos(t, photos)
	backupOf(t, "backup", to, "--set", "storage.dir="+data)
	v := images[0].Variants[0]
	return data, to, images[0].ID, "files/" + v.Key, filepath.Join(to, "blobs", v.SHA256[:2], v.SHA256)
}

func TestBackupVerifyFindsDamageAndTheNextBackupHealsIt(t *testing.T) {
	data, to, id, file, blob := savedPhotos(t, 2)
	elsewhere := "storage.dir=" + filepath.Join(t.TempDir(), "missing") // as on another machine
	verify := func(status int, text string, args ...string) string {
		t.Helper()
		return says(t, status, text, append([]string{"backup", "verify", to, "--set", elsewhere}, args...)...)
	}
	if stdout := verify(0, "1 of 1 snapshots can be restored completely"); !strings.Contains(stdout, "2 sets, 8 files checked") {
		t.Errorf("of a sound backup: %s", stdout)
	}
	flip(t, blob)
	verify(0, "0 damaged", "--quick")
	stdout := verify(1, "'optimizerd backup verify --repair' sets them aside")
	for _, want := range []string{"damaged_file      " + file + ": its SHA-256 is ", "; in snapshot ", ": 1 damaged\n", "0 of 1 snapshots can be restored completely, the newest is none"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in %s", want, stdout)
		}
	}
	verify(0, "1 of 1 snapshots have all files (their content was not read)", "--quick")
	var p backup.Problem
	var totals backup.VerifyTotals
	lines := json.NewDecoder(strings.NewReader(verify(1, "", "--repair", "--json")))
	if err := errors.Join(lines.Decode(&p), lines.Decode(&totals)); err != nil {
		t.Fatal(err)
	}
	if p.Kind != backup.DamagedFile || p.Image != id || p.File != file || !p.SetAside || totals.Damaged != 1 || totals.SetAside != 1 {
		t.Errorf("%+v, %+v", p, totals)
	}
	verify(1, "missing_file      "+file)
	verify(1, "the next 'optimizerd backup' copies them again")
	if healed := backupOf(t, "backup", to, "--set", "storage.dir="+data); healed.Copied != 1 {
		t.Errorf("%d files were copied, want 1", healed.Copied)
	}
	verify(0, "2 of 2 snapshots can be restored completely")
}

// Users of restic and borg know this word. Without an alias it would name a directory.
func TestBackupCheckIsBackupVerify(t *testing.T) {
	_, to, _, _, _ := savedPhotos(t, 1)
	says(t, 0, "can be restored completely", "backup", "check", to)
	t.Chdir(t.TempDir())
	says(t, 1, "usage: optimizerd backup verify {DIR | s3://BUCKET/PREFIX}", "backup", "check")
	if _, err := os.Stat("check"); err == nil {
		t.Error("a backup was made in a directory")
	}
}

func TestBackupVerifyShowsItsProgressOnATerminal(t *testing.T) {
	_, to, _, file, blob := savedPhotos(t, 3)
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TERM", "xterm")
	lines, drawn, status := onTerminal(t, "backup", "verify", to)
	if status != 1 || !strings.Contains(drawn, "sets, 0s elapsed") {
		t.Errorf("status %d: %q", status, drawn)
	}
	if found := strings.Join(lines, "\n"); !strings.Contains(found, "missing_file      "+file) || !strings.Contains(found, "\n3 sets, ") {
		t.Errorf("printed %q", lines)
	}
	t.Setenv("TERM", "dumb")
	if _, drawn, _ := onTerminal(t, "backup", "verify", to); strings.Contains(drawn, "\x1b") {
		t.Errorf("a terminal that cannot draw gets %q", drawn)
	}
}

// bucketOf serves a backup in a directory as a bucket. hold is called with the key of each
// object that is read.
func bucketOf(t *testing.T, dir string, hold func(r *http.Request, key string)) (args []string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if prefix, found := strings.CutPrefix(r.URL.Query().Get("prefix"), "pi/"); found {
			_, _ = fmt.Fprint(w, "<ListBucketResult>")
			_ = filepath.WalkDir(filepath.Join(dir, prefix), func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				info, err := d.Info()
				_, _ = fmt.Fprintf(w, "<Contents><Key>pi/%s%s</Key><Size>%d</Size></Contents>", prefix, d.Name(), info.Size())
				return err
			})
			_, _ = fmt.Fprint(w, "</ListBucketResult>")
			return
		}
		key := strings.TrimPrefix(r.URL.Path, "/backups/pi/")
		hold(r, key)
		if folder, digest := path.Split(key); folder == "blobs/" {
			key = folder + digest[:2] + "/" + digest
		}
		http.ServeFile(w, r, filepath.Join(dir, filepath.FromSlash(key)))
	}))
	t.Cleanup(server.Close)
	secret := filepath.Join(t.TempDir(), "key")
	put(t, secret, []byte("id\nsecret\n"))
	return []string{"backup", "verify", "s3://backups/pi", "--s3-endpoint", server.URL, "--s3-region", "auto", "--s3-key-file", secret}
}

func TestInterruptedBackupVerifySaysHowFarItIs(t *testing.T) {
	_, to, _, _, blob := savedPhotos(t, 2)
	says(t, 0, "1 of 1 snapshots can be restored completely", bucketOf(t, to, func(*http.Request, string) {})...)
	reading := make(chan struct{})
	args := bucketOf(t, to, func(r *http.Request, key string) {
		if path.Base(key) == filepath.Base(blob) {
			close(reading)
			<-r.Context().Done()
		}
	})
	cmd := exec.Command(filepath.Join(bin, "optimizerd"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reading
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 || !regexp.MustCompile(`interrupted: [01] of 2 sets and sources were checked`).MatchString(stderr.String()) || stdout.Len() > 0 {
		t.Errorf("%v: %s%s", cmd.ProcessState, stdout.String(), stderr.String())
	}
}

// A command with commands below it completes no files by itself.
func TestDirectoryOfABackupIsCompleted(t *testing.T) {
	for _, args := range [][]string{{"backup", "/mn"}, {"backup", "verify", "/mn"}, {"restore", "/mn"}} {
		if stdout, _, status := installed(t, "", append([]string{"__complete"}, args...)...); status != 0 || stdout != ":0\n" {
			t.Errorf("%v: status %d: %q, want the files of the shell", args, status, stdout)
		}
	}
	if stdout, _, _ := installed(t, "", "__complete", "backup", "ver"); !strings.HasPrefix(stdout, "verify\t") {
		t.Errorf("the command is not completed: %q", stdout)
	}
}
