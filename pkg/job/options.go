package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Options say what to make of an image. Without width, height and format that
// is the complete ladder, otherwise a single variant. Zero means not set.
type Options struct {
	Width   int           `json:"width,omitempty"`  // pixels
	Height  int           `json:"height,omitempty"` // pixels; together with width, a box to fit into
	Format  ladder.Format `json:"format,omitempty"`
	Quality Quality       `json:"quality,omitzero"`
}

// Quality is low, medium or high, or a number from 1 to 100.
type Quality struct {
	preset string
	number int
}

// UnmarshalJSON returns an InvalidRequest fault for unknown or invalid options.
func (o *Options) UnmarshalJSON(b []byte) error {
	var given struct {
		Width   *integer       `json:"width"`
		Height  *integer       `json:"height"`
		Format  *ladder.Format `json:"format"`
		Quality *Quality       `json:"quality"`
	}
	err := strictjson.Members(b, "width", "height", "format", "quality")
	if err == nil {
		err = strictjson.Unmarshal(b, &given)
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field != "" {
		return fault.Wrap(fault.InvalidRequest, err, "options.%s must not be a JSON %s.", kind.Field, kind.Value)
	}
	if err != nil {
		return err
	}
	for name, side := range map[string]*integer{"width": given.Width, "height": given.Height} {
		if side != nil && *side < 1 {
			return fault.New(fault.InvalidRequest, "options.%s must be at least 1 pixel.", name)
		}
	}
	if given.Format != nil && !given.Format.Valid() {
		return fault.New(fault.InvalidRequest, "options.format must be webp, jpeg or avif.")
	}
	*o = Options{Width: int(value(given.Width)), Height: int(value(given.Height)), Format: value(given.Format), Quality: value(given.Quality)}
	return nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

var errQuality = fault.New(fault.InvalidRequest, "options.quality must be low, medium, high, or a number from 1 to 100.")

// UnmarshalJSON accepts a preset name or a number.
func (q *Quality) UnmarshalJSON(b []byte) error {
	var preset string
	if json.Unmarshal(b, &preset) == nil {
		*q = Quality{preset: preset}
		switch preset {
		case "low", "medium", "high":
			return nil
		}
		return errQuality
	}
	var number integer
	if json.Unmarshal(b, &number) != nil || number < 1 || number > 100 {
		return errQuality
	}
	*q = Quality{number: int(number)}
	return nil
}

// integer is a JSON integer of any size: one that overflows int becomes the maximum or
// minimum.
type integer int

var digits = regexp.MustCompile(`^-?[0-9]+$`)

// UnmarshalJSON implements json.Unmarshaler.
func (i *integer) UnmarshalJSON(b []byte) error {
	err := json.Unmarshal(b, (*int)(i))
	switch {
	case err == nil || !digits.Match(b):
		return err
	case b[0] == '-':
		*i = math.MinInt
	default:
		*i = math.MaxInt
	}
	return nil
}

// MarshalJSON returns the preset name or the number.
func (q Quality) MarshalJSON() ([]byte, error) {
	if q.preset != "" {
		return json.Marshal(q.preset)
	}
	return json.Marshal(q.number)
}

// configure returns c with this quality, at every width.
func (q Quality) configure(c ladder.Config) ladder.Config {
	if q != (Quality{}) {
		c.QualityByWidth = ladder.QualityByWidth{}
	}
	switch {
	case q.preset == "low":
		c.Quality = c.Presets.Low
	case q.preset == "medium":
		c.Quality = c.Presets.Medium
	case q.preset == "high":
		c.Quality = c.Presets.High
	case q.number > 0:
		c.Quality = ladder.Quality{WebP: q.number, JPEG: q.number, AVIF: q.number}
	}
	return c
}

// Recipe returns the recipe for the options, for an engine that writes the
// given formats. Errors are InvalidOptions faults.
func (o Options) Recipe(c ladder.Config, writes []ladder.Format) (ladder.Recipe, error) {
	c = o.Quality.configure(c)
	if o.Width == 0 && o.Height == 0 && o.Format == "" {
		return c.Recipe(), nil
	}
	fit := ladder.Box{Width: o.Width, Height: o.Height}
	switch {
	case o.Width > c.MaxWidth:
		return ladder.Recipe{}, fault.New(fault.InvalidOptions, "options.width must be at most %d pixels.", c.MaxWidth)
	case o.Height > ladder.MaxSide:
		return ladder.Recipe{}, fault.New(fault.InvalidOptions, "options.height must be at most %d pixels.", ladder.MaxSide)
	case o.Height > 0 && o.Width == 0:
		fit.Width = c.MaxWidth // so a height-only request cannot exceed max_width
	}
	format := o.Format
	if format == "" {
		format = c.Formats[0]
	}
	if !slices.Contains(writes, format) {
		return ladder.Recipe{}, CannotWrite(format)
	}
	return c.Single(fit, format), nil
}

// Key identifies equal work: jobs with equal keys make the same output.
func (j Job) Key() string {
	options, err := json.Marshal(j.Options)
	if err != nil {
		panic(fmt.Sprintf("marshal options: %v", err)) // only names and numbers
	}
	return j.Input + "\n" + string(options)
}

// CannotWrite returns the fault for a job with a format that no codec here writes.
func CannotWrite(format ladder.Format) *fault.Error {
	return fault.New(fault.InvalidOptions, "options.format: this server cannot write %s.", format)
}
