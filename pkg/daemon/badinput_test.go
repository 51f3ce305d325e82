package daemon_test

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

func limitBytes(n int64) func(*config.Config) {
	return func(c *config.Config) { c.Limits.MaxBytes = n }
}

func TestBadInputGetsItsCodeAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) {
		c.Limits.MaxFrames, c.Limits.MaxPixels = 30, 5_000_000
		c.Limits.MaxMemory = 32 << 20
	})
	jpg, pngPicture, webp := daemontest.BimgImage(t, "test.jpg"), daemontest.BimgImage(t, "test.png"), daemontest.BimgImage(t, "test.webp")
	for _, tc := range []struct {
		name string
		body []byte
		code string
	}{
		{"nothing", nil, "invalid_request"},
		{"one byte", []byte{0xff}, "unsupported_format"},
		{"text", []byte("just some words\n"), "unsupported_format"},
		{"a long text", bytes.Repeat([]byte("words "), 100_000), "unsupported_format"},
		{"zeros", make([]byte, 100_000), "unsupported_format"},
		{"HTML", []byte("<!DOCTYPE html><html><body><img src=x></body></html>"), "unsupported_format"},
		{"JSON", []byte(`{"image": "x"}`), "unsupported_format"},
		{"SVG", daemontest.BimgImage(t, "test.svg"), "unsupported_format"},
		{"SVG without a prolog", []byte(`<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>`), "unsupported_format"},
		{"PDF", daemontest.BimgImage(t, "test.pdf"), "unsupported_format"},
		{"JPEG 2000", daemontest.BimgImage(t, "test.jp2"), "unsupported_format"},
		{"BMP", append([]byte("BM"), make([]byte, 500)...), "unsupported_format"},
		{"a program", append([]byte("\x7fELF"), make([]byte, 500)...), "unsupported_format"},
		{"the first bytes of a JPEG", jpg[:20], "corrupt_image"},
		{"a JPEG header without a body", jpegHeader(t, jpg), "corrupt_image"},
		{"half a JPEG", jpg[:len(jpg)/2], "corrupt_image"},
		{"a JPEG but for its last tenth", jpg[:len(jpg)*9/10], "corrupt_image"},
		{"the first bytes of a PNG", pngPicture[:40], "corrupt_image"},
		{"half a PNG", pngPicture[:len(pngPicture)/2], "corrupt_image"},
		{"half a WebP", webp[:len(webp)/2], "corrupt_image"},
		{"a PNG with a broken header", flipped(pngPicture, 20), "corrupt_image"},
		{"a JPEG of 280 megapixels", withJPEGSize(t, jpg, 20000, 14000), "too_many_pixels"},
		{"a JPEG of the greatest size", withJPEGSize(t, jpg, 65500, 65500), "too_many_pixels"},
		{"a PNG bomb", pngBomb(t, 30000, 30000), "too_many_pixels"},
		{"a PNG that says it is huge", hugePNG(), "too_many_pixels"},
		{"a picture that takes too much memory", interlacedPNG(), "too_many_pixels"},
		{"too many frames", daemontest.GIF(t, 8, 8, 31), "too_many_frames"},
		{"too many pixels in all frames", daemontest.GIF(t, 500, 500, 21), "too_many_pixels"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.Upload(tc.body).CheckProblem(t, tc.code)
			s.CheckNothingLeft()
			if tc.body != nil {
				contentType, form := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "cat.jpg", Data: tc.body})
				s.UploadForm(form, contentType).CheckProblem(t, tc.code)
			}
			s.CheckNothingLeft()
			s.CheckServes()
		})
	}
	if n := s.Metric("optimizerd_codec_crashes_total"); n != 0 {
		t.Errorf("%v codec processes died of it", n)
	}
}

// flipped is b with one byte changed.
func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0xff
	return b
}

// hugePNG claims 2^31-1 pixels a side, and has none.
func hugePNG() []byte {
	b := []byte("\x89PNG\r\n\x1a\n")
	b = append(b, pngChunk("IHDR", pngHeader(1_000_000, 1_000_000, 8, 2, 0))...)
	b = append(b, pngChunk("IDAT", make([]byte, 100))...)
	return append(b, pngChunk("IEND", nil)...)
}

// interlacedPNG is within five megapixels, and needs all of them at once, with
// sixteen bits in each of four bands.
func interlacedPNG() []byte {
	b := []byte("\x89PNG\r\n\x1a\n")
	b = append(b, pngChunk("IHDR", pngHeader(2200, 2200, 16, 6, 1))...)
	b = append(b, pngChunk("IDAT", make([]byte, 100))...)
	return append(b, pngChunk("IEND", nil)...)
}

func TestProblemSaysWhatIsWrongWithoutInternals(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	jpg := daemontest.BimgImage(t, "test.jpg")
	bodies := [][]byte{nil, []byte("text"), jpg[:len(jpg)/2], jpegHeader(t, jpg), withJPEGSize(t, jpg, 20000, 14000), flipped(daemontest.BimgImage(t, "test.png"), 20)}
	for _, body := range bodies {
		a := s.Upload(body)
		for _, internal := range []string{s.Config.Storage.Dir, "/tmp", ".go:", "goroutine", "vips", "VipsJpeg", "spng", "libpng", "premature"} {
			if bytes.Contains(bytes.ToLower(a.Body), []byte(strings.ToLower(internal))) {
				t.Errorf("%s shows %q", a.Body, internal)
			}
		}
	}
}

func TestBadImageFailsForAllWhoSentIt(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	b := daemontest.BimgImage(t, "test.jpg")
	b = b[:len(b)/2]
	answers := make(chan daemontest.Answer)
	for range 3 {
		go func() {
			a, err := s.Try(http.MethodPost, "/v1/images", bytes.NewReader(b))
			if err != nil {
				t.Errorf("upload: %v", err)
			}
			answers <- a
		}()
	}
	s.AwaitJobs(1, 0)
	thaw()
	for range 3 {
		(<-answers).CheckProblem(t, "corrupt_image")
	}
	s.CheckNothingLeft()
	s.CheckServes()
}

func TestDeadAndSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.HTTP.BodyIdle, c.HTTP.BodyRate = 3*time.Second, 1<<10 })
	jpg := daemontest.BimgImage(t, "test.jpg")
	contentType, form := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "a.jpg", Data: jpg})
	t.Run("all at once", func(t *testing.T) { // each takes seconds, and none works
		for name, tc := range map[string]struct {
			lines []string
			body  []byte
			paced bool // a byte a second follows
		}{
			"nothing comes at all":       {[]string{daemontest.ContentLength(len(jpg))}, nil, false},
			"a raw body stops":           {[]string{daemontest.ContentLength(len(jpg))}, jpg[:10_000], false},
			"a form stops":               {[]string{daemontest.ContentLength(len(form)), "Content-Type: " + contentType}, form[:10_000], false},
			"chunks stop":                {[]string{"Transfer-Encoding: chunked"}, []byte("ffff\r\n" + string(jpg[:10_000])), false},
			"a byte a second":            {[]string{daemontest.ContentLength(len(jpg))}, jpg[:100], true},
			"a form at a byte a second":  {[]string{daemontest.ContentLength(len(form)), "Content-Type: " + contentType}, form[:600], true},
			"a byte a second, no length": {[]string{"Transfer-Encoding: chunked"}, []byte("ffff\r\n" + string(jpg[:100])), true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := s.Dial(t)
				w.Post(tc.lines...)
				w.Send(tc.body)
				stop := make(chan struct{})
				defer close(stop)
				if tc.paced {
					go trickle(w, stop)
				}
				w.Answer().CheckProblem(t, "upload_timeout")
				if rest := w.Closed(); len(rest) > 0 {
					t.Errorf("received after the response: %q", rest)
				}
			})
		}
		t.Run("a header at a byte a second", func(t *testing.T) {
			t.Parallel()
			w := s.Dial(t)
			w.Send([]byte("POST /v1/images HTTP/1.1\r\n"))
			stop := make(chan struct{})
			defer close(stop)
			go trickle(w, stop)
			if rest := w.Closed(); len(rest) > 0 && !bytes.HasPrefix(rest, []byte("HTTP/1.1 400 ")) { // net/http's own
				t.Errorf("it was answered %q", rest)
			}
		})
	})
	s.CheckEmpty("spool")
	s.CheckServes()
}

func TestSlowClientThatKeepsComingGetsThrough(t *testing.T) {
	t.Parallel()
	const idle, pieces = 8 * time.Second, 13
	s := daemontest.Start(t, func(c *config.Config) { c.HTTP.BodyIdle, c.HTTP.BodyRate = idle, 100 })
	source := daemontest.SmallJPEG(t, 30)
	w := s.Dial(t)
	w.Post(daemontest.ContentLength(len(source)))
	pace := time.NewTicker(idle / 8) // in all, longer than a pause may be
	defer pace.Stop()
	for piece := range slices.Chunk(source, len(source)/pieces+1) {
		<-pace.C
		w.Send(piece)
	}
	w.Answer().Manifest(t, http.StatusCreated)
}

// trickle sends a byte a second until stop or the end of the connection.
func trickle(w *daemontest.Conn, stop <-chan struct{}) {
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
			if _, err := w.Write([]byte{'a'}); err != nil {
				return
			}
		case <-stop:
			return
		}
	}
}

func TestFullQueueRefusesBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec, func(c *config.Config) { c.Queue.MaxPending = 1 })
	_, thaw := s.Freeze()
	first := s.Submit(daemontest.SmallJPEG(t, 31))
	s.AwaitJobs(1, 0)
	second := s.Submit(daemontest.SmallJPEG(t, 32))
	if a := refusedUnread(s, t, 1<<20, "queue_full"); a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.Upload(daemontest.BimgImage(t, "test.png")).CheckProblem(t, "queue_full")
	ready := readinessOf(t, s.Get("/readyz"), http.StatusServiceUnavailable)
	if ready.Parts["queue"].Status != "not_ready" || ready.Parts["queue"].Detail == "" || ready.Parts["disk"].Status != "ready" {
		t.Errorf("readyz says %+v, want only the queue not ready", ready)
	}
	if left := s.Names("spool"); len(left) != 2 {
		t.Errorf("the spool has %v, want the two accepted", left)
	}
	thaw()
	for _, id := range []string{first.ID, second.ID} {
		if j := s.AwaitJob(id); j.Status != "completed" {
			t.Errorf("an accepted job is %s, want completed", j.Status)
		}
	}
	readinessOf(t, s.Get("/readyz"), http.StatusOK)
	s.CheckServes()
}

func TestUploadsThatComeInCountAsWaiting(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Queue.MaxPending = 1 })
	source := daemontest.SmallJPEG(t, 33)
	w := s.Dial(t)
	w.Post(daemontest.ContentLength(len(source)))
	w.Send(source[:len(source)/2])
	daemontest.Eventually(t, "the upload is coming in", func() bool { return len(s.Names("spool")) == 1 })
	refusedUnread(s, t, 1<<20, "queue_full")
	w.Send(source[len(source)/2:])
	w.Answer().Manifest(t, http.StatusCreated)
	s.CheckServes()
}

// readiness is the body of /readyz.
type readiness struct {
	Status string
	Parts  map[string]struct{ Status, Detail string }
}

func readinessOf(t *testing.T, a daemontest.Answer, status int) readiness {
	t.Helper()
	var r readiness
	a.Decode(t, &r, status)
	if want := map[int]string{http.StatusOK: "ready", http.StatusServiceUnavailable: "not_ready"}[status]; r.Status != want {
		t.Errorf("readyz answers %d with status %q, want %q", status, r.Status, want)
	}
	for _, name := range []string{"queue", "disk", "codec", "tunnel"} {
		if _, ok := r.Parts[name]; !ok {
			t.Errorf("readyz says nothing of %s", name)
		}
	}
	return r
}

func TestJPEGWithJunkAfterItIsStillAnImage(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := binary.BigEndian.AppendUint64(daemontest.SmallJPEG(t, 34), 0xdeadbeef)
	s.Upload(source).Manifest(t, http.StatusCreated)
}
