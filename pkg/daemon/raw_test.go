package daemon_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// wire is a connection on which a test writes what no HTTP client would.
type wire struct {
	*net.TCPConn
	t       *testing.T
	s       *server
	r       *bufio.Reader
	request *http.Request // the last one that was begun
}

func (s *server) dial(t *testing.T) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &wire{TCPConn: conn.(*net.TCPConn), t: t, s: s, r: bufio.NewReader(conn)}
}

// post starts an upload with these header lines beside the necessary ones.
func (w *wire) post(lines ...string) {
	w.t.Helper()
	w.begin(http.MethodPost, "/v1/images", lines...)
}

// begin sends the head of a request.
func (w *wire) begin(method, path string, lines ...string) {
	w.t.Helper()
	var err error
	if w.request, err = http.NewRequest(method, w.s.URL()+path, nil); err != nil {
		w.t.Fatal(err)
	}
	head := append([]string{method + " " + path + " HTTP/1.1", "Host: " + w.RemoteAddr().String()}, lines...)
	w.send([]byte(strings.Join(head, "\r\n") + "\r\n\r\n"))
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	if _, err := w.Write(b); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

// answer reads the next answer, which is held against the contract too.
func (w *wire) answer() answer {
	w.t.Helper()
	res, err := http.ReadResponse(w.r, w.request)
	if err != nil {
		w.t.Fatalf("read the answer: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("read the answer: %v", err)
	}
	if err := w.s.doc.check(w.request, res, body); err != nil {
		w.t.Errorf("the answer breaks the contract: %v\n%s %s", err, res.Status, body)
	}
	return answer{res, body}
}

// closed checks that the daemon closes the connection, and returns what comes
// before that.
func (w *wire) closed() (rest []byte) {
	w.t.Helper()
	rest, err := io.ReadAll(w.r)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		w.t.Errorf("the connection is not closed: %v", err)
	}
	return rest
}

func contentLength(n int) string { return fmt.Sprintf("Content-Length: %d", n) }

const asksFirst = "Expect: 100-continue"

// refusedUnread uploads with Expect: 100-continue and checks that the answer
// comes without a byte of the body, which is never sent.
func (s *server) refusedUnread(t *testing.T, length int, code string) answer {
	t.Helper()
	w := s.dial(t)
	began := time.Now()
	w.post(contentLength(length), asksFirst)
	a := w.answer() // a "100 Continue" would fail here
	a.is(t, code)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the refusal took %v: the daemon waited for a body", took)
	}
	if rest := w.closed(); len(rest) > 0 {
		t.Errorf("after the answer came %q", rest)
	}
	return a
}

func TestABodyLongerThanDeclaredIsNotTheNextRequest(t *testing.T) {
	t.Parallel()
	s := start(t)
	source := picture(t, "test.jpg")
	w := s.dial(t)
	w.post(contentLength(len(source)/2), "Connection: close")
	if _, err := w.Write(source); err != nil { // one write: the daemon may close after it
		t.Fatal(err)
	}
	w.answer().is(t, "corrupt_image")
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	s.serves()
}

func TestWhatFollowsAWholeBodyDoesNotSpoilIt(t *testing.T) {
	t.Parallel()
	s := start(t)
	source := small(t, 20)
	w := s.dial(t)
	w.post(contentLength(len(source)))
	w.send(append(bytes.Clone(source), "junk"...))
	if m := w.answer().manifestOf(t, http.StatusCreated); m.Source.Bytes != int64(len(source)) {
		t.Errorf("the source has %d bytes, want the declared %d", m.Source.Bytes, len(source))
	}
}

func TestABodyShorterThanDeclared(t *testing.T) {
	t.Parallel()
	s := start(t)
	source := picture(t, "test.png")
	contentType, form := formOf(t, part{"f", "a.png", source})
	for name, tc := range map[string]struct {
		lines []string
		body  []byte
	}{
		"raw":                {[]string{contentLength(len(source))}, source[:len(source)/2]},
		"raw, a few bytes":   {[]string{contentLength(len(source))}, source[:100]},
		"raw, none":          {[]string{contentLength(len(source))}, nil},
		"in a form":          {[]string{contentLength(len(form)), "Content-Type: " + contentType}, form[:len(form)/2]},
		"in chunks":          {[]string{"Transfer-Encoding: chunked"}, []byte("10000\r\n" + string(source[:0x8000]))},
		"in chunks, no last": {[]string{"Transfer-Encoding: chunked"}, []byte("8000\r\n" + string(source[:0x8000]) + "\r\n")},
	} {
		t.Run(name+", and the client reads on", func(t *testing.T) {
			w := s.dial(t)
			w.post(tc.lines...)
			w.send(tc.body)
			if err := w.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			w.answer().is(t, "invalid_request")
			if left := s.leftovers(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
		t.Run(name+", and the client hangs up", func(t *testing.T) {
			w := s.dial(t)
			w.post(tc.lines...)
			w.send(tc.body)
			before := s.logged("request")
			if len(tc.body) > 100 { // so that there is something to leave behind
				eventually(t, "an upload in the spool", func() bool { return len(s.names("spool")) == 1 })
			}
			if err := w.SetLinger(0); err != nil { // a reset, as from a phone that is gone
				t.Fatal(err)
			}
			w.Close()
			eventually(t, "the daemon sees it", func() bool { return s.logged("request") > before })
			if left := s.leftovers(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	s.serves()
}

func TestBrokenChunksAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	w := s.dial(t)
	w.post("Transfer-Encoding: chunked")
	w.send([]byte("10\r\n0123456789abcdef\r\nnot hex\r\n"))
	w.answer().is(t, "invalid_request")
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAClientThatStopsListeningIsNotToldThatAllIsWell(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	_, thaw := s.freeze()
	source := small(t, 21)
	w := s.dial(t)
	w.post(contentLength(len(source)))
	w.send(source)
	s.working(1, 0)
	if err := w.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(w.r, nil)
	if err == nil {
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); res.StatusCode == http.StatusOK && len(b) == 0 {
			t.Error("it reads 200 without a manifest")
		}
	}
	thaw()
	eventually(t, "its picture is made all the same", func() bool { return s.logged("published") == 1 })
	s.upload(source).manifestOf(t, http.StatusOK)
}

func TestOneMeasureForChunkedAndDeclaredBodies(t *testing.T) {
	t.Parallel()
	source := picture(t, "test.png")
	s := start(t, limitBytes(int64(len(source))))
	onlyReader := struct{ io.Reader }{bytes.NewReader(source)} // its length is not known
	s.request(http.MethodPost, "/v1/images", onlyReader).manifestOf(t, http.StatusCreated)
	s.request(http.MethodPost, "/v1/images", struct{ io.Reader }{bytes.NewReader(append(source, 0))}).is(t, "too_large")
	s.upload(append(source, 0)).is(t, "too_large")
	if left := s.names("spool"); len(left) > 0 {
		t.Errorf("the spool keeps %v", left)
	}
}

func TestTooLongABodyIsRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	s := start(t, limitBytes(1<<20))
	s.refusedUnread(t, 8<<20, "too_large")
	t.Run("and a client that sends it all the same can read why", func(t *testing.T) {
		w := s.dial(t)
		w.post(contentLength(8 << 20))
		w.send(make([]byte, 8<<20))
		w.answer().is(t, "too_large")
	})
	t.Run("in chunks too", func(t *testing.T) {
		w := s.dial(t)
		w.post("Transfer-Encoding: chunked")
		chunk := append([]byte("100000\r\n"), make([]byte, 1<<20)...)
		copy(chunk[8:], picture(t, "test.jpg")[:1000])
		for range 8 {
			w.send(append(chunk, "\r\n"...))
		}
		w.send([]byte("0\r\n\r\n"))
		w.answer().is(t, "too_large")
	})
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	s.serves()
}

func TestABodyThatNobodyReadsHoldsUpNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, head := range []string{
		"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"DELETE /v1/images/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"PUT /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
	} {
		t.Run(strings.TrimSpace(strings.Join(strings.Fields(head), " ")), func(t *testing.T) {
			t.Parallel()
			w := s.dial(t)
			w.send([]byte(head))
			if got := string(w.closed()); !strings.HasPrefix(got, "HTTP/1.1 2") && !strings.HasPrefix(got, "HTTP/1.1 404") {
				t.Errorf("it was answered %q", got)
			}
		})
	}
}
