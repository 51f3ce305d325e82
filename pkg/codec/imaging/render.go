package imaging

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

var white = ladder.RGB{255, 255, 255}

// Render renders the ladder of the image in src, which it reads from the start
// and does not close, and passes each file to sink as soon as its rung is done.
//
// Limits are literal: zero allows nothing. Problems with the image are
// returned as a *fault.Error, before the first call of sink if the header
// reveals them. Errors of sink and ctx are returned unchanged. ctx is checked
// between steps: a running decoder or encoder cannot be stopped. When Render
// returns, all its work has ended and src may be closed.
func (e *Engine) Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (summary ladder.Summary, err error) {
	e.heap.take()
	defer e.heap.release()
	onThread(func() { summary, err = e.render(ctx, src, recipe, limits, sink) })
	return summary, err
}

func (e *Engine) render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	if err := e.canEncode(recipe); err != nil {
		return ladder.Summary{}, err
	}
	if err := ctx.Err(); err != nil {
		return ladder.Summary{}, err
	}
	took := make(ladder.Timings)
	began := time.Now()
	l, h, err := e.probe(src, limits)
	took.Since(began, ladder.StageDecode)
	if err != nil {
		return ladder.Summary{}, err
	}
	if err := h.check(limits); err != nil {
		return ladder.Summary{}, err
	}
	source := h.source()
	plan := recipe.Plan(source.Width, source.Height)
	rungs := wantedRungs(plan)
	shrink := h.decoderShrink(h.upright(rungs[0].Width, rungs[0].Height))
	need := estimate(h, shrink, rungs, recipe.Encoders, cap(e.encoders))
	if need > limits.MaxMemory {
		return ladder.Summary{}, tooMuchMemory(h, need, limits.MaxMemory)
	}
	if !e.heap.reserve(need) {
		return ladder.Summary{}, noRoom()
	}
	if err := sink.Opened(source); err != nil {
		return ladder.Summary{}, err
	}
	if err := ctx.Err(); err != nil {
		return ladder.Summary{}, err
	}
	top, err := decode(src, l, h, shrink, rungs[0], took)
	if err != nil {
		return ladder.Summary{}, err
	}
	h.alpha = top.alpha()
	if need := encodingEstimate(h, rungs, recipe.Encoders, cap(e.encoders)); need > limits.MaxMemory {
		top.free()
		return ladder.Summary{}, tooMuchMemory(h, need, limits.MaxMemory)
	}
	return e.encodeAll(ctx, newCascade(top, h.frames > 1, rungs, plan.Variants), recipe, h, sink, took)
}

// canEncode returns an error if libvips cannot write one of the recipe's
// formats.
func (e *Engine) canEncode(recipe ladder.Recipe) error {
	for _, enc := range recipe.Encoders {
		if !slices.Contains(e.versions.Outputs, enc.Format) {
			return noEncoder(string(enc.Format))
		}
	}
	return nil
}

// wantedRungs returns the rungs needed by a variant, largest first. If there
// are none because no format can hold them, it returns the smallest, for the
// summary.
func wantedRungs(plan ladder.Plan) []ladder.Rung {
	var rungs []ladder.Rung
	for _, r := range slices.Backward(plan.Rungs) {
		wanted := slices.ContainsFunc(plan.Variants, func(v ladder.Variant) bool { return v.Width == r.Width })
		if wanted {
			rungs = append(rungs, r)
		}
	}
	if rungs == nil {
		rungs = plan.Rungs[:1]
	}
	return rungs
}

// decode decodes a file into the top rung.
func decode(src *os.File, l loader, h header, shrink int, top ladder.Rung, took ladder.Timings) (*vipsImage, error) {
	if h.format == imagefile.GIF {
		return decodeGIF(h, top, took)
	}
	frames := 1
	if h.frames > 1 {
		frames = -1
	}
	began := time.Now()
	if h.noEnd {
		if err := jpegComplete(src, h.edit); err != nil {
			return nil, badPixels(h.format, err)
		}
	}
	p, err := open(src, opening{loader: l, frames: frames, shrink: shrink, edit: h.edit})
	if err != nil {
		return nil, decoderFault(src, l, err)
	}
	width, height := h.upright(top.Width, top.Height)
	rung, err := p.decode(h, width, height)
	p.free() // a decoder uses more memory than the rung, which is copied next
	if err != nil {
		return nil, decoderFault(src, l, err)
	}
	took.Since(began, ladder.StageDecode)
	began = time.Now()
	if h.orientation > 1 {
		if rung, err = rung.upright(h.orientation); err != nil {
			return nil, decoderFault(src, l, err)
		}
	}
	took.Since(began, ladder.StageOrient)
	began = time.Now()
	if rung, err = rung.finish(); err != nil {
		return nil, decoderFault(src, l, err)
	}
	took.Since(began, ladder.StageDecode)
	return rung, nil
}

// encodeAll encodes all rungs of a cascade and returns the summary.
func (e *Engine) encodeAll(ctx context.Context, c *cascade, recipe ladder.Recipe, h header, sink ladder.Sink, took ladder.Timings) (ladder.Summary, error) {
	defer c.free()
	background := white
	if recipe.Background != nil {
		background = *recipe.Background
	}
	w := work{
		cascade:     c,
		encoders:    recipe.Encoders,
		background:  background,
		animated:    h.frames > 1,
		ladder:      !recipe.Single(),
		sourceBytes: h.bytes,
		places:      e.encoders,
		sink:        sink,
		took:        took,
		omitted:     []ladder.Omission{},
	}
	if err := w.run(ctx); err != nil {
		return ladder.Summary{}, err
	}
	summary := ladder.Summary{Omitted: w.omissions(), Timings: took}
	var err error
	began := time.Now()
	if summary.ThumbHash, summary.Color, err = c.summarize(background); err != nil {
		return ladder.Summary{}, createFault("preview of the image", err)
	}
	took.Since(began, ladder.StageResize)
	return summary, nil
}
