package ladder

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// Config holds the settings of the ladder, as named in the configuration file.
type Config struct {
	Widths            []int    `mapstructure:"widths"`
	MaxWidth          int      `mapstructure:"max_width"` // limit for a single variant's width
	Formats           []Format `mapstructure:"formats"`
	Quality           Quality  `mapstructure:"quality"`
	Presets           Presets  `mapstructure:"presets"`
	Effort            Effort   `mapstructure:"effort"`
	ChromaSubsampling string   `mapstructure:"chroma_subsampling"`
	Background        string   `mapstructure:"background"`
}

// Quality is the encoders' nominal quality, 1 to 100. Values of different
// formats are not comparable.
type Quality struct {
	WebP int `mapstructure:"webp"`
	JPEG int `mapstructure:"jpeg"`
	AVIF int `mapstructure:"avif"`
}

// of returns the quality of one format.
func (q Quality) of(f Format) int {
	switch f {
	case WebP:
		return q.WebP
	case AVIF:
		return q.AVIF
	default:
		return q.JPEG
	}
}

// Presets are the qualities that jobs can request by name.
type Presets struct {
	Low    Quality `mapstructure:"low"`
	Medium Quality `mapstructure:"medium"`
	High   Quality `mapstructure:"high"`
}

// Effort is how much time an encoder spends on a smaller file.
type Effort struct {
	WebP int `mapstructure:"webp"` // 0 (fast) to 6
	JPEG int `mapstructure:"jpeg"` // 0 (fast: half the scans) or 1
	AVIF int `mapstructure:"avif"` // 0 (fast) to 8; libvips' 9 takes minutes per image and is not offered
}

// Chroma subsampling of JPEG and AVIF. Lossy WebP always uses 4:2:0.
const (
	Chroma420 = "4:2:0"
	Chroma444 = "4:4:4"
)

// DefaultConfig is the default ladder of the HTTP contract.
func DefaultConfig() Config {
	return Config{
		Widths:   []int{320, 480, 640, 960, 1280, 1600, 2048},
		MaxWidth: 2048,
		Formats:  []Format{WebP, JPEG},
		Quality:  Quality{WebP: 80, JPEG: 80, AVIF: 60},
		Presets: Presets{
			Low:    Quality{WebP: 60, JPEG: 60, AVIF: 45},
			Medium: Quality{WebP: 80, JPEG: 80, AVIF: 60},
			High:   Quality{WebP: 90, JPEG: 90, AVIF: 75},
		},
		Effort:            Effort{WebP: 4, JPEG: 1, AVIF: 2},
		ChromaSubsampling: Chroma420,
		Background:        "#ffffff",
	}
}

// MaxSide is the longest side, in pixels, that every output format can hold.
const MaxSide = 16383

// maxVariants limits the work of one job; a free Worker can pull 21.
const maxVariants = 48

var hexColor = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	var errs []error
	if len(c.Widths) == 0 {
		errs = append(errs, fmt.Errorf("ladder.widths: must list at least one width"))
	}
	for i, w := range c.Widths {
		if w < 1 || w > MaxSide {
			errs = append(errs, fmt.Errorf("ladder.widths[%d]: must be from 1 to %d pixels (got %d)", i, MaxSide, w))
		} else if i > 0 && w <= c.Widths[i-1] {
			errs = append(errs, fmt.Errorf("ladder.widths[%d]: must be greater than %d, the width before it (got %d)", i, c.Widths[i-1], w))
		}
	}
	if len(c.Formats) == 0 {
		errs = append(errs, fmt.Errorf("ladder.formats: must list at least one of %v", formats))
	}
	for i, f := range c.Formats {
		if !f.Valid() {
			errs = append(errs, fmt.Errorf("ladder.formats[%d]: must be one of %v (got %q)", i, formats, f))
		} else if slices.Contains(c.Formats[:i], f) {
			errs = append(errs, fmt.Errorf("ladder.formats[%d]: %q is listed twice", i, f))
		}
	}
	if n := len(c.Widths) * len(c.Formats); n > maxVariants {
		errs = append(errs, fmt.Errorf("ladder.widths: %d widths in %d formats make %d files, more than the limit of %d", len(c.Widths), len(c.Formats), n, maxVariants))
	}
	for _, q := range []struct {
		key string
		Quality
	}{
		{"ladder.quality", c.Quality},
		{"ladder.presets.low", c.Presets.Low},
		{"ladder.presets.medium", c.Presets.Medium},
		{"ladder.presets.high", c.Presets.High},
	} {
		for _, f := range formats {
			if n := q.of(f); n < 1 || n > 100 {
				errs = append(errs, fmt.Errorf("%s.%s: must be from 1 to 100 (got %d)", q.key, f, n))
			}
		}
	}
	for _, r := range []struct {
		key           string
		value, lo, hi int
	}{
		{"ladder.max_width", c.MaxWidth, 1, MaxSide},
		{"ladder.effort.webp", c.Effort.WebP, 0, 6},
		{"ladder.effort.jpeg", c.Effort.JPEG, 0, 1},
		{"ladder.effort.avif", c.Effort.AVIF, 0, 8},
	} {
		if r.value < r.lo || r.value > r.hi {
			errs = append(errs, fmt.Errorf("%s: must be from %d to %d (got %d)", r.key, r.lo, r.hi, r.value))
		}
	}
	if c.ChromaSubsampling != Chroma420 && c.ChromaSubsampling != Chroma444 {
		errs = append(errs, fmt.Errorf("ladder.chroma_subsampling: must be %q or %q (got %q)", Chroma420, Chroma444, c.ChromaSubsampling))
	}
	if !hexColor.MatchString(c.Background) {
		errs = append(errs, fmt.Errorf("ladder.background: must be a color like #ffffff (got %q)", c.Background))
	}
	return errors.Join(errs...)
}

// Writable returns the configured formats that are among outputs, those that a
// codec can write.
func (c Config) Writable(outputs []Format) []Format {
	return slices.DeleteFunc(slices.Clone(c.Formats), func(f Format) bool { return !slices.Contains(outputs, f) })
}

// CheckWritable returns an error if a configured format is not among outputs.
func (c Config) CheckWritable(outputs []Format) error {
	if len(c.Writable(outputs)) == len(c.Formats) {
		return nil
	}
	return fmt.Errorf("ladder.formats: %v is configured, but libvips on this machine writes only %v", c.Formats, outputs)
}

// Recipe returns the recipe of a valid configuration. Settings that change no
// byte, such as the quality of an unused format, are not part of it, and so not
// of the fingerprint.
func (c Config) Recipe() Recipe {
	r := Recipe{Engine: EngineVersion, Widths: slices.Clone(c.Widths)}
	for _, f := range c.Formats {
		c.add(&r, f)
	}
	return r
}

// Single returns the recipe for one variant that fits into a box, with the
// ladder's other settings.
func (c Config) Single(fit Box, f Format) Recipe {
	r := Recipe{Engine: EngineVersion, Fit: &fit}
	c.add(&r, f)
	return r
}

func (c Config) add(r *Recipe, f Format) {
	e := Encoder{Format: f, Quality: c.Quality.of(f)}
	switch f {
	case WebP:
		e.Effort = c.Effort.WebP
	case AVIF:
		e.Effort, e.Chroma = c.Effort.AVIF, c.ChromaSubsampling
	case JPEG:
		e.Effort, e.Chroma = c.Effort.JPEG, c.ChromaSubsampling
		rgb, _ := strconv.ParseUint(c.Background[1:], 16, 24) // Validate has checked for six hex digits
		r.Background = &RGB{byte(rgb >> 16), byte(rgb >> 8), byte(rgb)}
	}
	r.Encoders = append(r.Encoders, e)
}
