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
	Widths            []int          `mapstructure:"widths"`
	MaxWidth          int            `mapstructure:"max_width"` // limit for a single variant's width
	Profile           string         `mapstructure:"profile"`   // sets the defaults of the other settings
	Formats           []Format       `mapstructure:"formats"`
	FormatWidths      FormatWidths   `mapstructure:"format_widths"`
	Quality           Quality        `mapstructure:"quality"`
	QualityByWidth    QualityByWidth `mapstructure:"quality_by_width"`
	Presets           Presets        `mapstructure:"presets"`
	Effort            Effort         `mapstructure:"effort"`
	ChromaSubsampling string         `mapstructure:"chroma_subsampling"`
	Background        string         `mapstructure:"background"`
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
	AVIF int `mapstructure:"avif"` // 0 (fast) or 2 to 8; see Efforts
}

// Efforts returns the efforts of a format, ascending. AVIF has no 1, which is
// libaom's speed 8: it mistakes some photos for screen content and makes them up to
// seven times as large. Nor does it have libvips' 9, which takes minutes per image.
func Efforts(f Format) []int {
	switch f {
	case WebP:
		return []int{0, 1, 2, 3, 4, 5, 6}
	case AVIF:
		return []int{0, 2, 3, 4, 5, 6, 7, 8}
	default:
		return []int{0, 1}
	}
}

// of returns the effort of one format.
func (e Effort) of(f Format) int {
	switch f {
	case WebP:
		return e.WebP
	case AVIF:
		return e.AVIF
	default:
		return e.JPEG
	}
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
		Profile:  DefaultProfile,
		Quality:  Quality{WebP: 80, JPEG: 80, AVIF: 67},
		QualityByWidth: QualityByWidth{
			WebP: []Step{}, JPEG: []Step{}, AVIF: []Step{},
		},
		Presets: Presets{
			Low:    Quality{WebP: 60, JPEG: 60, AVIF: 50},
			Medium: Quality{WebP: 80, JPEG: 80, AVIF: 67},
			High:   Quality{WebP: 90, JPEG: 90, AVIF: 80},
		},
		Effort:            Effort{WebP: 4, JPEG: 1, AVIF: 0},
		ChromaSubsampling: Chroma420,
		Background:        "#ffffff",
	}
}

// MaxSide is the longest side, in pixels, that every output format supports.
const MaxSide = 16383

// maxVariants limits the work of one job; a free Worker can pull 21.
const maxVariants = 48

var hexColor = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains(Profiles(), c.Profile) {
		fail("ladder.profile: must be one of %v (got %q)", Profiles(), c.Profile)
	}
	errs = append(errs, c.validateWidths(), c.validateFormats())
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
				fail("%s.%s: must be from 1 to 100 (got %d)", q.key, f, n)
			}
		}
	}
	for _, f := range formats {
		if e := c.Effort.of(f); !slices.Contains(Efforts(f), e) {
			fail("ladder.effort.%s: must be one of %v (got %d)", f, Efforts(f), e)
		}
	}
	if c.MaxWidth < 1 || c.MaxWidth > MaxSide {
		fail("ladder.max_width: must be from 1 to %d (got %d)", MaxSide, c.MaxWidth)
	}
	if c.ChromaSubsampling != Chroma420 && c.ChromaSubsampling != Chroma444 {
		fail("ladder.chroma_subsampling: must be %q or %q (got %q)", Chroma420, Chroma444, c.ChromaSubsampling)
	}
	if !hexColor.MatchString(c.Background) {
		fail("ladder.background: must be a color like #ffffff (got %q)", c.Background)
	}
	return errors.Join(errs...)
}

func (c Config) validateWidths() error {
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
	if n := len(c.Widths) * len(c.Formats); n > maxVariants {
		errs = append(errs, fmt.Errorf("ladder.widths: %d widths in %d formats make %d files, more than the limit of %d", len(c.Widths), len(c.Formats), n, maxVariants))
	}
	return errors.Join(errs...)
}

func (c Config) validateFormats() error {
	var errs []error
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
	for _, f := range formats {
		errs = append(errs, c.FormatWidths.of(f).validate(f), validateSteps(f, c.QualityByWidth.of(f)))
	}
	if len(c.Formats) > 0 && !c.unlimited() {
		errs = append(errs, fmt.Errorf("ladder.format_widths: one of ladder.formats must have no limits, so that every width has a file"))
	}
	return errors.Join(errs...)
}

// Writable returns the configured formats that are among outputs, those that a
// codec can write.
func (c Config) Writable(outputs []Format) []Format {
	return slices.DeleteFunc(slices.Clone(c.Formats), func(f Format) bool { return !slices.Contains(outputs, f) })
}

// WithFormats returns c with other formats. If none of them is made at every
// width, their limits are removed.
func (c Config) WithFormats(formats []Format) Config {
	c.Formats = formats
	if !c.unlimited() {
		c.FormatWidths = FormatWidths{}
	}
	return c
}

// unlimited reports whether a format is made at every width.
func (c Config) unlimited() bool {
	return slices.ContainsFunc(c.Formats, func(f Format) bool { return c.FormatWidths.of(f) == Range{} })
}

// Unmade returns the configured formats that are limited to widths that the
// ladder does not have.
func (c Config) Unmade() []Format {
	return slices.DeleteFunc(slices.Clone(c.Formats), func(f Format) bool {
		r := c.FormatWidths.of(f)
		return slices.ContainsFunc(c.Widths, Encoder{From: r.From, To: r.To}.Encodes)
	})
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
		c.add(&r, f, c.FormatWidths.of(f))
	}
	return r
}

// Single returns the recipe for one variant that fits into a box, with the
// ladder's other settings. Its format may be one that the ladder does not have
// at this width.
func (c Config) Single(fit Box, f Format) Recipe {
	r := Recipe{Engine: EngineVersion, Fit: &fit}
	c.add(&r, f, Range{})
	return r
}

// add adds an encoder for each quality that the format has in a range.
func (c Config) add(r *Recipe, f Format, within Range) {
	e := Encoder{Format: f, Effort: c.Effort.of(f)}
	switch f {
	case AVIF:
		e.Chroma = c.ChromaSubsampling
	case JPEG:
		e.Chroma = c.ChromaSubsampling
		rgb, _ := strconv.ParseUint(c.Background[1:], 16, 24) // Validate has checked for six hex digits
		r.Background = &RGB{byte(rgb >> 16), byte(rgb >> 8), byte(rgb)}
	}
	e.Quality, e.From = c.Quality.of(f), within.From
	for _, step := range c.QualityByWidth.of(f) {
		quality, from, _ := step.parse() // Validate has checked it
		if within.To > 0 && from > within.To {
			break
		}
		if from > max(e.From, 1) {
			before := e
			before.To = from - 1
			r.Encoders = append(r.Encoders, before)
			e.From = from
		}
		e.Quality = quality
	}
	e.To = within.To
	r.Encoders = append(r.Encoders, e)
}
