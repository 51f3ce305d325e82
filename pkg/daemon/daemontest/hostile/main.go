// Command hostile is an optimizerd-codec with a compromised decoder: it speaks the
// protocol and enters the real sandbox, and then executes the attack named in its
// source. It renders any other source honestly, as gray JPEGs.
package main

/*
#include <poll.h>
#include <pthread.h>

// idle waits in a system call that the sandbox allows: any other would return at
// once, and a thousand busy threads would starve the other tests.
static void *idle(void *arg) { for (;;) poll(NULL, 0, -1); return arg; }

// start_threads starts threads, at most most, until one is refused, and returns
// their number.
static unsigned long start_threads(unsigned long most) {
	pthread_attr_t small;
	pthread_t t;
	unsigned long n = 0;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 16384);
	while (n < most && pthread_create(&t, &small, idle, NULL) == 0)
		n++;
	return n;
}
*/
import "C"

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/codec/sandbox"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func main() {
	_ = flag.Int("threads", 0, "")
	memory := flag.Int64("memory", 0, "")
	off := flag.String("off", "", "")
	flag.Parse()
	err := codec.Serve(func(func(string) bool) (codec.Engine, codec.About, error) {
		walls, err := sandbox.Enter(*memory)
		return &hostile{memory: *memory}, codec.About{
			Version: buildinfo.Version(), Bimg: "none", Libvips: "none", Inputs: imagefile.Formats, Outputs: []ladder.Format{ladder.JPEG}, Sandbox: codec.Sandbox(walls),
		}, err
	}, strings.Split(*off, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

type hostile struct {
	memory   int64  // limit, bytes
	previous []byte // the last source
}

// errCaught is the response after a successful attack: an honest child would not give
// it for the test's image.
var errCaught = fault.New(fault.Internal, "The attack succeeded.")

func (h *hostile) Render(_ context.Context, src *os.File, recipe ladder.Recipe, _ ladder.Limits, sink ladder.Sink) (summary ladder.Summary, err error) {
	source, err := io.ReadAll(io.NewSectionReader(src, 0, 1<<30)) // an earlier attempt has moved its offset
	if err != nil {
		return summary, err
	}
	leak := h.previous
	h.previous = source
	size, _, err := image.DecodeConfig(bytes.NewReader(source))
	if err != nil {
		return summary, fault.Wrap(fault.CorruptImage, err, "The JPEG image is damaged: its header cannot be read.")
	}
	_, name, _ := bytes.Cut(source, []byte("attack:"))
	attack := string(name)
	if err := h.attackMachine(attack); err != nil {
		return summary, err
	}
	opened := ladder.Source{Format: imagefile.JPEG, Width: size.Width, Height: size.Height, Frames: 1}
	if attack == "size" {
		opened.Width, opened.Height, opened.Frames = 1<<62, 1<<61, 1<<40
	}
	if err := sink.Opened(opened); err != nil {
		return summary, err
	}
	for _, v := range recipe.Plan(size.Width, size.Height).Variants {
		body, err := attackFile(attack, v, leak)
		if err != nil {
			return summary, err
		}
		v.Bytes = int64(len(body))
		if err := sink.Variant(v, bytes.NewReader(body)); err != nil {
			return summary, err
		}
	}
	return ladder.Summary{ThumbHash: []byte{1, 2, 3, 4, 5}}, nil
}

// attackMachine carries out an attack on the machine or on the client that reads the
// error. It does nothing for the other attacks.
func (h *hostile) attackMachine(attack string) error {
	succeeded := false
	switch attack {
	case "threads":
		var limit unix.Rlimit
		err := unix.Prlimit(0, unix.RLIMIT_NPROC, nil, &limit)
		most := C.ulong(limit.Cur)
		succeeded = err != nil || C.start_threads(most) == most
	case "stack":
		succeeded = h.take(unix.MAP_GROWSDOWN)
	case "page tables":
		_, err := unix.Mmap(-1, 0, 256<<30, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		succeeded = err == nil
	case "memory":
		succeeded = h.take(0)
	case "processor": // its limit of CPU time is a signal, which it does not heed
		signal.Ignore(syscall.SIGXCPU)
		for range runtime.NumCPU() {
			go func() {
				for sum := 0; ; sum++ {
				}
			}()
		}
	case "deaf": // it never looks at its socket again
		fmt.Fprintln(os.Stderr, "deaf")
		<-make(chan struct{})
	case "words":
		return fault.New(fault.CorruptImage, "%s", "<img src=x onerror=alert(1)>\u202egnp.exe /etc/passwd "+strings.Repeat("A", 50_000))
	case "decoder":
		return fault.New(fault.CorruptImage, "The JPEG image is damaged: its header cannot be read.")
	}
	if succeeded {
		return errCaught
	}
	return nil
}

// attackFile returns the bytes of a variant, which are honest unless the attack is on
// files. leak is the source of another client.
func attackFile(attack string, v ladder.Variant, leak []byte) ([]byte, error) {
	body, err := gray(v)
	switch attack {
	case "markup":
		body = []byte("<html>")
	case "leak":
		body = append(body, leak...)
	case "disk":
		body = append(body, make([]byte, 64<<20)...)
	}
	return body, err
}

// take reports whether it could allocate more memory than its limit.
func (h *hostile) take(flags int) bool {
	const piece = 64 << 20
	for taken := int64(0); taken <= h.memory; taken += piece {
		memory, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|flags)
		if err != nil {
			return false
		}
		memory[0] = 1
	}
	return true
}

// gray returns an honest file.
func gray(v ladder.Variant) ([]byte, error) {
	var b bytes.Buffer
	err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, v.Width, v.Height)), nil)
	return b.Bytes(), err
}
