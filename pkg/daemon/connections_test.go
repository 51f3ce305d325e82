package daemon

import (
	"errors"
	"io"
	"net"
	"testing"

	"go.uber.org/zap"
)

func TestConnectionsAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 2, zap.NewNop())
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	if _, ok := first.(io.ReaderFrom); !ok {
		t.Error("files cannot be sent by sendfile")
	}
	select {
	case <-accepted:
		t.Fatal("a third connection is accepted beside two open ones")
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_ = first.Close() // closing again frees no further place
	third := <-accepted
	select {
	case <-accepted:
		t.Fatal("closing twice made room for two")
	default:
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept on a closed listener: %v", err)
	}
	second.Close()
	third.Close()
}
