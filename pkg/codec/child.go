package codec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// socketFD is where a child finds its end of the pair: the first descriptor
// after the standard three.
const socketFD = 3

// exitOutOfTime is the exit status of a child that has used up its processor time.
const exitOutOfTime = 3

// Start makes a child's engine and has it test itself. It calls test before
// each part of that, such as "read heic", so that the parent knows what the
// child was at should it die; a part for which test returns false is left out,
// because an earlier child died of it. An empty part
// says that the test is over.
type Start func(test func(part string) bool) (Engine, About, error)

// Serve is the life of a child: it starts the engine, greets the parent and
// renders what it is asked to, one source at a time, until the parent closes
// the socket. off names the parts that are not to be tested.
func Serve(start Start, off []string) error {
	conn, err := parentConn()
	if err != nil {
		return err
	}
	defer conn.Close()
	exitOnCPULimit()
	engine, about, err := start(func(part string) bool {
		// A broken socket shows at the greeting.
		_ = send(conn, reply{Testing: &part})
		return !slices.Contains(off, part)
	})
	if err != nil {
		return err
	}
	about.Protocol, about.Engine = Protocol, ladder.EngineVersion
	if err := send(conn, reply{Hello: &about}); err != nil {
		return err
	}
	for {
		m, src, err := receiveRequest(conn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer := render(engine, m, src, conn)
		_ = src.Close()
		if err := send(conn, answer); err != nil {
			return err
		}
	}
}

// exitOnCPULimit ends the process when the parent's limit is reached: Go lets
// the signal pass unheard otherwise.
func exitOnCPULimit() {
	exceeded := make(chan os.Signal, 1)
	signal.Notify(exceeded, syscall.SIGXCPU)
	go func() {
		<-exceeded
		os.Exit(exitOutOfTime)
	}()
}

func parentConn() (*net.UnixConn, error) {
	f := os.NewFile(socketFD, "parent")
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("%s must be started by optimizerd, with a socket as descriptor %d: %w", program, socketFD, err)
	}
	_ = f.Close()
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("descriptor %d is not a unix socket", socketFD)
	}
	return unix, nil
}

func render(engine Engine, m request, src *os.File, conn *net.UnixConn) reply {
	summary, err := engine.Render(context.Background(), src, m.Recipe, m.Limits, socketSink{conn})
	if err != nil {
		return reply{Failed: failureOf(err)}
	}
	return reply{Done: &summary}
}

func send(w io.Writer, m reply) error {
	frame, err := encodeFrame(m)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

// socketSink forwards what the engine makes.
type socketSink struct{ conn *net.UnixConn }

func (s socketSink) Opened(src ladder.Source) error { return send(s.conn, reply{Opened: &src}) }

func (s socketSink) Variant(v ladder.Variant, body io.Reader) error {
	if err := send(s.conn, reply{Variant: &v}); err != nil {
		return err
	}
	if n, err := io.Copy(s.conn, body); err != nil || n != v.Bytes {
		return fmt.Errorf("send %s: %d of %d bytes: %w", v.Name(), n, v.Bytes, err)
	}
	return nil
}
