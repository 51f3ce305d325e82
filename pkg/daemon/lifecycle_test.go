package daemon_test

import (
	"bytes"
	"errors"
	"image"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// withField keeps the lines with this value.
func withField(name, value string) func(observer.LoggedEntry) bool {
	return func(e observer.LoggedEntry) bool { return e.ContextMap()[name] == value }
}

func TestStoppingAnswersWhoWaitsAndTheNextStartDoesTheRest(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	_, thaw := s.freeze()
	sources := [][]byte{small(t, 50), small(t, 51), small(t, 52)}
	answers := make(chan answer, 2)
	for i, source := range sources[:2] {
		go func() {
			a, err := s.try(http.MethodPost, "/v1/images", bytes.NewReader(source))
			if err != nil {
				t.Errorf("upload %d: %v", i, err)
			}
			answers <- a
		}()
	}
	s.working(1, 1)
	half := s.dial(t) // this one is coming in
	half.post(contentLength(len(sources[2])))
	half.send(sources[2][:100])
	eventually(t, "three uploads in the spool", func() bool { return len(s.names("spool")) == 3 })

	s.cancel()
	var ids []string
	for range 2 {
		ids = append(ids, (<-answers).job(t, http.StatusAccepted).ID)
	}
	half.send(sources[2][100:])
	ids = append(ids, half.answer().job(t, http.StatusAccepted).ID)
	thaw()
	s.stop()
	if n := len(s.names("queue/done")); n == 3 {
		t.Fatalf("all three jobs were done while stopping: nothing is left for the next start")
	}

	again := start(t, s.sameFolder)
	for i, id := range ids {
		j := again.end(id)
		if j.Status != "completed" || j.Output == nil {
			t.Errorf("job %d is %+v after the restart, want it completed", i, j)
		}
	}
	for _, source := range sources {
		again.upload(source).manifestOf(t, http.StatusOK)
	}
	if left := again.names("spool"); len(left) > 0 {
		t.Errorf("the spool keeps %v", left)
	}
}

func TestAJobThatDoesNotEndGoesBackToTheQueueAtTheStop(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	s.freeze() // and never thawed: the stop has to give up on it
	j := s.submit(small(t, 53))
	s.working(1, 0)
	s.stop()
	if n := s.logged("job returned to the queue"); n != 1 {
		t.Errorf("%d jobs went back to the queue, want 1", n)
	}
	if left := s.names("files"); len(left) > 0 {
		t.Errorf("the served folder has %v", left)
	}
	again := start(t, s.sameFolder)
	if got := again.end(j.ID); got.Status != "completed" {
		t.Errorf("after the restart it is %+v, want it completed", got)
	}
}

func TestAnIdleDaemonStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.get("/healthz") // leaves an idle connection
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
	for _, pid := range s.codecs() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("codec process %d is still there: %v", pid, err)
		}
	}
}

func TestASecondDaemonInTheSameFolderIsRefusedAndHarmsNothing(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	_, thaw := s.freeze()
	j := s.submit(small(t, 54))
	s.working(1, 0)
	source := small(t, 55)
	half := s.dial(t)
	half.post(contentLength(len(source)))
	half.send(source[:100])
	eventually(t, "an upload is coming in", func() bool { return len(s.names("spool")) == 2 })

	err := prepare(t, s.sameFolder).launch()
	if err == nil || !strings.Contains(err.Error(), "storage.dir") || !strings.Contains(err.Error(), "another optimizerd") {
		t.Fatalf("got %v, want an error that names storage.dir and another optimizerd", err)
	}
	half.send(source[100:])
	thaw()
	half.answer().manifestOf(t, http.StatusCreated)
	if got := s.end(j.ID); got.Status != "completed" {
		t.Errorf("the job of the first daemon is %+v, want it completed", got)
	}
}

func TestAPortThatIsTakenIsAClearError(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	refused := prepare(t, func(c *config.Config) { c.HTTP.Listen = taken.Addr().String() })
	err = refused.launch()
	if err == nil || !strings.Contains(err.Error(), "http.listen") || !strings.Contains(err.Error(), "another program is listening there") {
		t.Fatalf("got %v, want an error that names http.listen and another program", err)
	}
	for _, pid := range refused.codecs() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("codec process %d was left running: %v", pid, err)
		}
	}
	start(t, refused.sameFolder).serves() // the folder was given back
}

func TestAnAdminPortThatIsTakenIsOnlyAWarning(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := start(t, func(c *config.Config) { c.Admin.Listen = taken.Addr().String() })
	warnings := s.logs.FilterLevelExact(zapcore.WarnLevel).FilterMessageSnippet("admin.listen").Len()
	if warnings != 1 || s.AdminURL() != "" {
		t.Errorf("%d warnings about admin.listen, admin URL %q; want one and none", warnings, s.AdminURL())
	}
	s.serves()
}

func TestACodecThatIsMissingIsAClearError(t *testing.T) {
	t.Parallel()
	err := prepare(t, func(c *config.Config) { c.Codec.Path = "/nonexistent/optimizerd-codec" }).launch()
	if err == nil || !strings.Contains(err.Error(), "codec.path") {
		t.Fatalf("got %v, want an error that names codec.path", err)
	}
}

func TestHalfMadeThingsAreSweptAtTheStart(t *testing.T) {
	t.Parallel()
	s, m, path, _ := published(t)
	s.stop()
	id := strings.Repeat("b", 26)
	for name, content := range map[string]string{
		"spool/123.part": "half", "spool/" + strings.Repeat("0", 64): "whole, of no job", "files/.staging/" + id + "-1/64.webp": "half",
		"files/" + id + "/64.webp": "ignoring image set without a manifest", "queue/pending/job_01arz3ndektsv4rrffq69g5fav.json": "{broken", "queue/pending/.tmp": "x",
	} {
		if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := start(t, s.sameFolder)
	for _, folder := range []string{"spool", "files/.staging"} {
		if left := again.names(folder); len(left) > 0 {
			t.Errorf("%s still has %v", folder, left)
		}
	}
	again.get("/v1/images/"+id).is(t, "not_found")
	again.get("/files/"+id+"/64.webp").is(t, "not_found")
	if got := again.get("/v1/images/"+m.ID).manifestOf(t, http.StatusOK); got.Variants[0].Key != strings.TrimPrefix(path, "/files/") {
		t.Errorf("the whole set is now %+v", got)
	}
	if n := again.logged("unreadable job record set aside"); n != 1 {
		t.Errorf("%d lines about the broken job record, want 1", n)
	}
	again.serves()
}

func TestACodecProcessThatDiesIsReplacedAndTheWorkDoneAgain(t *testing.T) {
	t.Parallel()
	t.Run("before its first file", func(t *testing.T) {
		s := start(t, oneCodec)
		pid, _ := s.freeze()
		uploaded := make(chan answer)
		go func() {
			a, err := s.try(http.MethodPost, "/v1/images", bytes.NewReader(small(t, 56)))
			if err != nil {
				t.Errorf("upload: %v", err)
			}
			uploaded <- a
		}()
		s.working(1, 0)
		s.signal(pid, syscall.SIGKILL)
		(<-uploaded).manifestOf(t, http.StatusCreated)
		s.crashedOnce()
	})
	t.Run("between two files", func(t *testing.T) {
		s := start(t, oneCodec, func(c *config.Config) {
			c.Ladder.Widths = []int{64, 500, 520, 540, 560}
			c.Ladder.Formats, c.Ladder.Effort.AVIF, c.Codec.Threads = []ladder.Format{ladder.AVIF}, 4, 1 // some 100 ms a file
		})
		source := picture(t, "test.jpg")
		uploaded := make(chan answer)
		go func() {
			a, err := s.try(http.MethodPost, "/v1/images", bytes.NewReader(source))
			if err != nil {
				t.Errorf("upload: %v", err)
			}
			uploaded <- a
		}()
		eventually(t, "a first file is made", func() bool {
			files, err := filepath.Glob(s.path("files/.staging/*/*.avif"))
			return err == nil && len(files) > 0
		})
		s.signal(s.codecs()[0], syscall.SIGKILL)
		m := (<-uploaded).manifestOf(t, http.StatusCreated)
		s.holds(m, expected{source: source, format: "jpeg", width: 1680, height: 1050, frames: 1})
		s.crashedOnce()
	})
	t.Run("while it has nothing to do", func(t *testing.T) {
		s := start(t, oneCodec)
		s.signal(s.codecs()[0], syscall.SIGKILL)
		s.serves()
	})
}

// crashedOnce checks that one codec process died, another one took over, and
// nothing of it is left.
func (s *server) crashedOnce() {
	s.t.Helper()
	if crashed, started := s.metric("optimizerd_codec_crashes_total"), s.metric("optimizerd_codec_processes_started_total"); crashed != 1 || started != 2 {
		s.t.Errorf("%v of %v codec processes crashed, want 1 of 2", crashed, started)
	}
	if left := s.names("files/.staging"); len(left) > 0 {
		s.t.Errorf("left behind: %v", left)
	}
}

func TestAPictureThatTakesTooLongIsGivenUpAfterTwoTries(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec, func(c *config.Config) {
		c.Codec.Timeout = time.Second
		c.Ladder.Widths = []int{64, 1498, 1499, 1500}
		c.Ladder.Formats, c.Ladder.Effort.AVIF = []ladder.Format{ladder.AVIF}, 8
	})
	s.upload(jpegOf(t, noise(57, 1500, 1500), 90)).is(t, "processing_failed")
	if n := s.metric("optimizerd_codec_crashes_total"); n != 2 {
		t.Errorf("%v codec processes were killed, want 2", n)
	}
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	s.upload(jpegOf(t, image.NewGray(image.Rect(0, 0, 8, 8)), 80)).manifestOf(t, http.StatusCreated)
}

func TestAClientThatHangsUpWhileItWaitsFindsItsPictureLater(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	_, thaw := s.freeze()
	source := small(t, 58)
	w := s.dial(t)
	w.post(contentLength(len(source)))
	w.send(source)
	s.working(1, 0)
	w.Close()
	thaw()
	eventually(t, "its picture is made", func() bool { return s.logged("published") == 1 })
	s.upload(source).manifestOf(t, http.StatusOK)
}

func TestASetIsServedWhileItIsDeletedUpToItsEnd(t *testing.T) {
	t.Parallel()
	s, m, path, content := published(t)
	w := s.dial(t)
	w.send([]byte("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"))
	if _, err := w.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	s.request(http.MethodDelete, "/v1/images/"+m.ID, nil)
	res, err := http.ReadResponse(w.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes (%v), want all %d", len(got), err, len(content))
	}
}
