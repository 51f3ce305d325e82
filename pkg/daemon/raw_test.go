package daemon_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

const asksFirst = "Expect: 100-continue"

// refusedUnread uploads with Expect: 100-continue and checks that the answer
// comes without a byte of the body, which is never sent.
func refusedUnread(s *daemontest.Server, t *testing.T, length int, code string) daemontest.Answer {
	t.Helper()
	w := s.Dial(t)
	w.Post(daemontest.ContentLength(length), asksFirst)
	a := w.Answer() // a "100 Continue" would fail here
	a.CheckProblem(t, code)
	if rest := w.Closed(); len(rest) > 0 {
		t.Errorf("received after the response: %q", rest)
	}
	return a
}

func TestBodyLongerThanDeclaredIsNotTheNextRequest(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := daemontest.BimgImage(t, "test.jpg")
	w := s.Dial(t)
	w.Post(daemontest.ContentLength(len(source)/2), "Connection: close")
	if _, err := w.Write(source); err != nil { // one write: the daemon may close after it
		t.Fatal(err)
	}
	w.Answer().CheckProblem(t, "corrupt_image")
	s.CheckNothingLeft()
	s.CheckServes()
}

func TestBodyIsNotSpoiledByWhatFollowsIt(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := daemontest.SmallJPEG(t, 20)
	w := s.Dial(t)
	w.Post(daemontest.ContentLength(len(source)))
	w.Send(append(bytes.Clone(source), "junk"...))
	if m := w.Answer().Manifest(t, http.StatusCreated); m.Source.Bytes != int64(len(source)) {
		t.Errorf("the source has %d bytes, want the declared %d", m.Source.Bytes, len(source))
	}
}

func TestBodyShorterThanDeclared(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := daemontest.BimgImage(t, "test.png")
	contentType, form := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "a.png", Data: source})
	for name, tc := range map[string]struct {
		lines []string
		body  []byte
	}{
		"raw":                {[]string{daemontest.ContentLength(len(source))}, source[:len(source)/2]},
		"raw, a few bytes":   {[]string{daemontest.ContentLength(len(source))}, source[:100]},
		"raw, none":          {[]string{daemontest.ContentLength(len(source))}, nil},
		"in a form":          {[]string{daemontest.ContentLength(len(form)), "Content-Type: " + contentType}, form[:len(form)/2]},
		"in chunks":          {[]string{"Transfer-Encoding: chunked"}, []byte("10000\r\n" + string(source[:0x8000]))},
		"in chunks, no last": {[]string{"Transfer-Encoding: chunked"}, []byte("8000\r\n" + string(source[:0x8000]) + "\r\n")},
	} {
		t.Run(name+", and the client reads on", func(t *testing.T) {
			w := s.Dial(t)
			w.Post(tc.lines...)
			w.Send(tc.body)
			if err := w.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			w.Answer().CheckProblem(t, "invalid_request")
			s.CheckNothingLeft()
		})
		t.Run(name+", and the client hangs up", func(t *testing.T) {
			w := s.Dial(t)
			w.Post(tc.lines...)
			w.Send(tc.body)
			if len(tc.body) > 100 { // so that there is something to leave behind
				daemontest.Eventually(t, "an upload in the spool", func() bool { return len(s.Names("spool")) == 1 })
			}
			if err := w.SetLinger(0); err != nil { // a reset, as from a phone that is gone
				t.Fatal(err)
			}
			w.Close()
			s.CheckNothingLeft()
		})
	}
	s.CheckServes()
}

func TestBrokenChunksAreRefused(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	w := s.Dial(t)
	w.Post("Transfer-Encoding: chunked")
	w.Send([]byte("10\r\n0123456789abcdef\r\nnot hex\r\n"))
	w.Answer().CheckProblem(t, "invalid_request")
	s.CheckNothingLeft()
}

func TestClientThatStopsListeningGetsNoEmptySuccess(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	source := daemontest.SmallJPEG(t, 21)
	w := s.Dial(t)
	w.Post(daemontest.ContentLength(len(source)))
	w.Send(source)
	s.AwaitJobs(1, 0)
	if err := w.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(w.R, nil)
	if err == nil {
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); res.StatusCode == http.StatusOK && len(b) == 0 {
			t.Error("it reads 200 without a manifest")
		}
	}
	thaw()
	daemontest.Eventually(t, "its picture is made all the same", func() bool { return s.Logged("published") == 1 })
	s.Upload(source).Manifest(t, http.StatusOK)
}

func TestBodiesChunkedOrDeclaredHaveOneLimit(t *testing.T) {
	t.Parallel()
	source := daemontest.BimgImage(t, "test.png")
	s := daemontest.Start(t, limitBytes(int64(len(source))))
	onlyReader := struct{ io.Reader }{bytes.NewReader(source)} // its length is not known
	s.Request(http.MethodPost, "/v1/images", onlyReader).Manifest(t, http.StatusCreated)
	s.Request(http.MethodPost, "/v1/images", struct{ io.Reader }{bytes.NewReader(append(source, 0))}).CheckProblem(t, "too_large")
	s.Upload(append(source, 0)).CheckProblem(t, "too_large")
	s.CheckEmpty("spool")
}

func TestBodyThatIsTooLongIsRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, limitBytes(1<<20))
	refusedUnread(s, t, 8<<20, "too_large")
	t.Run("and a client that sends it all the same can read why", func(t *testing.T) {
		w := s.Dial(t)
		w.Post(daemontest.ContentLength(8 << 20))
		w.Send(make([]byte, 8<<20))
		w.Answer().CheckProblem(t, "too_large")
	})
	t.Run("in chunks too", func(t *testing.T) {
		w := s.Dial(t)
		w.Post("Transfer-Encoding: chunked")
		chunk := append([]byte("100000\r\n"), make([]byte, 1<<20)...)
		copy(chunk[8:], daemontest.BimgImage(t, "test.jpg")[:1000])
		for range 8 {
			w.Send(append(chunk, "\r\n"...))
		}
		w.Send([]byte("0\r\n\r\n"))
		w.Answer().CheckProblem(t, "too_large")
	})
	s.CheckNothingLeft()
	s.CheckServes()
}

func TestBodyThatNobodyReadsHoldsUpNothing(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	for _, head := range []string{
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
		"DELETE /v1/images/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
		"PUT /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
	} {
		t.Run(strings.TrimSpace(strings.Join(strings.Fields(head), " ")), func(t *testing.T) {
			t.Parallel()
			w := s.Dial(t)
			w.Send([]byte(head))
			if got := string(w.Closed()); !strings.HasPrefix(got, "HTTP/1.1 2") && !strings.HasPrefix(got, "HTTP/1.1 404") {
				t.Errorf("it was answered %q", got)
			}
		})
	}
}
