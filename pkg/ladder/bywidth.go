package ladder

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// FormatWidths limits each format to a range of the ladder's widths. Single
// variants are not limited.
type FormatWidths struct {
	WebP Range `mapstructure:"webp"`
	JPEG Range `mapstructure:"jpeg"`
	AVIF Range `mapstructure:"avif"`
}

func (w FormatWidths) of(f Format) Range {
	switch f {
	case WebP:
		return w.WebP
	case AVIF:
		return w.AVIF
	default:
		return w.JPEG
	}
}

// Range is the widths from From to To, both included, in pixels. 0 is no limit.
type Range struct {
	From int `mapstructure:"from"`
	To   int `mapstructure:"to"`
}

func (r Range) validate(f Format) error {
	var errs []error
	for _, limit := range []struct {
		key   string
		value int
	}{{"from", r.From}, {"to", r.To}} {
		if limit.value < 0 || limit.value > MaxSide {
			errs = append(errs, fmt.Errorf("ladder.format_widths.%s.%s: must be from 0 (no limit) to %d pixels (got %d)", f, limit.key, MaxSide, limit.value))
		}
	}
	if r.To > 0 && r.To < r.From {
		errs = append(errs, fmt.Errorf("ladder.format_widths.%s.to: must be at least %d, where the range begins (got %d)", f, r.From, r.To))
	}
	return errors.Join(errs...)
}

// QualityByWidth are qualities that replace the usual one from a width up,
// ascending by width.
type QualityByWidth struct {
	WebP []Step `mapstructure:"webp"`
	JPEG []Step `mapstructure:"jpeg"`
	AVIF []Step `mapstructure:"avif"`
}

func (q QualityByWidth) of(f Format) []Step {
	switch f {
	case WebP:
		return q.WebP
	case AVIF:
		return q.AVIF
	default:
		return q.JPEG
	}
}

// Step is a quality from a width in pixels up, "76@1280".
type Step string

func (s Step) parse() (quality, from int, err error) {
	before, after, _ := strings.Cut(string(s), "@")
	quality, err1 := strconv.Atoi(before)
	from, err2 := strconv.Atoi(after)
	if err1 != nil || err2 != nil || quality < 1 || quality > 100 || from < 1 || from > MaxSide {
		return 0, 0, fmt.Errorf("must be QUALITY@WIDTH, such as 76@1280 (got %q)", s)
	}
	return quality, from, nil
}

func validateSteps(f Format, steps []Step) error {
	var errs []error
	previous := 0
	for i, step := range steps {
		_, from, err := step.parse()
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("ladder.quality_by_width.%s[%d]: %w", f, i, err))
		case from <= previous:
			errs = append(errs, fmt.Errorf("ladder.quality_by_width.%s[%d]: must begin at a greater width than the one before it, %d (got %q)", f, i, previous, step))
		default:
			previous = from
		}
	}
	return errors.Join(errs...)
}
