package tunnel

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"go.uber.org/zap"
)

// Headers and values by which the edge tells its own streams from a visitor's
// requests, and is told of answers. (From cloudflared's connection package,
// which would bring its whole proxy along.)
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

// dispatch is given every request on every link.
func (t *Tunnel) dispatch(w http.ResponseWriter, r *http.Request) {
	l := r.Context().Value(linkKey{}).(*link)
	kind, source := r.Header.Get(upgradeHeader), r.Header.Get(privateStream)
	switch {
	// One a link: the tunnel's secret is sent there, and should a visitor ever
	// get these headers past the edge, that is not whom it is for.
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
		answer.WriteHeader(http.StatusOK) // if it has written nothing
	}
}

func refuse(w http.ResponseWriter) {
	w.Header().Set(metaHeader, metaFromConnector)
	w.WriteHeader(http.StatusBadGateway)
}

// maxConfiguration is more than a configuration has, bytes.
const maxConfiguration = 1 << 20

// acknowledge says that a configuration from the dashboard is in force, and
// does nothing with it: there is one handler here, and no other service that
// an account could point the tunnel to.
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
	_ = json.NewEncoder(w).Encode(struct { // who does not read it, asks again
		LastAppliedVersion int32   `json:"lastAppliedVersion"`
		Err                *string `json:"err"`
	}{LastAppliedVersion: pushed.Version})
}

// response writes an answer as the edge wants it: the status as it is, and the
// headers packed into one, so that HTTP/2 has no say in them.
type response struct {
	http.ResponseWriter
	header http.Header
	wrote  bool
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.wrote || status < http.StatusOK { // interim answers are the edge's own
		return
	}
	w.wrote = true
	native := w.ResponseWriter.Header()
	if length := w.header.Get("Content-Length"); length != "" {
		native.Set("Content-Length", length) // HTTP/2 holds the body to it
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

// FlushError is for http.ResponseController.
func (w *response) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController: deadlines are those of the stream.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// pack is the wire form of headers: base64(name):base64(value);…
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

// internal reports whether a header is not for visitors: it is between the
// edge and its connectors, or about a connection that they do not have.
func internal(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{":", "cf-int-", "cf-cloudflared-", "cf-proxy-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "connection"
}
