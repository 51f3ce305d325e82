// Package thumbhash encodes a small image as a ThumbHash: about 25 bytes that a
// page expands into a blurred preview while the image loads.
//
// A hash contains the image's low frequencies. The pixels are separated into
// lightness, two color differences and alpha; each channel becomes its average
// (DC) and the first terms of a cosine transform (AC), scaled by the largest of
// them and rounded to 4 bits. The format is documented, and in the public
// domain, at https://github.com/evanw/thumbhash; this package produces the same
// bytes as its author's encoder. It does not decode.
//
// github.com/galdor/go-thumbhash 1.0.0 produces the same bytes from the same
// pixels, if straight alpha is passed as premultiplied. It is not used because that
// module path was abandoned at 1.0.0 and gets no updates.
package thumbhash

import "math"

// MaxSide is the longest side of an image that can be encoded, in pixels.
const MaxSide = 100

// Encode returns the hash of an image of w × h pixels, each side at most
// MaxSide. Each pixel is 4 bytes, red, green, blue and alpha, with straight
// alpha. Encode panics if the sizes do not match, which is a caller's bug.
func Encode(w, h int, rgba []byte) []byte {
	if w < 1 || h < 1 || w > MaxSide || h > MaxSide || len(rgba) != 4*w*h {
		panic("thumbhash: size out of range, or pixels do not match it")
	}
	p := split(w, h, rgba)
	transparent := p.sumAlpha < float64(w*h)
	landscape := w > h

	// The longer side gets this many terms of lightness, the shorter side
	// proportionally fewer; less with alpha, which needs the space.
	terms := 7.0
	if transparent {
		terms = 5
	}
	longer := float64(max(w, h))
	lx := max(1, round(terms*float64(w)/longer))
	ly := max(1, round(terms*float64(h)/longer))

	l := transform(p.l, w, h, max(3, lx), max(3, ly))
	yb := transform(p.yb, w, h, 3, 3)
	rg := transform(p.rg, w, h, 3, 3)

	var b bits
	b.put(round(63*l.dc), 6)
	b.put(round(31.5+31.5*yb.dc), 6)
	b.put(round(31.5+31.5*rg.dc), 6)
	b.put(round(31*l.scale), 5)
	b.putFlag(transparent)
	b.put(pick(landscape, ly, lx), 3)
	b.put(round(63*yb.scale), 6)
	b.put(round(63*rg.scale), 6)
	b.putFlag(landscape)

	channels := []channel{l, yb, rg}
	if transparent {
		a := transform(p.a, w, h, 5, 5)
		b.put(round(15*a.dc), 4)
		b.put(round(15*a.scale), 4)
		channels = append(channels, a)
	}
	for _, c := range channels {
		for _, f := range c.ac {
			b.put(round(15*f), 4)
		}
	}
	return b.bytes
}

// planes are an image's channels, each from 0 to 1 or -1 to 1.
type planes struct {
	l, yb, rg, a []float64 // lightness, yellow to blue, red to green, alpha
	sumAlpha     float64
}

// split separates the channels of an image composited on its own average color,
// so that transparent pixels do not affect the hash.
func split(w, h int, rgba []byte) planes {
	n := w * h
	p := planes{
		l: make([]float64, n), yb: make([]float64, n), rg: make([]float64, n), a: make([]float64, n),
	}
	var mean [3]float64
	for i := range n {
		alpha := float64(rgba[4*i+3]) / 255
		for c := range mean {
			mean[c] += alpha / 255 * float64(rgba[4*i+c])
		}
		p.sumAlpha += alpha
	}
	if p.sumAlpha > 0 {
		for c := range mean {
			mean[c] /= p.sumAlpha
		}
	}
	for i := range n {
		alpha := float64(rgba[4*i+3]) / 255
		var v [3]float64
		for c := range v {
			v[c] = mean[c]*(1-alpha) + alpha/255*float64(rgba[4*i+c])
		}
		p.l[i] = (v[0] + v[1] + v[2]) / 3
		p.yb[i] = (v[0]+v[1])/2 - v[2]
		p.rg[i] = v[0] - v[1]
		p.a[i] = alpha
	}
	return p
}

// channel is a plane's average and its first terms, relative to the largest,
// from 0 to 1 with 0.5 for zero.
type channel struct {
	dc, scale float64
	ac        []float64
}

// transform returns the terms in the low-frequency corner below the diagonal
// from nx to ny, row by row.
func transform(plane []float64, w, h, nx, ny int) channel {
	var c channel
	for cy := range ny {
		for cx := 0; cx*ny < nx*(ny-cy); cx++ {
			f := term(plane, w, h, cx, cy)
			if cx == 0 && cy == 0 {
				c.dc = f
				continue
			}
			c.ac = append(c.ac, f)
			c.scale = max(c.scale, math.Abs(f))
		}
	}
	if c.scale > 0 {
		for i, f := range c.ac {
			c.ac[i] = 0.5 + 0.5/c.scale*f
		}
	}
	return c
}

// term returns the amplitude of one cosine wave, with cx half periods across
// and cy down, in the plane.
func term(plane []float64, w, h, cx, cy int) float64 {
	across := make([]float64, w)
	for x := range across {
		across[x] = math.Cos(math.Pi / float64(w) * float64(cx) * (float64(x) + 0.5))
	}
	var sum float64
	for y := range h {
		down := math.Cos(math.Pi / float64(h) * float64(cy) * (float64(y) + 0.5))
		for x := range w {
			sum += plane[y*w+x] * across[x] * down
		}
	}
	return sum / float64(w*h)
}

// bits packs numbers, low bits first.
type bits struct {
	bytes []byte
	used  int // bits
}

func (b *bits) put(v, width int) {
	for i := range width {
		if b.used%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.used/8] |= byte(v>>i&1) << (b.used % 8)
		b.used++
	}
}

func (b *bits) putFlag(v bool) { b.put(pick(v, 1, 0), 1) }

func pick(first bool, a, b int) int {
	if first {
		return a
	}
	return b
}

// round rounds halves up, also below zero, like the reference encoder.
func round(v float64) int { return int(math.Floor(v + 0.5)) }
