package tunnel

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"
)

// What the edge sends on a stream: the headers that say what it is, and its body.
func FuzzStream(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "", "a body"},
		{configuration, "", `{"version": 7, "config": {"ingress": []}}`},
		{configuration, "", `{"version": 1e99}`},
		{configuration, "private", "{}"},
		{controlStream, "private", ""},
		{controlStream, "", "\x00\x00\x00\x00\x00\x00\x00\x00"}, // a message whose only segment is empty
		{controlStream, "", "\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		{websocket, "", ""},
	} {
		f.Add(seed[0], seed[1], []byte(seed[2]))
	}
	f.Fuzz(func(t *testing.T, kind, source string, body []byte) {
		served := false
		tunnel := &Tunnel{
			deps: Deps{Log: zap.NewNop(), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				served = true
				_, _ = io.Copy(io.Discard, r.Body)
			})},
			stopping: make(chan struct{}),
		}
		ours, edge := net.Pipe()
		defer edge.Close()
		l := newLink(ours, 0, 0)
		defer l.Close()
		r := httptest.NewRequest(http.MethodPost, "http://localhost/", bytes.NewReader(body))
		r = r.WithContext(context.WithValue(t.Context(), linkKey{}, l))
		r.Header.Set(upgradeHeader, kind)
		r.Header.Set(privateStream, source)
		w := httptest.NewRecorder()
		tunnel.dispatch(w, r)
		if served != (kind == "" && source == "") {
			t.Errorf("kind %q, source %q: the handler was called: %v", kind, source, served)
		}
		if l.wasRegistered() {
			t.Error("the edge has registered nothing, but the connection counts as registered")
		}
	})
}
