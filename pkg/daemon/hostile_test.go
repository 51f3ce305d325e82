package daemon_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// takenOver has the daemon use a codec that does what its sources say.
func takenOver(t *testing.T) func(*config.Config) {
	t.Helper()
	path, err := daemontest.Hostile()
	if err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) {
		c.Codec.Path, c.Codec.Processes = path, 1
		c.Ladder.Formats = []ladder.Format{ladder.JPEG}
	}
}

// ordering is an image with an order for such a codec behind it.
func ordering(t *testing.T, name string) []byte {
	return append(daemontest.SmallJPEG(t, 7), "attack:"+name...)
}

func TestCodecThatWasTakenOverGetsNoMoreThanItsShare(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, takenOver(t))
	for _, name := range []string{"memory", "stack", "page tables"} {
		if a := s.Upload(ordering(t, name)); a.StatusCode != http.StatusCreated {
			t.Errorf("%s: got %s %s, want 201: the attack is refused, and the codec continues", name, a.Status, a.Body)
		}
	}
}

func TestCodecThatWasTakenOverGetsNoMoreThreadsThanItsLimit(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, takenOver(t))
	// Without another thread its runtime may end the codec, but it may not go on with
	// more of them than its limit.
	if a := s.Upload(ordering(t, "threads")); a.StatusCode == http.StatusInternalServerError {
		t.Errorf("got %s %s: the limit does not hold", a.Status, a.Body)
	}
	if a := s.Upload(ordering(t, "")); a.StatusCode != http.StatusCreated {
		t.Errorf("after the threads: got %s %s, want 201", a.Status, a.Body)
	}
}

func TestCodecThatSaysWhatItCannotHonestlySayIsACrash(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, takenOver(t))
	for i, name := range []string{"disk", "size", "markup"} {
		a := s.Upload(ordering(t, name))
		a.CheckProblem(t, "processing_failed")
		if got := len(s.Names("quarantine")); got != i+1 {
			t.Errorf("%s: %d images are in quarantine, want %d", name, got, i+1)
		}
		if left := s.Names("files", ".staging"); len(left) > 0 {
			t.Errorf("%s: left behind are %v", name, left)
		}
	}
	if got := s.Logged("codec crashed"); got != 6 {
		t.Errorf("%d crashes were counted, want two for each image", got)
	}
	s.Upload(ordering(t, "")).Manifest(t, http.StatusCreated)
}

func TestClientReadsNothingThatACodecMadeUp(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, takenOver(t))
	a := s.Upload(ordering(t, "words"))
	if p := a.CheckProblem(t, "corrupt_image"); p.Detail != "The image is damaged or truncated." {
		t.Errorf("a client reads %.200q", p.Detail)
	}
}

// What it cannot do any longer is answer later clients with it.
func TestCodecKeepsNoImageOnceADecoderFailedOrWithOneJobEach(t *testing.T) {
	t.Parallel()
	secret := []byte("PRIVATE")
	for name, test := range map[string]struct {
		jobs  int
		first string
		leaks bool
	}{
		"many jobs":                 {500, "", true},
		"one job":                   {1, "", false},
		"after a decoder's failure": {500, "decoder", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := daemontest.Start(t, takenOver(t), func(c *config.Config) { c.Codec.MaxJobs = test.jobs })
			victim := append(append(daemontest.SmallJPEG(t, 8), secret...), "attack:"+test.first...)
			s.Upload(victim)
			m := s.Upload(ordering(t, "leak")).Manifest(t, http.StatusCreated)
			file := daemontest.ReadFile(t, filepath.Join(s.Path("files"), m.Variants[0].Key))
			if got := bytes.Contains(file, secret); got != test.leaks {
				t.Errorf("the victim's image in another's: %v, want %v", got, test.leaks)
			}
		})
	}
}

// A closed socket ends an honest codec, and one that is busy when its work is done.
func TestCodecThatWasTakenOverEndsWithItsDaemon(t *testing.T) {
	t.Parallel()
	path, err := daemontest.Hostile()
	if err != nil {
		t.Fatal(err)
	}
	p := daemontest.StartProcess(t, "codec.path="+path, "codec.processes=1", "ladder.formats=jpeg")
	p.Upload(ordering(t, "deaf"), daemontest.Header("Prefer", "respond-async"))
	daemontest.Eventually(t, "the codec is deaf", func() bool {
		return bytes.Contains(daemontest.ReadFile(t, p.LogFile), []byte(`"deaf"`))
	})
	codec, err := unix.PidfdOpen(p.Children()[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(codec, unix.SIGKILL, nil, 0) // it has ended, unless the test fails
		_ = unix.Close(codec)
	})
	p.Kill()
	<-p.Ended
	daemontest.Eventually(t, "the codec ends too", func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(codec), Events: unix.POLLIN}}, 0)
		return err == nil && n == 1
	})
}

// A decoder that is not in the process cannot be attacked.
func TestCodecLoadsNoDecoderThatItDoesNotUse(t *testing.T) {
	t.Parallel()
	p := daemontest.StartProcess(t)
	for _, pid := range p.Children() {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(maps, []byte("/libvips.so")) {
			t.Errorf("child %d has no libvips: is it a codec?", pid)
		}
		for _, module := range []string{"vips-jxl", "vips-magick", "vips-openslide", "vips-poppler"} {
			if bytes.Contains(maps, []byte(module)) {
				t.Errorf("a codec has loaded %s", module)
			}
		}
	}
	if len(p.Children()) == 0 {
		t.Error("there is no codec to look at")
	}
}
