package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"

	"github.com/cloudflare/cloudflared/tunnelrpc"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// cloudflaredVersion is the release of the imported wire packages.
const cloudflaredVersion = "2025.2.0"

// clientInfo describes this connector to the edge and the dashboard. The
// features are those supported here: packed headers, and configuration that is
// acknowledged.
func clientInfo(instance uuid.UUID, version string) pogs.ClientInfo {
	return pogs.ClientInfo{
		ClientID: instance[:],
		Features: []string{"serialized_headers", "allow_remote_config"},
		Version:  "optimizerd/" + version + " (cloudflared " + cloudflaredVersion + ")",
		Arch:     runtime.GOOS + "_" + runtime.GOARCH,
	}
}

// errRefused marks a registration the edge rejected; retrying cannot help.
var errRefused = errors.New("refused by the edge")

// duplicate is the edge's code for a second connection to the same server. The
// protocol has no other field for it than the text of the error.
const duplicate = "EDUPCONN"

// registrationFault distinguishes a refusal, which needs the operator, from
// network trouble.
func registrationFault(err error) error {
	var rpc *pogs.RPCError
	var later *pogs.RetryableError
	switch {
	case errors.As(err, &rpc), err.Error() == duplicate:
		return fault.Wrap(fault.Internal, err, "Cloudflare's edge is reachable, but does not accept the tunnel.")
	case errors.As(err, &later):
		return fault.Wrap(fault.Internal, err, "Cloudflare's edge asked to retry later.")
	default:
		return fault.Wrap(fault.Internal, fmt.Errorf("%w: %w", errRefused, err),
			"Cloudflare rejected the tunnel's token: the tunnel was deleted, or its token replaced. Install the current token and restart.")
	}
}

// localConfiguration is shown in the dashboard for tunnels that are not managed
// there.
const localConfiguration = `{"ingress":[{"service":"optimizerd"}],"warp-routing":{}}`

// serveControl registers the link on the control stream, and unregisters it
// when the tunnel stops.
func (t *Tunnel) serveControl(l *link, w http.ResponseWriter, r *http.Request) {
	defer close(l.unregistered)
	stream := &rpcStream{r: newFrames(r.Body), w: w, ended: make(chan struct{})}
	defer stream.Close()
	client := tunnelrpc.NewRegistrationClient(r.Context(), stream, rpcTime)
	defer client.Close()
	options := &pogs.ConnectionOptions{Client: t.client, NumPreviousAttempts: uint8(min(l.attempt, 255))}
	details, err := client.RegisterConnection(r.Context(), t.auth, t.id, options, uint8(l.index), edgeIP(l))
	if err != nil {
		_ = l.end(registrationFault(err)) // the connection is abandoned anyway
		return
	}
	close(l.registered)
	t.state.registered(l, details.Location)
	defer t.state.unregistered(l)
	t.deps.Log.Info("connected to the edge", zap.Int("connection", l.index), zap.String("location", details.Location),
		zap.Stringer("address", l.RemoteAddr()), zap.Int("failed_attempts", l.attempt))
	if l.index == 0 && !details.TunnelIsRemotelyManaged {
		if err := client.SendLocalConfiguration(r.Context(), []byte(localConfiguration)); err != nil {
			t.deps.Log.Debug("cannot send the configuration to the dashboard", zap.Error(err))
		}
	}
	select {
	case <-r.Context().Done():
		_ = l.end(errLost) // if only this stream has ended, no requests would arrive over the connection
	case <-stream.ended:
		_ = l.end(errLost)
	case <-t.stopping:
		if err := client.GracefulShutdown(r.Context(), unregisterTime); err != nil {
			t.deps.Log.Warn("unregistering from the edge failed", zap.Int("connection", l.index), zap.Error(err))
			return
		}
		t.deps.Log.Info("unregistered", zap.Int("connection", l.index))
	}
}

func edgeIP(l *link) net.IP {
	if a, ok := l.RemoteAddr().(*net.TCPAddr); ok {
		return a.IP
	}
	return nil
}

// rpcStream combines a request's body and its response into one stream.
type rpcStream struct {
	r     io.Reader
	once  sync.Once
	ended chan struct{} // closed when the edge stops sending

	mu   sync.Mutex
	w    http.ResponseWriter
	over bool
}

func (s *rpcStream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		s.once.Do(func() { close(s.ended) })
	}
	return n, err
}

// Write flushes: the peer waits for the data.
func (s *rpcStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, io.ErrClosedPipe
	}
	n, err := s.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(s.w).Flush()
}

// Close keeps the RPC's goroutines from writing to a response whose handler has
// returned.
func (s *rpcStream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	return nil
}
