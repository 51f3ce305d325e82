// Command standin is a stub of optimizerd-codec for tests of everything around it:
// it makes small gray JPEGs instantly, whose bytes depend on its file name. A
// source may contain "sleep:250ms." for an image that takes this long, "crash." for
// one that then crashes it, or "heic." for one that it cannot read if its file name
// contains "blind". It also writes AVIF if that contains "avif".
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func main() {
	for _, name := range []string{"threads", "memory", "off"} { // the daemon's arguments
		_ = flag.String(name, "", "")
	}
	flag.Parse()
	path, err := os.Executable()
	if err == nil {
		err = codec.Serve(func(func(string) bool) (codec.Engine, codec.About, error) {
			e := engine{filepath.Base(path)}
			return e, e.about(), nil
		}, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

// engine makes files that depend on its name.
type engine struct{ name string }

func (e engine) about() codec.About {
	a := codec.About{Version: buildinfo.Version(), Bimg: "none", Libvips: "none", Inputs: imagefile.Formats, Outputs: []ladder.Format{ladder.JPEG}}
	if e.blind() {
		a.Inputs = slices.DeleteFunc(slices.Clone(a.Inputs), func(format string) bool { return format == imagefile.HEIC })
		a.Off = append(a.Off, "read "+imagefile.HEIC)
	}
	if strings.Contains(e.name, "avif") {
		a.Outputs = append(a.Outputs, ladder.AVIF)
	}
	return a
}

// blind reports whether HEIC cannot be read.
func (e engine) blind() bool { return strings.Contains(e.name, "blind") }

// Render implements codec.Engine.
func (e engine) Render(_ context.Context, src *os.File, recipe ladder.Recipe, _ ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	source, err := io.ReadAll(io.NewSectionReader(src, 0, 1<<30)) // an earlier attempt has moved its offset
	if err != nil {
		return ladder.Summary{}, err
	}
	if _, rest, ok := bytes.Cut(source, []byte("sleep:")); ok {
		text, _, _ := bytes.Cut(rest, []byte("."))
		d, err := time.ParseDuration(string(text))
		if err != nil {
			return ladder.Summary{}, err
		}
		time.Sleep(d)
	}
	if bytes.Contains(source, []byte("crash.")) {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return ladder.Summary{}, err
		}
		select {} // until the signal arrives
	}
	if e.blind() && bytes.Contains(source, []byte("heic.")) {
		return ladder.Summary{}, fault.New(fault.UnsupportedFormat, "This server cannot read HEIC images.")
	}
	size, _, err := image.DecodeConfig(bytes.NewReader(source))
	if err != nil {
		return ladder.Summary{}, fault.Wrap(fault.CorruptImage, err, "The JPEG image is damaged: its header cannot be read.")
	}
	if err := sink.Opened(ladder.Source{Format: imagefile.JPEG, Width: size.Width, Height: size.Height, Frames: 1}); err != nil {
		return ladder.Summary{}, err
	}
	for _, v := range recipe.Plan(size.Width, size.Height).Variants {
		body, err := e.variant(v, sha256.Sum256(source))
		if err != nil {
			return ladder.Summary{}, err
		}
		v.Bytes = int64(len(body))
		if err := sink.Variant(v, bytes.NewReader(body)); err != nil {
			return ladder.Summary{}, err
		}
	}
	return ladder.Summary{ThumbHash: []byte{1, 2, 3, 4, 5}}, nil
}

// variant returns a file that is unique to its source.
func (e engine) variant(v ladder.Variant, source [sha256.Size]byte) ([]byte, error) {
	img := image.NewGray(image.Rect(0, 0, v.Width, v.Height))
	draw.Draw(img, img.Bounds(), image.NewUniform(color.Gray{Y: source[0]}), image.Point{}, draw.Src)
	var b bytes.Buffer
	if v.Format == ladder.AVIF {
		b.WriteString("\x00\x00\x00\x0cftypavif") // all that is checked
	}
	err := jpeg.Encode(&b, img, nil)
	fmt.Fprintf(&b, "%x %s", source, e.name) // after the end of the image
	return b.Bytes(), err
}
