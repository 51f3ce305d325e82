package imaging

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// work encodes one cascade with several goroutines, each on its own thread.
type work struct {
	cascade     *cascade
	encoders    []ladder.Encoder // in the recipe's order
	background  ladder.RGB
	animated    bool
	mode        animationMode // of animated WebP
	ladder      bool          // not a single variant
	sourceBytes int64
	places      chan struct{} // the engine's encoder slots, shared by all renders
	sink        ladder.Sink
	took        ladder.Timings // resize and encode are added at the end

	delivery sync.Mutex        // serializes calls of the sink
	omitted  []ladder.Omission // never nil: a manifest shows [] for none
}

// task is one file to encode.
type task struct {
	rung    *rung
	encoder ladder.Encoder
	batch   *batch
	took    time.Duration // encoding time
}

// batch collects the files of one rung, which are compared before delivery.
type batch struct {
	rung    *rung
	mu      sync.Mutex
	files   map[ladder.Format]*encoding
	pending int

	delivered  bool            // belongs to the schedule
	skipped    []ladder.Format // not encoded, because they would be no smaller
	notSmaller []ladder.Format // of files; set by the delivery
}

// add stores a file and reports whether it was the last one.
func (b *batch) add(f ladder.Format, file *encoding) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files[f] = file
	b.pending--
	return b.pending == 0
}

// skip records that a file is not made, and reports whether it was the last one.
func (b *batch) skip(f ladder.Format) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.skipped = append(b.skipped, f)
	b.pending--
	return b.pending == 0
}

func (b *batch) free() {
	for _, file := range b.files {
		file.free()
	}
	clear(b.files)
}

// slowest orders the formats by encoding time.
var slowest = []ladder.Format{ladder.AVIF, ladder.WebP, ladder.JPEG}

// costliest orders tasks, the most expensive first.
func costliest(a, b *task) int {
	return cmp.Or(
		cmp.Compare(b.rung.size.Width, a.rung.size.Width),
		cmp.Compare(slices.Index(slowest, a.encoder.Format), slices.Index(slowest, b.encoder.Format)),
	)
}

// tasks returns the tasks, the most expensive first, so that no expensive one runs
// last, and a batch for each rung, the largest first.
func (w *work) tasks() ([]*task, []*batch) {
	var tasks []*task
	var batches []*batch
	for _, r := range w.cascade.rungs {
		b := &batch{rung: r, files: make(map[ladder.Format]*encoding), pending: len(r.formats)}
		batches = append(batches, b)
		for _, f := range slowest {
			if slices.Contains(r.formats, f) {
				tasks = append(tasks, &task{rung: r, encoder: w.encoder(f, r.size.Width), batch: b})
			}
		}
	}
	return tasks, batches
}

func (w *work) encoder(f ladder.Format, width int) ladder.Encoder {
	i := slices.IndexFunc(w.encoders, func(e ladder.Encoder) bool { return e.Format == f && e.Encodes(width) })
	return w.encoders[i]
}

// run runs all tasks. The first error stops the work; run returns when every
// goroutine has ended.
func (w *work) run(ctx context.Context) error {
	tasks, batches := w.tasks()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s := w.schedule(slices.Clone(tasks), batches)
	var workers sync.WaitGroup
	for range min(cap(w.places), len(tasks)) {
		workers.Go(func() {
			onThread(func() {
				if err := w.drain(ctx, s); err != nil {
					stop(err)
					s.stop()
				}
			})
		})
	}
	workers.Wait()
	for _, b := range batches {
		b.free() // files that were not delivered
	}
	for _, r := range w.cascade.rungs {
		w.took[ladder.StageResize] += r.took
	}
	for _, t := range tasks {
		w.took[ladder.EncodeStage(t.encoder.Format)] += t.took
	}
	return context.Cause(ctx)
}

// drain runs tasks until the schedule ends.
func (w *work) drain(ctx context.Context, s *schedule) error {
	for t := s.next(); t != nil; t = s.next() {
		file, err := w.encode(ctx, t)
		if err != nil {
			return err
		}
		if !t.batch.add(t.encoder.Format, file) {
			continue
		}
		if err := w.deliver(ctx, t.batch); err != nil {
			return err
		}
		if err := w.skip(ctx, s.delivered(t.batch)); err != nil {
			return err
		}
	}
	return nil
}

// skip omits the files of skipped tasks.
func (w *work) skip(ctx context.Context, tasks []*task) error {
	for _, t := range tasks {
		t.rung.release()
		if !t.batch.skip(t.encoder.Format) {
			continue
		}
		if err := w.deliver(ctx, t.batch); err != nil {
			return err
		}
	}
	return nil
}

// encode encodes one file once an encoder slot is free.
func (w *work) encode(ctx context.Context, t *task) (*encoding, error) {
	select {
	case w.places <- struct{}{}:
		defer func() { <-w.places }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defer t.rung.release()
	p, err := t.rung.pixels()
	if err != nil {
		return nil, createFault("resized image", err)
	}
	began := time.Now()
	lossless := false
	if w.animated && t.encoder.Format == ladder.WebP {
		if lossless, err = w.mode.decide(w.cascade.smallest(), t.encoder, w.background); err != nil {
			return nil, createFault("animation", err)
		}
	}
	file, err := p.encode(t.encoder, w.background, lossless)
	t.took = time.Since(began)
	if err != nil {
		return nil, createFault(displayName(string(t.encoder.Format))+" image", err)
	}
	if err := p.look(t.encoder.Format, w.background, file.bytes()); err != nil {
		file.free()
		return nil, wrongFile(t.encoder.Format, t.rung.size, err)
	}
	return file, nil
}

// deliver passes the files of a rung to the sink, except those that are omitted.
func (w *work) deliver(ctx context.Context, b *batch) error {
	w.delivery.Lock()
	defer w.delivery.Unlock()
	defer b.free()
	for _, f := range b.skipped {
		w.omitted = append(w.omitted, ladder.Omission{Format: f, Width: b.rung.size.Width, Reason: ladder.NotSmaller})
	}
	b.notSmaller = notSmaller(b.sizes(), w.animated, w.cascade.alpha)
	for _, f := range slices.Concat(b.notSmaller, w.larger(b.sizes())) {
		w.omitted = append(w.omitted, ladder.Omission{Format: f, Width: b.rung.size.Width, Reason: ladder.NotSmaller})
		b.files[f].free()
		delete(b.files, f)
	}
	for _, e := range w.encoders {
		file, ok := b.files[e.Format]
		if !ok || !e.Encodes(b.rung.size.Width) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		v := ladder.Variant{Format: e.Format, Width: b.rung.size.Width, Height: b.rung.size.Height, Bytes: file.size()}
		if err := w.sink.Variant(v, bytes.NewReader(file.bytes())); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) sizes() map[ladder.Format]int64 {
	sizes := make(map[ladder.Format]int64)
	for f, file := range b.files {
		sizes[f] = file.size()
	}
	return sizes
}

// omissions returns the files that were not delivered, by format in the
// recipe's order, then by width.
func (w *work) omissions() []ladder.Omission {
	place := make(map[ladder.Format]int)
	for i, e := range w.encoders {
		place[e.Format] = i // any of several encoders of a format
	}
	slices.SortFunc(w.omitted, func(a, b ladder.Omission) int {
		return cmp.Or(cmp.Compare(place[a.Format], place[b.Format]), cmp.Compare(a.Width, b.Width))
	})
	return w.omitted
}
