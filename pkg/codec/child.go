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
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// socketFD is the descriptor of a child's end of the socket pair.
const socketFD = 3

// exitOutOfTime is the exit status of a child that exceeded its CPU time limit.
const exitOutOfTime = 3

// Start creates a child's engine and runs its self-test. It calls test before
// each part of the self-test, such as "read heic", so that the parent knows
// which part a child died in. If test returns false the part is skipped,
// because an earlier child died in it. An empty part marks the end of the
// self-test.
type Start func(test func(part string) bool) (Engine, About, error)

// Serve runs a child: it starts the engine, sends the greeting and serves
// render requests one at a time until the parent closes the socket. off
// lists the parts of the self-test to skip.
func Serve(start Start, off []string) error {
	conn, err := parentConn()
	if err != nil {
		return err
	}
	defer conn.Close()
	exitOnCPULimit()
	engine, about, err := start(func(part string) bool {
		// A broken socket is detected when the greeting is sent.
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

// exitOnCPULimit makes SIGXCPU end the process; Go ignores it otherwise.
func exitOnCPULimit() {
	exceeded := make(chan os.Signal, 1)
	signal.Notify(exceeded, syscall.SIGXCPU)
	go func() {
		<-exceeded
		os.Exit(exitOutOfTime)
	}()
}

// limitCPU has the kernel send SIGXCPU once the process has used this much more
// processor time. Errors are ignored: the parent's timeout still applies.
func limitCPU(more time.Duration) {
	var used unix.Rusage
	var limit unix.Rlimit
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil || unix.Prlimit(0, unix.RLIMIT_CPU, nil, &limit) != nil {
		return
	}
	seconds := used.Utime.Sec + used.Stime.Sec + int64(more/time.Second) + 1
	limit.Cur = min(uint64(seconds), limit.Max)
	_ = unix.Prlimit(0, unix.RLIMIT_CPU, &limit, nil)
}

func parentConn() (*net.UnixConn, error) {
	f := os.NewFile(socketFD, "parent")
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("%s must be started by optimizerd, with a socket as descriptor %d: %w", program, socketFD, err)
	}
	_ = f.Close()
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("descriptor %d is not a unix socket", socketFD)
	}
	return socket, nil
}

func render(engine Engine, m request, src *os.File, conn *net.UnixConn) reply {
	limitCPU(m.CPU)
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

// socketSink sends the engine's output to the parent.
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
