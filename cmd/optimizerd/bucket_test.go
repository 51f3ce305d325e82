//go:build versitygw

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
	"github.com/optimizerd/optimizerd/pkg/verify"
)

// inBucket returns the settings of a daemon whose sets are in the bucket at url.
func inBucket(t *testing.T, url string) []string {
	return []string{
		"storage.s3.endpoint=" + url, "storage.s3.bucket=" + s3test.BucketName, "storage.s3.region=us-east-1",
		"storage.s3.key_file=" + s3test.KeyFile(t), "storage.keep_originals=true", "ladder.widths=32",
	}
}

// withSettings returns the arguments of a command for a data directory.
func withSettings(dir string, settings []string, args ...string) []string {
	for _, set := range append([]string{"storage.dir=" + dir}, settings...) {
		args = append(args, "--set", set)
	}
	return args
}

// serves checks that every image and its files are served.
func (s *server) serves(t *testing.T, images []manifest.Manifest) {
	t.Helper()
	for _, want := range images {
		var m manifest.Manifest
		if r := s.do(t, http.MethodGet, "/v1/images/"+want.ID, nil, nil, &m); r.StatusCode != http.StatusOK || len(m.Variants) != len(want.Variants) {
			t.Errorf("%s: %s, %d variants", want.ID, r.Status, len(m.Variants))
		}
		for _, v := range m.Variants {
			r, err := http.Get(s.url + "/files/" + v.Key)
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Body.Close()
			if r.StatusCode != http.StatusOK || r.ContentLength != v.Bytes {
				t.Errorf("%s: %s, %d bytes, want %d", v.Key, r.Status, r.ContentLength, v.Bytes)
			}
		}
	}
}

func TestS3SetsMoveToTheBucketAndBack(t *testing.T) {
	store := s3test.Start(t)
	dir, settings := t.TempDir(), inBucket(t, store.URL)
	move := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		stdout, stderr, status := run(t, withSettings(dir, settings, append([]string{"move"}, args...)...)...)
		if status != want {
			t.Errorf("move %v: status %d: %s%s", args, status, stdout, stderr)
		}
		return stdout, stderr
	}
	s := serve(t, dir, "storage.keep_originals=true", "ladder.widths=32")
	images := s.optimizePhotos(t, 3)
	s.kill(t)

	stdout, _ := move(0, "--to", "s3", "--json")
	var r moved
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || r != (moved{Copied: 3}) {
		t.Fatalf("move: %v: %s", err, stdout)
	}
	if stdout, _ := move(0, "--to", "s3"); stdout != "copied: 0, copied before: 3, failed: 0\n" {
		t.Errorf("move again: %s", stdout)
	}
	s = serve(t, dir, settings...)
	s.serves(t, images)
	if _, stderr := move(1, "--to", "folder"); !strings.Contains(stderr, "in use") {
		t.Errorf("move beside the daemon: %s", stderr)
	}
	s.kill(t)

	if err := os.RemoveAll(filepath.Join(dir, "files")); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := move(0, "--to", "folder", "--delete"); stdout != "copied: 3, copied before: 0, failed: 0\n" {
		t.Errorf("move back: %s", stdout)
	}
	s = serve(t, dir, "storage.keep_originals=true", "ladder.widths=32")
	s.serves(t, images)
	if left, err := os.ReadDir(filepath.Join(store.Dir, s3test.BucketName)); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name() == images[0].ID }) {
		t.Errorf("left in the bucket: %v, %v", left, err)
	}
	store.Down()
	if _, stderr := move(1, "--to", "s3"); !strings.Contains(stderr, "the store is out of reach") {
		t.Errorf("without a store: %s", stderr)
	}
}

// verifyBucket runs verify, checks its exit status, and returns the problems that it
// found, each as its kind and id.
func verifyBucket(t *testing.T, dir string, settings []string, status int, args ...string) (problems []string, totals verify.Totals) {
	t.Helper()
	stdout, stderr, got := run(t, withSettings(dir, settings, append([]string{"verify", "--json"}, args...)...)...)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if got != status || json.Unmarshal([]byte(lines[len(lines)-1]), &totals) != nil {
		t.Fatalf("verify %v: status %d: %s%s", args, got, stdout, stderr)
	}
	for _, p := range decodeLines[verify.Problem](t, strings.Join(lines[:len(lines)-1], "\n")) {
		problems = append(problems, string(p.Kind)+" "+p.ID)
	}
	slices.Sort(problems)
	return problems, totals
}

func TestS3LostIndexIsRebuilt(t *testing.T) {
	store := s3test.Start(t)
	dir, settings := t.TempDir(), inBucket(t, store.URL)
	s := serve(t, dir, settings...)
	images := s.optimizePhotos(t, 4)
	s.kill(t)
	_, before := verifyBucket(t, dir, settings, 0)
	if err := os.RemoveAll(filepath.Join(dir, bucket.Folder)); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, status := run(t, withSettings(dir, settings, "rebuild")...); status != 0 || stdout != "sets: 4, added: 4, removed: 0, damaged: 0\n" {
		t.Errorf("rebuild: status %d: %s%s", status, stdout, stderr)
	}
	if problems, after := verifyBucket(t, dir, settings, 0); len(problems) != 0 || after != before {
		t.Errorf("with the new index: %v, %+v, want %+v", problems, after, before)
	}
	serve(t, dir, settings...).serves(t, images)
}

func TestS3DamageInTheBucketIsFoundBesideTheDaemon(t *testing.T) {
	store := s3test.Start(t)
	dir, settings := t.TempDir(), inBucket(t, store.URL)
	images := serve(t, dir, settings...).optimizePhotos(t, 4)
	if problems, totals := verifyBucket(t, dir, settings, 0); len(problems) != 0 || totals.Sets != 4 || totals.Originals != 4 || totals.Bytes == 0 {
		t.Errorf("of a sound bucket: %v, %+v", problems, totals)
	}

	orphan := strings.Repeat("a", len(images[0].ID))
	object := func(key string) string { return filepath.Join(store.Dir, s3test.BucketName, key) }
	flip(t, object(images[0].Variants[0].Key))
	put(t, object(images[1].ID+"/"+manifest.FileName), []byte("{"))
	put(t, object(images[2].ID+"/"+"of-somebody-else"), []byte("?"))
	put(t, object(bucket.Originals+images[3].ID), []byte("cut"))
	put(t, object(bucket.Originals+orphan), []byte("orphaned"))
	if err := os.Remove(object(images[2].Variants[1].Key)); err != nil {
		t.Fatal(err)
	}

	damaged := []string{"damaged_manifest " + images[1].ID, "damaged_original " + images[3].ID, "missing_file " + images[2].ID, "orphaned_original " + orphan}
	if problems, _ := verifyBucket(t, dir, settings, 1, "--quick"); !slices.Equal(problems, damaged) {
		t.Errorf("quick: %v, want %v", problems, damaged)
	}
	damaged = slices.Insert(damaged, 0, "damaged_file "+images[0].ID)
	if problems, totals := verifyBucket(t, dir, settings, 1); !slices.Equal(problems, damaged) || totals.Problems != 4 || totals.Harmless != 1 {
		t.Errorf("%v, want %v; %+v", problems, damaged, totals)
	}
	if _, stderr, status := run(t, withSettings(dir, settings, "verify", "--repair")...); status != 1 || !strings.Contains(stderr, "images delete") {
		t.Errorf("repair: status %d: %s", status, stderr)
	}
}
