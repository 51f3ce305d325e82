package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/servertest"
)

// photosSent is how many photos are sent while a daemon is killed: 2000 take minutes.
var photosSent = flag.Int("photos", 40, "photos that TestUploadGoesOn… and TestWatchGoesOn… send")

// smallPhotos makes a directory with n different photos.
func smallPhotos(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		put(t, filepath.Join(dir, fmt.Sprintf("%04d.jpg", i)), smallPhoto(t, i))
	}
	return dir
}

func smallPhoto(t *testing.T, seed int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 90, 60))
	for y := range 60 {
		for x := range 90 {
			img.Set(x, y, color.RGBA{uint8(x * seed), uint8(y + seed), uint8(seed >> 8), 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// optimizePhotos uploads n different photos, and returns their manifests.
func (s *server) optimizePhotos(t *testing.T, n int) (images []manifest.Manifest) {
	t.Helper()
	for i := range n {
		images = append(images, s.optimize(t, smallPhoto(t, i)))
	}
	return images
}

// statuses counts the outcomes of lines of JSON, and their different images.
func statuses(t *testing.T, stdout string) (counts map[string]int, images map[string]bool) {
	t.Helper()
	counts, images = make(map[string]int), make(map[string]bool)
	for line := range strings.Lines(stdout) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		counts[o.Status]++
		if o.ID != "" {
			images[o.ID] = true
		}
	}
	return counts, images
}

func TestUploadGoesOnAfterTheDaemonWasKilled(t *testing.T) {
	photos := *photosSent
	in, data, journal, address := smallPhotos(t, photos), t.TempDir(), filepath.Join(t.TempDir(), "journal"), servertest.FreeAddress(t)
	put(t, filepath.Join(in, "notes.txt"), []byte("not a photo"))
	put(t, filepath.Join(in, "broken.jpg"), []byte("not a photo"))
	start := func() *server { return serve(t, data, "http.listen="+address, "ladder.widths=32") }
	s := start()
	cmd := exec.Command(filepath.Join(bin, "optimizerd"), "upload", in, "--to", "http://"+address, "--journal", journal)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, printed := bufio.NewScanner(stdout), new(strings.Builder)
	for n := 0; lines.Scan(); n++ {
		printed.WriteString(lines.Text() + "\n")
		if n == photos/4 {
			_ = s.Process.Kill()
			_ = s.Wait() // its error is that it was killed
			s = start()
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 { // broken.jpg
		t.Errorf("it ended with %v", err)
	}
	counts, images := statuses(t, printed.String())
	if counts["made"]+counts["there"] != photos || len(images) != photos || counts["skipped"] != 1 || counts["failed"] != 1 {
		t.Errorf("outcomes %v of %d images, want %d", counts, len(images), photos)
	}
	s.hasEachOnce(t, photos)

	again, stderr, _ := run(t, "upload", in, "--to", "http://"+address, "--journal", journal)
	if counts, _ := statuses(t, again); counts["there"] != photos || counts["made"] != 0 {
		t.Errorf("the second time: %v\n%s", counts, stderr)
	}
	put(t, filepath.Join(in, "broken.jpg"), smallPhoto(t, photos))
	remove(t, s.url+"/v1/images/"+firstOf(images))
	fixed, stderr, status := run(t, "upload", in, "--to", "http://"+address, "--journal", journal)
	if counts, _ := statuses(t, fixed); counts["made"] != 2 || counts["there"] != photos-1 || status != 0 {
		t.Errorf("with one deleted and one fixed: status %d, %v\n%s", status, counts, stderr)
	}
}

// hasEachOnce checks that the daemon has this number of images, all of different names.
func (s *server) hasEachOnce(t *testing.T, photos int) {
	t.Helper()
	stdout, _, _ := run(t, "images", "list", "--json", "--limit", fmt.Sprint(2*photos), "--to", s.url)
	sets, names := decodeLines[client.Set](t, stdout), make(map[string]bool)
	for _, m := range sets {
		names[m.Source.Filename] = true
	}
	if len(sets) != photos || len(names) != photos {
		t.Errorf("the daemon has %d images of %d names, want each of %d once", len(sets), len(names), photos)
	}
}

func remove(t *testing.T, url string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Errorf("delete: %s", res.Status)
	}
}

func firstOf(set map[string]bool) string {
	for s := range set {
		return s
	}
	return ""
}

func TestUploadSaysWhyNothingCanBeSent(t *testing.T) {
	in := smallPhotos(t, 1)
	if _, stderr, status := run(t, "upload", in, "--to", "img.example.com"); status != 1 || !strings.Contains(stderr, "write it like http://") {
		t.Errorf("status %d: %s", status, stderr)
	}
	s := serve(t, t.TempDir(), "auth.tokens_file="+tokenFile(t, "0123456789abcdefghij"))
	stdout, _, status := run(t, "upload", in, "--to", s.url, "--journal", filepath.Join(t.TempDir(), "j"))
	if status != 1 || !strings.Contains(stdout, `"unauthorized"`) {
		t.Errorf("without a token: status %d: %s", status, stdout)
	}
	stdout, _, status = run(t, "upload", in, "--to", s.url, "--journal", filepath.Join(t.TempDir(), "j"), "--token-file", tokenFile(t, "0123456789abcdefghij"))
	if counts, _ := statuses(t, stdout); status != 0 || counts["made"] != 1 {
		t.Errorf("with a token: status %d: %s", status, stdout)
	}
}

// watchUntil watches a directory until there are n lines, interrupts the watch, and
// returns what it printed.
func watchUntil(t *testing.T, n int, args ...string) string {
	t.Helper()
	return watchWith(t, n, func(int) {}, args...)
}

// watchWith is watchUntil that calls at with the number of each line.
func watchWith(t *testing.T, n int, at func(line int), args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "optimizerd"), append([]string{"watch", "--every", "1s", "--settle", "1s"}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, printed := bufio.NewScanner(stdout), new(strings.Builder)
	for line := 1; line <= n && lines.Scan(); line++ {
		printed.WriteString(lines.Text() + "\n")
		at(line)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		printed.WriteString(lines.Text() + "\n")
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("interrupted, it ended with %v", cmd.ProcessState)
	}
	return printed.String()
}

// checkBeside checks that the manifest of an outcome is beside its file, with all
// variants.
func checkBeside(t *testing.T, o outcome) {
	t.Helper()
	var m manifest.Manifest
	if err := json.Unmarshal(read(t, filepath.Join(o.File+".optimized", "manifest.json")), &m); err != nil || m.ID != o.ID || len(m.Variants) == 0 {
		t.Fatalf("%+v: %v, %+v", o, err, m)
	}
	for _, v := range m.Variants {
		if sum := sha256.Sum256(read(t, filepath.Join(o.File+".optimized", v.Name()))); hex.EncodeToString(sum[:]) != v.SHA256 {
			t.Errorf("%s beside %s differs from the manifest", v.Name(), o.File)
		}
	}
}

func TestWatchWritesResultsBesideTheFiles(t *testing.T) {
	in, journal := smallPhotos(t, 2), filepath.Join(t.TempDir(), "journal")
	s := serve(t, t.TempDir(), "ladder.widths=32")
	args := []string{in, "--to", s.url, "--journal", journal, "--results", "beside"}
	outcomes := decodeLines[outcome](t, watchUntil(t, 2, args...))
	for _, o := range outcomes {
		checkBeside(t, o)
	}
	if len(outcomes) != 2 {
		t.Fatalf("outcomes %+v, want those of two files, and none of their results", outcomes)
	}
	// Lost results come back, and those of a changed file are replaced.
	lost, changed := outcomes[0], outcomes[1]
	if err := os.RemoveAll(lost.File + ".optimized"); err != nil {
		t.Fatal(err)
	}
	put(t, changed.File, smallPhoto(t, 77))
	for _, o := range decodeLines[outcome](t, watchUntil(t, 2, args...)) {
		if !hasResults(o.File, o.ID) || o.File == changed.File && o.ID == changed.ID || o.File == lost.File && o.ID != lost.ID {
			t.Errorf("%+v has not its results beside it", o)
		}
	}
	if _, stderr, status := run(t, "watch", in, "--results", "here"); status != 1 || !strings.Contains(stderr, "--results must be") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

func TestWatchGoesOnAfterItAndTheDaemonWereStopped(t *testing.T) {
	photos := *photosSent
	in, data, journal, address := smallPhotos(t, photos), t.TempDir(), filepath.Join(t.TempDir(), "journal"), servertest.FreeAddress(t)
	start := func() *server { return serve(t, data, "http.listen="+address, "ladder.widths=32") }
	s := start()
	args := []string{in, "--to", "http://" + address, "--journal", journal}
	first := watchWith(t, photos/2, func(line int) {
		if line == photos/4 {
			_ = s.Process.Kill()
			_ = s.Wait() // its error is that it was killed
			s = start()
		}
	}, args...)
	before, _ := statuses(t, first)
	sent := before["made"] + before["there"]
	if sent < photos/2 || before["failed"] > 0 {
		t.Errorf("until it was interrupted: %v", before)
	}
	second := watchUntil(t, photos-sent, args...)
	if after, _ := statuses(t, second); after["made"]+after["there"] != photos-sent || after["failed"] > 0 {
		t.Errorf("after %d photos, the second watch has %v, want the rest of %d", sent, after, photos)
	}
	s.hasEachOnce(t, photos)
}

func TestWatchSendsWhatIsComplete(t *testing.T) {
	in, journal := smallPhotos(t, 5), filepath.Join(t.TempDir(), "journal")
	put(t, filepath.Join(in, ".syncthing.9.jpg.tmp"), smallPhoto(t, 9))
	put(t, filepath.Join(in, "broken.jpg"), []byte("no photo"))
	s := serve(t, t.TempDir(), "ladder.widths=32")
	watch := func(until int) (counts map[string]int) {
		t.Helper()
		counts, _ = statuses(t, watchUntil(t, until, in, "--to", s.url, "--journal", journal))
		return counts
	}
	if counts := watch(6); counts["made"] != 5 || counts["failed"] != 1 {
		t.Errorf("outcomes %v, want 5 made and the broken one failed", counts)
	}
	put(t, filepath.Join(in, "sub", "new.jpg"), smallPhoto(t, 77))
	if counts := watch(1); counts["made"] != 1 || counts["there"]+counts["failed"] != 0 {
		t.Errorf("after a restart: %v, want the new one alone", counts)
	}
}
