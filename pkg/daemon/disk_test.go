package daemon_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
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
		t.Fatalf("mount a small tmpfs: %v: these tests fill their own disk, so run them as root, with permission to mount (docker run --cap-add SYS_ADMIN)", err)
	}
	t.Cleanup(func() { // a process that another test just forks has our open files until it runs
		daemontest.Eventually(t, "the disk can be unmounted", func() bool { return syscall.Unmount(dir, 0) == nil })
	})
	return &disk{t, dir}
}

// use is the change that puts the data folder there.
func (d *disk) use(c *config.Config) { c.Storage.Dir = filepath.Join(d.dir, "data") }

// remount makes the disk read-only, or writable again.
func (d *disk) remount(flags uintptr) {
	d.t.Helper()
	daemontest.Eventually(d.t, "no file is open for writing", func() bool {
		return syscall.Mount("", d.dir, "", syscall.MS_REMOUNT|flags, "size=8m") == nil
	})
}

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
	s := daemontest.Start(t, d.use, func(c *config.Config) { c.Storage.MinFree = 2 << 20 })
	readinessOf(t, s.Get("/readyz"), http.StatusOK)
	refusedUnread(s, t, 7<<20, "insufficient_storage") // it would fit, and leave too little
	d.fill(1 << 20)
	refusedUnread(s, t, 1000, "insufficient_storage")
	s.Upload(daemontest.SmallJPEG(t, 60)).CheckProblem(t, "insufficient_storage")
	contentType, form := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "a.jpg", Data: daemontest.SmallJPEG(t, 60)})
	s.UploadForm(form, contentType).CheckProblem(t, "insufficient_storage")
	if r := readinessOf(t, s.Get("/readyz"), http.StatusServiceUnavailable); r.Parts["disk"].Status != "not_ready" || r.Parts["disk"].Detail == "" {
		t.Errorf("readyz says %+v, want the disk not ready, and why", r)
	}
	s.CheckNothingLeft()
	d.empty()
	readinessOf(t, s.Get("/readyz"), http.StatusOK)
	s.CheckServes()
}

// The kernel remounts an SD card that fails.
func TestDiskThatBecomesReadOnlyIsReported(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := daemontest.Start(t, d.use)
	m := s.Upload(daemontest.SmallJPEG(t, 61)).Manifest(t, http.StatusCreated)
	d.remount(syscall.MS_RDONLY)
	if r := readinessOf(t, s.Get("/readyz"), http.StatusServiceUnavailable); !strings.Contains(r.Parts["disk"].Detail, "read-only") {
		t.Errorf("readyz says %+v, want that the disk is read-only", r.Parts["disk"])
	}
	refusedUnread(s, t, 1000, "unavailable")
	s.PostJob(`{"input": "https://example.com/cat.jpg"}`).CheckProblem(t, "unavailable")
	s.Get("/v1/images/"+m.ID).Manifest(t, http.StatusOK)
	d.remount(0)
	readinessOf(t, s.Get("/readyz"), http.StatusOK)
	s.CheckServes()
}

func TestDiskThatFillsUpDuringAnUpload(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := daemontest.Start(t, d.use)
	d.fill(1 << 20)
	body := append(bytes.Clone(daemontest.BimgImage(t, "test.jpg")), make([]byte, 3<<20)...)
	contentType, form := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "a.jpg", Data: body})
	for _, upload := range map[string]func() daemontest.Answer{
		"raw": func() daemontest.Answer {
			return s.Request(http.MethodPost, "/v1/images", struct{ io.Reader }{bytes.NewReader(body)}) // in chunks: nobody knows how long
		},
		"a form": func() daemontest.Answer {
			return s.Request(http.MethodPost, "/v1/images", struct{ io.Reader }{bytes.NewReader(form)}, daemontest.Header("Content-Type", contentType))
		},
	} {
		upload().CheckProblem(t, "insufficient_storage")
		s.CheckNothingLeft()
	}
	d.empty()
	s.CheckServes()
}

// bulky is a small source of large variants.
func bulky(c *config.Config) {
	c.Ladder.Widths = []int{1500, 1510, 1520}
	c.Ladder.Quality.JPEG, c.Ladder.Quality.WebP, c.Ladder.Effort.WebP = 100, 100, 0
}

func TestDiskThatFillsUpDuringTheWork(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := daemontest.Start(t, d.use, bulky, daemontest.OneCodec)
	source := daemontest.BimgImage(t, "test.jpg")
	d.fill(1 << 20)
	s.Upload(source).CheckProblem(t, "insufficient_storage")
	s.CheckNothingLeft()
	d.empty()
	s.CheckServes()
	j := s.Submit(daemontest.SmallJPEG(t, 44))
	if got := s.AwaitJob(j.ID); got.Status != "completed" {
		t.Errorf("with space again, a job is %+v, want it completed", got)
	}
}

func TestJobThatWasPromisedWaitsForSpace(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := daemontest.Start(t, d.use, bulky, daemontest.OneCodec)
	_, thaw := s.Freeze()
	j := s.Submit(daemontest.BimgImage(t, "test.jpg"))
	s.AwaitJobs(1, 0)
	d.fill(1 << 20)
	thaw()
	daemontest.Eventually(t, "the job waits for space", func() bool { return s.Logged("job requeued after a temporary failure") > 0 })
	if got := s.Get("/jobs/"+j.ID).Job(t, http.StatusOK); got.FinishedAt != nil {
		t.Errorf("the job ended as %s", got.Status)
	}
	started := s.Logged("codec started") // again, for each image that is rendered after one that did not fit
	daemontest.Eventually(t, "the job is looked at again", func() bool { return s.Logged("job requeued after a temporary failure") > 2 })
	if again := s.Logged("codec started") - started; again > 0 {
		t.Errorf("it was rendered %d times while there was no space for its files", again)
	}
	s.CheckEmpty("files/.staging")
	d.empty()
	if got := s.AwaitJob(j.ID); got.Status != "completed" {
		t.Errorf("with space again the job is %+v, want it completed", got)
	}
}
