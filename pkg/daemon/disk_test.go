package daemon_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// disk is a small file system of its own.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("optimizerd-test", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatalf("mount a small tmpfs: %v: these tests fill a disk of their own, so run them as root, with the right to mount (docker run --cap-add SYS_ADMIN)", err)
	}
	t.Cleanup(func() { // a process that another test just forks has our open files until it runs
		eventually(t, "the disk can be unmounted", func() bool { return syscall.Unmount(dir, 0) == nil })
	})
	return &disk{t, dir}
}

// use is the change that puts the data folder there.
func (d *disk) use(c *config.Config) { c.Storage.Dir = filepath.Join(d.dir, "data") }

// fill leaves so many bytes free.
func (d *disk) fill(free int64) {
	d.t.Helper()
	d.empty()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &fs); err != nil {
		d.t.Fatal(err)
	}
	filler := make([]byte, max(0, int64(fs.Bavail)*fs.Bsize-free))
	if err := os.WriteFile(filepath.Join(d.dir, "filler"), filler, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) empty() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
}

func TestSpaceThatIsToStayFreeStaysFree(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := start(t, d.use, func(c *config.Config) { c.Storage.MinFree = 2 << 20 })
	s.get("/readyz").readiness(t, http.StatusOK)
	s.refusedUnread(t, 7<<20, "insufficient_storage") // it would fit, and leave too little
	d.fill(1 << 20)
	s.refusedUnread(t, 1000, "insufficient_storage")
	s.upload(small(t, 60)).is(t, "insufficient_storage")
	contentType, form := formOf(t, part{"f", "a.jpg", small(t, 60)})
	s.post(form, contentType).is(t, "insufficient_storage")
	if r := s.get("/readyz").readiness(t, http.StatusServiceUnavailable); r.Parts["disk"].Status != "not_ready" || r.Parts["disk"].Detail == "" {
		t.Errorf("readyz says %+v, want the disk not ready, and why", r)
	}
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	d.empty()
	s.get("/readyz").readiness(t, http.StatusOK)
	s.serves()
}

func TestADiskThatFillsUpDuringAnUpload(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := start(t, d.use)
	d.fill(1 << 20)
	body := append(bytes.Clone(picture(t, "test.jpg")), make([]byte, 3<<20)...)
	contentType, form := formOf(t, part{"f", "a.jpg", body})
	for name, upload := range map[string]func() answer{
		"raw": func() answer {
			return s.request(http.MethodPost, "/v1/images", struct{ io.Reader }{bytes.NewReader(body)}) // in chunks: nobody knows how long
		},
		"a form": func() answer {
			return s.request(http.MethodPost, "/v1/images", struct{ io.Reader }{bytes.NewReader(form)}, header("Content-Type", contentType))
		},
	} {
		upload().is(t, "insufficient_storage")
		if left := s.leftovers(); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	d.empty()
	s.serves()
}

// bulky is a small source of large variants.
func bulky(c *config.Config) {
	c.Ladder.Widths = []int{1500, 1510, 1520, 1530, 1540, 1550, 1560, 1570}
	c.Ladder.Quality.JPEG, c.Ladder.Quality.WebP, c.Ladder.Effort.WebP = 100, 100, 0
}

func TestADiskThatFillsUpDuringTheWork(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := start(t, d.use, bulky, oneCodec)
	source := picture(t, "test.jpg")
	d.fill(1 << 20)
	s.upload(source).is(t, "insufficient_storage")
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	d.empty()
	s.serves()
	j := s.submit(small(t, uint64(rand.Uint32())))
	if got := s.end(j.ID); got.Status != "completed" {
		t.Errorf("with space again, a job is %+v, want it completed", got)
	}
}

func TestAJobThatWasPromisedWaitsForSpace(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := start(t, d.use, bulky, oneCodec)
	_, thaw := s.freeze()
	j := s.submit(picture(t, "test.jpg"))
	s.working(1, 0)
	d.fill(1 << 20)
	thaw()
	eventually(t, "the job waits for space", func() bool { return s.logged("job requeued after a temporary failure") > 0 })
	if got := s.get("/jobs/"+j.ID).job(t, http.StatusOK); got.FinishedAt != nil {
		t.Errorf("the job ended as %s", got.Status)
	}
	if left := s.names("files/.staging"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	d.empty()
	if got := s.end(j.ID); got.Status != "completed" {
		t.Errorf("with space again the job is %+v, want it completed", got)
	}
}
