package imaging

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/optimizerd/optimizerd/pkg/codec/imaging/thumbhash"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// cascade is the rungs of one image, largest first. Each is made on first use,
// from the nearest rung at least twice its size, or from the top rung if there
// is none: the quality equals that of always resizing the top, at a lower cost.
// Pixels are freed when no longer needed.
type cascade struct {
	rungs []*rung
	alpha bool // the image has transparent pixels
}

type rung struct {
	size    ladder.Rung
	from    *rung // source rung; nil for the top
	formats []ladder.Format

	make  sync.Once
	took  time.Duration // time to make it from the larger rung
	image *vipsImage
	err   error
	uses  atomic.Int32 // encoders and smaller rungs that still need the pixels
}

// newCascade takes ownership of the top rung's image.
func newCascade(top *vipsImage, animated bool, sizes []ladder.Rung, variants []ladder.Variant) *cascade {
	c := &cascade{alpha: top.alpha()}
	for i, size := range sizes {
		r := &rung{size: size}
		for _, v := range variants {
			if v.Width == size.Width {
				r.formats = append(r.formats, v.Format)
			}
		}
		if i == 0 {
			r.image = top
		} else {
			r.from = c.rungs[sourceOf(i, sizes)]
			r.from.uses.Add(1)
		}
		r.uses.Add(int32(len(r.formats)))
		c.rungs = append(c.rungs, r)
	}
	c.smallest().uses.Add(1) // for summarize
	if animated {
		c.smallest().uses.Add(1) // for animationMode
	}
	return c
}

// sourceOf returns the index of the rung that rung i is made from; i is not the
// top.
func sourceOf(i int, sizes []ladder.Rung) int {
	for j := i - 1; j > 0; j-- {
		if sizes[j].Width >= 2*sizes[i].Width {
			return j
		}
	}
	return 0
}

func (c *cascade) smallest() *rung { return c.rungs[len(c.rungs)-1] }

// pixels returns the rung's pixels and makes them on first use. Each call is
// one use and must be followed by release.
func (r *rung) pixels() (*vipsImage, error) {
	r.make.Do(func() {
		if r.from == nil {
			return
		}
		var from *vipsImage
		if from, r.err = r.from.pixels(); r.err != nil {
			return
		}
		began := time.Now()
		r.image, r.err = from.shrink(r.size)
		r.took = time.Since(began)
		r.from.release()
	})
	return r.image, r.err
}

// release ends one use and frees the pixels after the last.
func (r *rung) release() {
	if r.uses.Add(-1) == 0 && r.image != nil {
		r.image.free()
		r.image = nil
	}
}

// free frees all remaining pixels. No other goroutine may use them.
func (c *cascade) free() {
	for _, r := range c.rungs {
		if r.image != nil {
			r.image.free()
			r.image = nil
		}
	}
}

// previewSide is the longest side of the preview for ThumbHash, in pixels.
const previewSide = 100

// summarize returns the ThumbHash and the average color of the image.
func (c *cascade) summarize(background ladder.RGB) ([]byte, ladder.RGB, error) {
	r := c.smallest()
	p, err := r.pixels()
	if err != nil {
		return nil, ladder.RGB{}, err
	}
	scale := min(1, previewSide/float64(max(r.size.Width, r.size.Height)))
	w := max(1, int(math.Round(float64(r.size.Width)*scale)))
	h := max(1, int(math.Round(float64(r.size.Height)*scale)))
	rgba, err := p.rgba(w, h)
	if err != nil {
		return nil, ladder.RGB{}, err
	}
	return thumbhash.Encode(w, h, rgba), average(rgba, background), nil
}

// average returns the mean color of RGBA pixels composited on background.
func average(rgba []byte, background ladder.RGB) ladder.RGB {
	var sum [3]float64
	for i := 0; i < len(rgba); i += 4 {
		alpha := float64(rgba[i+3]) / 255
		for c := range sum {
			sum[c] += float64(rgba[i+c])*alpha + float64(background[c])*(1-alpha)
		}
	}
	var mean ladder.RGB
	for c := range mean {
		mean[c] = uint8(math.Round(sum[c] / float64(len(rgba)/4)))
	}
	return mean
}
