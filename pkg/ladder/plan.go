package ladder

import (
	"fmt"
	"math"
)

// Rung is one size of the ladder, in pixels.
type Rung struct{ Width, Height int }

// Variant is one file of a set: a rung in a format.
type Variant struct {
	Format Format `json:"format"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Bytes  int64  `json:"bytes,omitempty"` // 0 in a plan
}

// Name returns the file's name within its set, "320.webp".
func (v Variant) Name() string { return fmt.Sprintf("%d.%s", v.Width, v.Format.Ext()) }

// Reason is why a variant was omitted.
type Reason string

// The reasons.
const (
	NotSmaller  Reason = "not_smaller"   // the fallback format is as small, and every browser shows that
	BeyondLimit Reason = "beyond_format" // a side exceeds the format's maximum
)

// Omission is a planned variant that was omitted.
type Omission struct {
	Format Format `json:"format"`
	Width  int    `json:"width"`
	Reason Reason `json:"reason"`
}

// Plan is what a recipe makes of a source of one size. Variants and omissions
// are ordered by format as configured, then by width.
type Plan struct {
	Rungs    []Rung // widths strictly ascending
	Variants []Variant
	Omitted  []Omission
}

// Plan returns the plan for an image of width × height pixels, as displayed.
func (r Recipe) Plan(width, height int) Plan {
	var p Plan
	if r.Single() {
		p.Rungs = []Rung{r.Fit.Fit(width, height)}
	} else {
		p.Rungs = rungs(r.Widths, width, height)
	}
	for _, e := range r.Encoders {
		for _, g := range p.Rungs {
			if !e.Encodes(g.Width) {
				continue
			}
			if max(g.Width, g.Height) > e.Format.MaxSide() {
				p.Omitted = append(p.Omitted, Omission{e.Format, g.Width, BeyondLimit})
				continue
			}
			p.Variants = append(p.Variants, Variant{Format: e.Format, Width: g.Width, Height: g.Height})
		}
	}
	return p
}

// rungs returns the widths up to the source's. Nothing is enlarged: if the
// source's width is between two widths or below the first, the last rung has the
// source's own width.
func rungs(widths []int, width, height int) []Rung {
	var rungs []Rung
	for _, w := range widths {
		if w <= width {
			rungs = append(rungs, Rung{w, scaled(height, w, width)})
		}
	}
	if n := len(rungs); width < widths[len(widths)-1] && (n == 0 || rungs[n-1].Width < width) {
		rungs = append(rungs, Rung{width, height})
	}
	return rungs
}

// Fit returns the largest size within the box that keeps the aspect ratio and
// enlarges nothing.
func (b Box) Fit(width, height int) Rung {
	r := Rung{width, height}
	if b.Width > 0 && b.Width < r.Width {
		r = Rung{b.Width, scaled(height, b.Width, width)}
	}
	if b.Height > 0 && b.Height < r.Height {
		r = Rung{scaled(width, b.Height, height), b.Height}
	}
	return r
}

// scaled returns side scaled by part/whole, rounded to nearest, at least 1.
func scaled(side, part, whole int) int {
	return max(1, int(math.Round(float64(side)*float64(part)/float64(whole))))
}
