package daemon

import (
	"net"
	"sync"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/httpapi"
)

// limitConnections returns a listener with at most n open connections; it accepts
// another one only when one of them is closed. Unlike netutil's, it returns
// *net.TCPConn with its methods, so that files are still served by sendfile. Its
// connections turn the refusals of net/http into problem details.
func limitConnections(l net.Listener, n int, log *zap.Logger) net.Listener {
	return &limitedListener{Listener: l, log: log, free: make(chan struct{}, n), closed: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	log    *zap.Logger
	free   chan struct{} // a value for each open connection
	once   sync.Once
	closed chan struct{}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	release := sync.OnceFunc(func() { <-l.free })
	if tcp, ok := c.(*net.TCPConn); ok {
		return limitedTCPConn{tcp, l.log, release}, nil
	}
	return limitedConn{c, l.log, release}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	log     *zap.Logger
	release func()
}

func (c limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

type limitedTCPConn struct {
	*net.TCPConn
	log     *zap.Logger
	release func()
}

func (c limitedTCPConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

func (c limitedTCPConn) Write(p []byte) (int, error) { return writeRefusal(c.TCPConn, p, c.log) }

func (c limitedConn) Write(p []byte) (int, error) { return writeRefusal(c.Conn, p, c.log) }

func writeRefusal(c net.Conn, p []byte, log *zap.Logger) (int, error) {
	n, err := c.Write(httpapi.Refusal(p, c.RemoteAddr(), log))
	if err != nil {
		return min(n, len(p)), err
	}
	return len(p), nil
}
