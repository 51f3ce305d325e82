package imaging

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

var white = ladder.RGB{255, 255, 255}

// Render makes the ladder of the picture in src, which it reads from the start
// and does not close, and hands each file to sink as soon as its rung is done.
//
// Limits are taken as they are: a zero allows nothing. What is wrong with the
// picture is told by a *fault.Error, before sink is called at all where the
// header shows it. An error of the sink comes back as it is, and so does that
// of ctx, which is looked at between steps: a decoder or encoder that runs
// cannot be stopped. When Render returns, nothing of it runs any more and src
// may be closed.
func (e *Engine) Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (summary ladder.Summary, err error) {
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
	l, h, err := e.probe(src)
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
	if need := estimate(h, shrink, rungs, recipe.Encoders, cap(e.encoders)); need > limits.MaxMemory {
		return ladder.Summary{}, tooMuchMemory(h, need, limits.MaxMemory)
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
	return e.climbDown(ctx, newCascade(top, rungs, plan.Variants), recipe, h.frames > 1, sink, took)
}

// canEncode reports the first format of the recipe that this libvips cannot
// write.
func (e *Engine) canEncode(recipe ladder.Recipe) error {
	for _, enc := range recipe.Encoders {
		if !slices.Contains(e.versions.Outputs, enc.Format) {
			return noEncoder(string(enc.Format))
		}
	}
	return nil
}

// wantedRungs are the rungs that some variant needs, the largest first. Where
// no format can hold any, the smallest stands in, for the summary.
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

// decode makes the top rung of a file.
func decode(src *os.File, l loader, h header, shrink int, top ladder.Rung, took ladder.Timings) (*picture, error) {
	frames := 1
	if h.frames > 1 {
		frames = -1
	}
	began := time.Now()
	if h.noEnd && !jpegIsComplete(src, h.edit) {
		return nil, cutShort(h.format)
	}
	p, err := open(src, opening{loader: l, frames: frames, shrink: shrink, edit: h.edit})
	if err != nil {
		return nil, badHeader(h.format, err)
	}
	defer p.free()
	width, height := h.upright(top.Width, top.Height)
	rung, turned, err := p.decode(h, width, height)
	if err != nil {
		return nil, badPixels(h.format, err)
	}
	took.Since(began.Add(turned), ladder.StageDecode)
	took[ladder.StageOrient] = turned
	return rung, nil
}

// climbDown encodes all rungs of a cascade and sums up.
func (e *Engine) climbDown(ctx context.Context, c *cascade, recipe ladder.Recipe, animated bool, sink ladder.Sink, took ladder.Timings) (ladder.Summary, error) {
	defer c.free()
	background := white
	if recipe.Background != nil {
		background = *recipe.Background
	}
	w := work{
		cascade:    c,
		encoders:   recipe.Encoders,
		background: background,
		animated:   animated,
		places:     e.encoders,
		sink:       sink,
		took:       took,
		omitted:    []ladder.Omission{},
	}
	if err := w.run(ctx); err != nil {
		return ladder.Summary{}, err
	}
	summary := ladder.Summary{Omitted: w.omissions(), Timings: took}
	var err error
	began := time.Now()
	if summary.ThumbHash, summary.Color, err = c.summarise(background); err != nil {
		return ladder.Summary{}, notMade("preview of the picture", err)
	}
	took.Since(began, ladder.StageResize)
	return summary, nil
}
