package daemon_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// withField keeps the lines with this value.
func withField(name, value string) func(observer.LoggedEntry) bool {
	return func(e observer.LoggedEntry) bool { return e.ContextMap()[name] == value }
}

func TestStopAnswersWaitingClientsAndTheNextStartDoesTheRest(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	s.Freeze() // and never thawed: the stop has to give up on the job at hand
	sources := [][]byte{daemontest.SmallJPEG(t, 50), daemontest.SmallJPEG(t, 51), daemontest.SmallJPEG(t, 52)}
	answers := make(chan daemontest.Answer, 2)
	for i, source := range sources[:2] {
		go func() {
			a, err := s.TryUpload(source)
			if err != nil {
				t.Errorf("upload %d: %v", i, err)
			}
			answers <- a
		}()
	}
	s.AwaitJobs(1, 1)
	half := s.Dial(t) // this one is coming in
	half.Post(daemontest.ContentLength(len(sources[2])))
	half.Send(sources[2][:100])
	daemontest.Eventually(t, "three uploads in the spool", func() bool { return len(s.Names("spool")) == 3 })

	s.Cancel()
	var ids []string
	for range 2 {
		ids = append(ids, (<-answers).Job(t, http.StatusAccepted).ID)
	}
	half.Send(sources[2][100:])
	ids = append(ids, half.Answer().Job(t, http.StatusAccepted).ID)
	s.Stop()
	if n := s.Logged("job returned to the queue"); n != 1 {
		t.Errorf("%d jobs were returned to the queue, want the one in progress", n)
	}
	if left := s.Names("files"); len(left) > 0 && !slices.Equal(left, []string{".staging"}) {
		t.Errorf("the served directory has %v", left)
	}

	again := daemontest.Start(t, s.SameDir)
	for i, id := range ids {
		j := again.AwaitJob(id)
		if j.Status != "completed" || j.Output == nil {
			t.Errorf("job %d is %+v after the restart, want it completed", i, j)
		}
	}
	for _, source := range sources {
		again.Upload(source).Manifest(t, http.StatusOK)
	}
	again.CheckEmpty("spool")
}

func TestStoppingDaemonStillAnswers(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	published := s.Upload(daemontest.SmallJPEG(t, 60)).Manifest(t, http.StatusCreated)
	_, thaw := s.Freeze()
	s.Submit(daemontest.SmallJPEG(t, 61))
	s.AwaitJobs(1, 0)
	half := s.Dial(t) // keeps the daemon from stopping before it is asked
	source := daemontest.SmallJPEG(t, 62)
	half.Post(daemontest.ContentLength(len(source)))
	half.Send(source[:100])
	daemontest.Eventually(t, "an upload is coming in", func() bool { return len(s.Names("spool")) == 2 })
	s.Cancel()
	daemontest.Eventually(t, "it begins to stop", func() bool { return s.Logged("stopping") == 1 })
	for range 3 {
		a := s.Upload(daemontest.SmallJPEG(t, 63))
		a.CheckProblem(t, "shutting_down")
		if a.Header.Get("Retry-After") == "" || !a.Close {
			t.Errorf("got %v, want Retry-After, and that the connection is not used again", a.Header)
		}
	}
	s.PostJob(`{"input": "https://www.example.com/cat.jpg"}`).CheckProblem(t, "shutting_down")
	if a := s.Get("/readyz"); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("it says it is %s", a.Status)
	}
	if a := s.Get("/files/" + published.Variants[0].Key); a.StatusCode != http.StatusOK {
		t.Errorf("a file is %s", a.Status)
	}
	half.Send(source[100:])
	half.Answer().Job(t, http.StatusAccepted) // it was admitted before
	thaw()
	s.Stop()
	if n := s.Logged("requests cut off at shutdown"); n > 0 {
		t.Error("requests were cut off")
	}
}

func TestIdleDaemonStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	s.Get("/healthz") // leaves an idle connection
	s.Stop()
	if n := s.Logged("requests cut off at shutdown"); n > 0 {
		t.Error("the stop waited for an idle connection")
	}
	for _, pid := range s.Codecs() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("codec process %d is still there: %v", pid, err)
		}
	}
}

// Without storage.s3, a fleet and a tunnel the daemon has its two listeners, and what
// clients connect to them.
func TestDaemonThatIsAloneConnectsToNothing(t *testing.T) {
	t.Parallel()
	p := daemontest.StartProcess(t)
	p.Upload(daemontest.SmallJPEG(t, 1)).Manifest(t, http.StatusCreated)
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	own := make(map[string]bool) // inodes of its sockets
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.Trim(target, "socket:[]")] = true
		}
	}
	const local, remote, state, inode, listens = 1, 2, 3, 9, "0A" // of proc_net(5)
	sockets := func(file string) (all [][]string) {
		for line := range strings.Lines(string(daemontest.ReadFile(t, "/proc/net/"+file))) {
			if f := strings.Fields(line); len(f) > inode && own[f[inode]] {
				all = append(all, f)
			}
		}
		return all
	}
	tcp := slices.Concat(sockets("tcp"), sockets("tcp6"))
	listeners := make(map[string]bool)
	for _, s := range tcp {
		if s[state] == listens {
			listeners[s[local]] = true
		}
	}
	if len(listeners) != 2 {
		t.Errorf("it listens at %v, want two addresses", listeners)
	}
	for _, s := range tcp {
		if !listeners[s[local]] {
			t.Errorf("it is connected to %s", s[remote])
		}
	}
	if udp := slices.Concat(sockets("udp"), sockets("udp6")); len(udp) > 0 {
		t.Errorf("it has UDP sockets: %v", udp)
	}
}

func TestSecondDaemonInTheSameFolderIsRefusedAndHarmsNothing(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	j := s.Submit(daemontest.SmallJPEG(t, 54))
	s.AwaitJobs(1, 0)
	source := daemontest.SmallJPEG(t, 55)
	half := s.Dial(t)
	half.Post(daemontest.ContentLength(len(source)))
	half.Send(source[:100])
	daemontest.Eventually(t, "an upload is coming in", func() bool { return len(s.Names("spool")) == 2 })

	err := daemontest.Prepare(t, s.SameDir).Launch()
	if err == nil || !strings.Contains(err.Error(), "storage.dir") || !strings.Contains(err.Error(), "another optimizerd") {
		t.Fatalf("got %v, want an error that names storage.dir and another optimizerd", err)
	}
	half.Send(source[100:])
	thaw()
	half.Answer().Manifest(t, http.StatusCreated)
	if got := s.AwaitJob(j.ID); got.Status != "completed" {
		t.Errorf("the job of the first daemon is %+v, want it completed", got)
	}
}

func TestPortThatIsTakenIsAClearError(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	refused := daemontest.Prepare(t, func(c *config.Config) { c.HTTP.Listen = taken.Addr().String() })
	err = refused.Launch()
	if err == nil || !strings.Contains(err.Error(), "http.listen") || !strings.Contains(err.Error(), "Another program is listening there") {
		t.Fatalf("got %v, want an error that names http.listen and another program", err)
	}
	for _, pid := range refused.Codecs() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("codec process %d was left running: %v", pid, err)
		}
	}
	daemontest.Start(t, refused.SameDir).CheckServes() // the folder was given back
}

func TestAdminPortThatIsTakenIsOnlyAWarning(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := daemontest.Start(t, func(c *config.Config) { c.Admin.Listen = taken.Addr().String() })
	warnings := s.Logs.FilterLevelExact(zapcore.WarnLevel).FilterMessageSnippet("admin.listen").Len()
	if warnings != 1 || s.AdminURL != "" {
		t.Errorf("%d warnings about admin.listen, admin URL %q; want one and none", warnings, s.AdminURL)
	}
	s.CheckServes()
}

func TestCodecThatIsMissingIsAClearError(t *testing.T) {
	t.Parallel()
	err := daemontest.Prepare(t, func(c *config.Config) { c.Codec.Path = "/nonexistent/optimizerd-codec" }).Launch()
	if err == nil || !strings.Contains(err.Error(), "codec.path") {
		t.Fatalf("got %v, want an error that names codec.path", err)
	}
}

func TestStartSweepsWhatIsHalfMade(t *testing.T) {
	t.Parallel()
	s, m, path, _ := published(t)
	s.Stop()
	id := strings.Repeat("b", 26)
	for name, content := range map[string]string{
		"spool/123.part": "half", "spool/" + strings.Repeat("0", 64): "whole, of no job", "files/.staging/" + id + "-1/64.webp": "half",
		"files/" + id + "/64.webp": "ignoring image set without a manifest", "queue/pending/job_01arz3ndektsv4rrffq69g5fav.json": "{broken", "queue/pending/.tmp": "x",
	} {
		if err := os.MkdirAll(filepath.Dir(s.Path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.Path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := daemontest.Start(t, s.SameDir)
	for _, folder := range []string{"spool", "files/.staging"} {
		again.CheckEmpty(folder)
	}
	again.Get("/v1/images/"+id).CheckProblem(t, "not_found")
	again.Get("/files/"+id+"/64.webp").CheckProblem(t, "not_found")
	if got := again.Get("/v1/images/"+m.ID).Manifest(t, http.StatusOK); got.Variants[0].Key != strings.TrimPrefix(path, "/files/") {
		t.Errorf("the whole set is now %+v", got)
	}
	if n := again.Logged("unreadable job record set aside"); n != 1 {
		t.Errorf("%d lines about the broken job record, want 1", n)
	}
	again.CheckServes()
}

func TestCodecProcessThatDiesIsReplacedAndTheWorkDoneAgain(t *testing.T) {
	t.Parallel()
	t.Run("before its first file", func(t *testing.T) {
		s := daemontest.Start(t, daemontest.OneCodec)
		pid, _ := s.Freeze()
		uploaded := make(chan daemontest.Answer)
		go func() {
			a, err := s.Try(http.MethodPost, "/v1/images", bytes.NewReader(daemontest.SmallJPEG(t, 56)))
			if err != nil {
				t.Errorf("upload: %v", err)
			}
			uploaded <- a
		}()
		s.AwaitJobs(1, 0)
		s.SignalCodec(pid, syscall.SIGKILL)
		(<-uploaded).Manifest(t, http.StatusCreated)
		replacedOnce(s, 0, 1) // it may not have had the image yet
	})
	t.Run("between two files", func(t *testing.T) {
		s := daemontest.Prepare(t, daemontest.OneCodec, func(c *config.Config) {
			// No two of these files fit between the processes, so the codec is still
			// sending the second one while the daemon has just stored the first.
			c.Ladder.Widths, c.Ladder.Formats = []int{1399, 1400}, []ladder.Format{ladder.JPEG}
		})
		kill := sync.OnceFunc(func() {
			if err := syscall.Kill(s.Codecs()[0], syscall.SIGKILL); err != nil {
				t.Errorf("kill the codec: %v", err)
			}
		})
		s.Hooks = map[string]func(){"variant staged": kill}
		if err := s.Launch(); err != nil {
			t.Fatal(err)
		}
		source := daemontest.JPEG(t, daemontest.Noise(59, 1400, 1000), 90)
		m := s.Upload(source).Manifest(t, http.StatusCreated)
		s.CheckManifest(m, daemontest.Expected{Source: source, Format: "jpeg", Width: 1400, Height: 1000, Frames: 1})
		for _, v := range m.Variants {
			if v.Bytes < 600_000 {
				t.Errorf("%s has %d bytes, too few for this test", v.Key, v.Bytes)
			}
		}
		replacedOnce(s, 1)
	})
	t.Run("while it has nothing to do", func(t *testing.T) {
		s := daemontest.Start(t, daemontest.OneCodec)
		s.SignalCodec(s.Codecs()[0], syscall.SIGKILL)
		s.CheckServes()
	})
}

// replacedOnce checks that another codec process took over from one that died, with
// one of these numbers of them having died at work, and that nothing of it is left.
func replacedOnce(s *daemontest.Server, atWork ...float64) {
	s.T.Helper()
	if crashed, started := s.Metric("optimizerd_codec_crashes_total"), s.Metric("optimizerd_codec_processes_started_total"); !slices.Contains(atWork, crashed) || started != 2 {
		s.T.Errorf("%v of %v codec processes crashed, want %v of 2", crashed, started, atWork)
	}
	s.CheckEmpty("files/.staging")
}

func TestImageThatTakesTooLongIsGivenUpAfterTwoTries(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec, func(c *config.Config) {
		c.Codec.Timeout = 2 * time.Second
		c.Ladder.Widths = []int{64, 1498, 1499, 1500}
		c.Ladder.Formats, c.Ladder.Effort.AVIF = []ladder.Format{ladder.AVIF}, 8
	})
	s.Upload(daemontest.JPEG(t, daemontest.Noise(57, 1500, 1500), 90)).CheckProblem(t, "processing_failed")
	if n := s.Metric("optimizerd_codec_crashes_total"); n != 2 {
		t.Errorf("%v codec processes were killed, want 2", n)
	}
	s.CheckNothingLeft()
	s.Upload(daemontest.JPEG(t, image.NewGray(image.Rect(0, 0, 8, 8)), 80)).Manifest(t, http.StatusCreated)
}

// The kernel ends what a codec computes, whoever the daemon runs as.
func TestImagesHaveALimitOfCPUTime(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec, func(c *config.Config) {
		c.Codec.Timeout, c.Codec.Threads = 30*time.Second, 2
	})
	s.Upload(daemontest.SmallJPEG(t, 59)).Manifest(t, http.StatusCreated)
	limits := daemontest.ReadFile(t, fmt.Sprintf("/proc/%d/limits", s.Codecs()[0]))
	_, line, _ := strings.Cut(string(limits), "\nMax cpu time")
	var seconds int
	if _, err := fmt.Sscan(line, &seconds); err != nil || seconds < 60 || seconds > 90 { // it has used some for its self-test
		t.Errorf("the limit is %d s, %v; want 60 more than it had used\n%s", seconds, err, limits)
	}
}

func TestClientThatHangsUpWhileItWaitsFindsItsImageLater(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	source := daemontest.SmallJPEG(t, 58)
	w := s.Dial(t)
	w.Post(daemontest.ContentLength(len(source)))
	w.Send(source)
	s.AwaitJobs(1, 0)
	w.Close()
	thaw()
	daemontest.Eventually(t, "its picture is made", func() bool { return s.Logged("published") == 1 })
	s.Upload(source).Manifest(t, http.StatusOK)
}

func TestSetIsServedWhileItIsDeletedUpToItsEnd(t *testing.T) {
	t.Parallel()
	s, m, path, content := published(t)
	w := s.Dial(t)
	w.Send([]byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	if _, err := w.R.Peek(1); err != nil {
		t.Fatal(err)
	}
	s.Request(http.MethodDelete, "/v1/images/"+m.ID, nil)
	res, err := http.ReadResponse(w.R, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes (%v), want all %d", len(got), err, len(content))
	}
}

// A codec keeps the memory of an image for the next one, and soon gives it back.
func TestCodecGivesTheMemoryOfAnImageBack(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec, func(c *config.Config) { c.Ladder = ladder.DefaultConfig() })
	s.Upload(daemontest.BimgImage(t, "test_exif_full.jpg")).Manifest(t, http.StatusCreated)
	codec := s.Codecs()[0]
	t.Logf("%.0f MiB just after a photo of 12 megapixels", daemontest.MiB(daemontest.Memory(codec, "RssAnon")))
	const most = 30 << 20 // less than the largest rung, its planes and coefficients
	daemontest.Eventually(t, "the memory given back", func() bool {
		now := daemontest.Memory(codec, "RssAnon")
		return now > 0 && now < most
	})
}
