package httpapi

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// netRefusals are the details of the requests that net/http refuses before any
// handler, by status.
var netRefusals = map[int]string{
	http.StatusBadRequest:                  "The request is not valid HTTP; fix its request line and headers.",
	http.StatusExpectationFailed:           "Expect must be 100-continue.",
	http.StatusRequestHeaderFieldsTooLarge: "The URL and the headers together are too long; shorten them.",
	http.StatusNotImplemented:              "The Transfer-Encoding must be chunked.",
	http.StatusHTTPVersionNotSupported:     "Send the request in HTTP/1.1.",
}

const (
	statusLine   = "HTTP/1.1 "
	endOfHeaders = "\r\n\r\n"
)

// Refusal returns a problem in place of p, if p is a response in which net/http
// itself refuses a request, as plain text and without X-Request-Id, and logs it. Any
// other p is returned unchanged. p is a single write of net/http to a connection.
func Refusal(p []byte, client net.Addr, log *zap.Logger) []byte {
	if len(p) < len(statusLine)+3 || !bytes.HasPrefix(p, []byte(statusLine)) {
		return p
	}
	status, err := strconv.Atoi(string(p[len(statusLine) : len(statusLine)+3]))
	detail, known := netRefusals[status]
	header, _, complete := bytes.Cut(p, []byte(endOfHeaders))
	if err != nil || !known || !complete || bytes.Contains(header, []byte("\r\n"+requestIDHeader+": ")) {
		return p
	}
	id := rand.Text()
	body, err := json.Marshal(problem{
		Type:  "urn:optimizerd:problem:" + string(fault.InvalidRequest),
		Title: http.StatusText(status), Status: status, Detail: detail, Code: fault.InvalidRequest, RequestID: id,
	})
	if err != nil {
		return p
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%d %s\r\n", statusLine, status, http.StatusText(status))
	for _, field := range [][2]string{
		{"Cache-Control", "no-store"},
		{"Connection", "close"},
		{"Content-Length", strconv.Itoa(len(body))},
		{"Content-Type", "application/problem+json"},
		{"X-Content-Type-Options", "nosniff"},
		{requestIDHeader, id},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", field[0], field[1])
	}
	log.Info("request", zap.Int("status", status), zap.String("client", address(client.String())), zap.String("route", "none"), zap.String("request_id", id))
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}
