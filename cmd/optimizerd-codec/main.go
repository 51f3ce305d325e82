// Command optimizerd-codec is the process in which images are decoded and
// encoded, and nothing else happens. optimizerd starts it; it is of no use by
// itself.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/codec/imaging"
	"github.com/optimizerd/optimizerd/pkg/codec/sandbox"
)

func main() {
	threads := flag.Int("threads", runtime.NumCPU(), "encoders at once")
	memory := flag.Int64("memory", 0, "bytes that work may take; 0 for no limit")
	off := flag.String("off", "", "parts of the self-test to leave out, separated by commas")
	flag.Parse()
	err := codec.Serve(func(test func(part string) bool) (codec.Engine, codec.About, error) {
		return start(*threads, *memory, test)
	}, strings.Split(*off, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "optimizerd-codec:", err)
		os.Exit(1)
	}
}

// start makes the engine, whose self-test loads all that it will ever need,
// and then shuts the process in.
func start(threads int, memory int64, test func(part string) bool) (codec.Engine, codec.About, error) {
	engine, err := imaging.Start(imaging.Config{Threads: threads, Test: test})
	if err != nil {
		return nil, codec.About{}, err
	}
	test("") // it has passed; what fails from here on is no format's fault
	walls, err := sandbox.Enter(memory)
	if err != nil {
		return nil, codec.About{}, err
	}
	v := engine.Versions()
	return engine, codec.About{
		Version: buildinfo.Version(),
		Bimg:    v.Bimg,
		Libvips: v.Libvips,
		Vector:  v.Vector,
		Inputs:  v.Inputs,
		Outputs: v.Outputs,
		Off:     v.Off,
		Sandbox: codec.Sandbox(walls),
	}, nil
}
