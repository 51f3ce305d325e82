// Command optimizerd-codec is the process in which pictures are decoded and
// encoded, and nothing else happens. optimizerd starts it; it is of no use by
// itself.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/imaging"
)

func main() {
	threads := flag.Int("threads", runtime.NumCPU(), "encoders at once")
	flag.Parse()
	if err := run(*threads); err != nil {
		fmt.Fprintln(os.Stderr, "optimizerd-codec:", err)
		os.Exit(1)
	}
}

func run(threads int) error {
	engine, err := imaging.Start(imaging.Config{Threads: threads})
	if err != nil {
		return err
	}
	v := engine.Versions()
	return codec.Serve(engine, codec.About{
		Version: buildinfo.Version(),
		Bimg:    v.Bimg,
		Libvips: v.Libvips,
		Inputs:  v.Inputs,
		Outputs: v.Outputs,
	})
}
