package daemontest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Conn is a connection on which a test writes what no HTTP client would.
type Conn struct {
	*net.TCPConn
	t       *testing.T
	client  *Client
	R       *bufio.Reader
	request *http.Request // the last one that was started
}

// Dial opens a connection to the daemon, until the end of the test.
func (c *Client) Dial(t *testing.T) *Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	return &Conn{TCPConn: conn.(*net.TCPConn), t: t, client: c, R: bufio.NewReader(conn)}
}

// Post starts an upload with these header lines besides the required ones.
func (w *Conn) Post(lines ...string) {
	w.t.Helper()
	w.Begin(http.MethodPost, "/v1/images", lines...)
}

// Begin sends the head of a request.
func (w *Conn) Begin(method, path string, lines ...string) {
	w.t.Helper()
	var err error
	if w.request, err = http.NewRequest(method, w.client.URL+path, nil); err != nil {
		w.t.Fatal(err)
	}
	head := append([]string{method + " " + path + " HTTP/1.1", "Host: " + w.RemoteAddr().String()}, lines...)
	w.Send([]byte(strings.Join(head, "\r\n") + "\r\n\r\n"))
}

// Send writes raw bytes.
func (w *Conn) Send(b []byte) {
	w.t.Helper()
	if _, err := w.Write(b); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

// Answer reads the next response, and checks it against the contract.
func (w *Conn) Answer() Answer {
	w.t.Helper()
	res, err := http.ReadResponse(w.R, w.request)
	if err != nil {
		w.t.Fatalf("read the answer: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("read the answer: %v", err)
	}
	if err := w.client.Contract.Check(w.request, res, body); err != nil {
		w.t.Errorf("the response violates the contract: %v\n%s %s", err, res.Status, body)
	}
	return Answer{res, body}
}

// Closed checks that the daemon closes the connection, and returns what it sends
// before.
func (w *Conn) Closed() (rest []byte) {
	w.t.Helper()
	rest, err := io.ReadAll(w.R)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		w.t.Errorf("the connection is not closed: %v", err)
	}
	return rest
}

// ContentLength is a header line for Post.
func ContentLength(n int) string { return fmt.Sprintf("Content-Length: %d", n) }
