package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// written is how many bytes the daemon has written, to files and sockets.
func (s *server) written(t *testing.T) int64 {
	t.Helper()
	proc, err := procfs.NewProc(s.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	io, err := proc.IO()
	if err != nil {
		t.Fatal(err)
	}
	return int64(io.WChar)
}

func TestUploadIsWrittenOnceAndItsFilesToo(t *testing.T) {
	for picture, most := range map[string]float64{
		"test_exif_full.jpg": 1.05,
		"test.jpg":           1.25, // 52 KiB: the manifest, the job's record and the answer weigh more
	} {
		s := serve(t, t.TempDir(), "http.sync_wait=90s", "ladder.widths=320,960")
		before := s.written(t)
		source := read(t, testdata(t)+"/"+picture)
		var m manifest.Manifest
		if answer := s.do(t, "POST", "/v1/images", source, map[string]string{"Prefer": "wait=90"}, &m); answer.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s", picture, answer.Status)
		}
		needed := int64(len(source))
		for _, v := range m.Variants {
			needed += v.Bytes
		}
		// Less than one would be a way of writing that this does not see.
		if ratio := float64(s.written(t)-before) / float64(needed); ratio < 1 || ratio > most {
			t.Errorf("%s: %.3f bytes are written for each one of source and files, want 1 to %.2f", picture, ratio, most)
		}
	}
}

func TestStormOfRefusedRequestsDoesNotFillTheLog(t *testing.T) {
	const requests = 300
	s := serve(t, t.TempDir(), "auth.tokens_file="+tokenFile(t, "0123456789abcdef0123456789abcdef"))
	path := strings.Repeat("/..;", 1000)
	for range requests {
		answer, err := http.Get(s.url + "/v1/images" + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode < 400 {
			t.Fatal(answer.Status)
		}
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Fatal(err)
	}
	log := s.log.String()
	logged, leftOut := strings.Count(log, `"msg":"request"`), 0
	for _, m := range regexp.MustCompile(`"lines":(\d+)`).FindAllStringSubmatch(log, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		leftOut += n
	}
	// The limit is 120 lines a minute; a very slow machine begins a second one.
	if logged < 120 || logged > 240 || leftOut != requests-logged {
		t.Errorf("of %d requests %d are in the log, and %d were left out", requests, logged, leftOut)
	}
	if len(log) > 100<<10 {
		t.Errorf("the log has %d bytes", len(log))
	}
}

// A rename from one file system to another fails: if every folder of the data
// may be a file system of its own, every temporary file lies on that of its
// target.
func TestTemporaryFilesLieOnTheFileSystemOfTheirTarget(t *testing.T) {
	for _, folder := range []string{"files", "spool", "queue"} {
		dir := t.TempDir()
		other, err := os.MkdirTemp("/dev/shm", "optimizerd-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(other) })
		if device(t, dir) == device(t, other) {
			t.Fatalf("%s and /dev/shm are one file system: set TMPDIR to a folder on a disk", dir)
		}
		if err := os.Symlink(other, filepath.Join(dir, folder)); err != nil {
			t.Fatal(err)
		}
		s := serve(t, dir, "ladder.widths=320")
		m := s.optimize(t, read(t, testdata(t)+"/test.jpg"))
		checkFiles(t, filepath.Join(dir, "files"), m)
	}
}

func device(t *testing.T, path string) uint64 {
	t.Helper()
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return uint64(s.Dev)
}

// changed is when something was last made, renamed or removed in a folder.
func changed(t *testing.T, dir string) time.Time {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

func TestUploadInMemoryTouchesTheDiskOnlyWithItsSet(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "storage.upload_memory=64MiB", "http.sync_wait=90s", "ladder.widths=320")
	folders := []string{dir + "/spool", dir + "/queue/pending", dir + "/queue/running", dir + "/queue/done"}
	var before []time.Time
	for _, folder := range folders {
		before = append(before, changed(t, folder))
	}
	var m manifest.Manifest
	if answer := s.do(t, "POST", "/v1/images", read(t, testdata(t)+"/test_exif_full.jpg"), map[string]string{"Prefer": "wait=90"}, &m); answer.StatusCode != http.StatusCreated {
		t.Fatal(answer.Status)
	}
	checkFiles(t, dir+"/files", m)
	for i, folder := range folders {
		if !changed(t, folder).Equal(before[i]) {
			t.Errorf("there was something in %s", folder)
		}
	}
}

func TestUploadInMemoryThatWasAcceptedSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "storage.upload_memory=64MiB", "http.sync_wait=1s", "ladder.widths=320", "codec.processes=1")
	s.stopCodecs(t) // so that every wait runs out
	picture := read(t, testdata(t)+"/test.jpg")
	accepted := make([]string, 4)
	var uploads sync.WaitGroup
	for i := range accepted {
		uploads.Go(func() {
			var j jobAnswer
			other := append(slices.Clone(picture), byte(i)) // the same pixels, another source
			if answer := s.do(t, "POST", "/v1/images", other, nil, &j); answer.StatusCode != http.StatusAccepted {
				t.Errorf("upload %d: %s", i, answer.Status)
			}
			accepted[i] = j.ID
		})
	}
	uploads.Wait()
	s.kill(t)

	serve(t, dir).completes(t, dir, accepted)
}

func TestUploadInMemoryThatWasNotAnnouncedLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "storage.upload_memory=64MiB", "http.sync_wait=90s", "ladder.widths=320", "codec.processes=1")
	s.stopCodecs(t) // so that its work does not end
	picture := read(t, testdata(t)+"/test.jpg")
	given := make(chan struct{})
	go func() {
		defer close(given)
		answer, err := http.Post(s.url+"/v1/images", "", bytes.NewReader(picture))
		if err == nil {
			answer.Body.Close()
			t.Errorf("it was answered: %s", answer.Status)
		}
	}()
	await(t, "it is in work", func() bool {
		sets, err := os.ReadDir(dir + "/files/.staging")
		return err == nil && len(sets) > 0
	})
	s.kill(t)
	<-given

	s = serve(t, dir)
	var listing struct{ Items []manifest.Manifest }
	if s.do(t, "GET", "/v1/images", nil, nil, &listing); len(listing.Items) != 0 {
		t.Errorf("there are %d sets", len(listing.Items))
	}
	for _, pattern := range []string{"spool/*", "queue/*/*.json", "files/.staging/*"} {
		if left, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}
