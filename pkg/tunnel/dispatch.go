package tunnel

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"go.uber.org/zap"
)

// Headers and values that distinguish the edge's own streams from visitors'
// requests, and those of responses. They are from cloudflared's connection
// package, which would import its complete proxy.
const (
	upgradeHeader     = "Cf-Cloudflared-Proxy-Connection-Upgrade"
	controlStream     = "control-stream"
	configuration     = "update-configuration"
	websocket         = "websocket"
	privateStream     = "Cf-Cloudflared-Proxy-Src" // a connection into the private network
	userHeaders       = "Cf-Cloudflared-Response-Headers"
	metaHeader        = "Cf-Cloudflared-Response-Meta"
	metaFromConnector = `{"src":"cloudflared"}`
	metaFromOrigin    = `{"src":"origin"}`
)

// dispatch handles every request on every link.
func (t *Tunnel) dispatch(w http.ResponseWriter, r *http.Request) {
	l := r.Context().Value(linkKey{}).(*link)
	kind, source := r.Header.Get(upgradeHeader), r.Header.Get(privateStream)
	switch {
	// Once per link: the tunnel's secret is sent on the control stream. If a
	// visitor ever managed to send these headers past the edge, it must not get
	// it.
	case kind == controlStream && source == "" && l.control.CompareAndSwap(false, true):
		t.serveControl(l, w, r)
	case kind == configuration && source == "":
		t.acknowledge(w, r)
	case kind != "" || source != "":
		t.deps.Log.Warn("refused unsupported stream", zap.Int("connection", l.index), zap.String("kind", kind))
		refuse(w)
	default:
		answer := &response{ResponseWriter: w, header: make(http.Header)}
		t.deps.Handler.ServeHTTP(answer, r)
		answer.WriteHeader(http.StatusOK) // if nothing was written
	}
}

func refuse(w http.ResponseWriter) {
	w.Header().Set(metaHeader, metaFromConnector)
	w.WriteHeader(http.StatusBadGateway)
}

// maxConfiguration limits the size of a configuration, in bytes.
const maxConfiguration = 1 << 20

// acknowledge confirms a configuration from the dashboard and ignores it: there
// is one handler here, and no other service that an account could route to.
func (t *Tunnel) acknowledge(w http.ResponseWriter, r *http.Request) {
	var pushed struct {
		Version int32 `json:"version"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxConfiguration)).Decode(&pushed); err != nil {
		t.deps.Log.Warn("cannot read configuration from the dashboard", zap.Error(err))
		refuse(w)
		return
	}
	t.deps.Log.Info("ignored ingress configuration from the dashboard", zap.Int32("version", pushed.Version))
	_ = json.NewEncoder(w).Encode(struct { // if this is lost, the edge resends the configuration
		LastAppliedVersion int32   `json:"lastAppliedVersion"`
		Err                *string `json:"err"`
	}{LastAppliedVersion: pushed.Version})
}

// response writes a response in the form the edge expects: the plain status,
// and all headers packed into one.
type response struct {
	http.ResponseWriter
	header http.Header
	wrote  bool
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.wrote || status < http.StatusOK { // the edge sends its own interim responses
		return
	}
	w.wrote = true
	native := w.ResponseWriter.Header()
	if length := w.header.Get("Content-Length"); length != "" {
		native.Set("Content-Length", length) // HTTP/2 enforces it
	}
	native.Set(userHeaders, pack(w.header))
	native.Set(metaHeader, metaFromOrigin)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// FlushError supports http.ResponseController.
func (w *response) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap supports http.ResponseController: deadlines are those of the stream.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// pack returns the wire form of headers: base64(name):base64(value);…
func pack(h http.Header) string {
	var b strings.Builder
	for name, values := range h {
		if internal(name) {
			continue
		}
		for _, value := range values {
			if b.Len() > 0 {
				b.WriteByte(';')
			}
			b.WriteString(base64.RawStdEncoding.EncodeToString([]byte(name)))
			b.WriteByte(':')
			b.WriteString(base64.RawStdEncoding.EncodeToString([]byte(value)))
		}
	}
	return b.String()
}

// internal reports whether a header must not reach visitors: it is between the
// edge and its connectors, or about a connection that visitors do not have.
func internal(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{":", "cf-int-", "cf-cloudflared-", "cf-proxy-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "connection"
}
