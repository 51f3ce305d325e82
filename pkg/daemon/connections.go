package daemon

import (
	"net"
	"sync"
)

// limitConnections returns a listener that has at most n connections open; it
// accepts no further one until one of them is closed. Unlike netutil's, it gives
// out *net.TCPConn with its methods, so that files are still served by sendfile.
func limitConnections(l net.Listener, n int) net.Listener {
	return &limitedListener{Listener: l, free: make(chan struct{}, n), closed: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
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
		return limitedTCPConn{tcp, release}, nil
	}
	return limitedConn{c, release}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

type limitedTCPConn struct {
	*net.TCPConn
	release func()
}

func (c limitedTCPConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}
