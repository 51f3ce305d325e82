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

// work is the encoding of one cascade by a few goroutines, each on a thread of
// its own.
type work struct {
	cascade    *cascade
	encoders   []ladder.Encoder // in the recipe's order
	background ladder.RGB
	animated   bool
	places     chan struct{} // the engine's, over all renders
	sink       ladder.Sink
	took       ladder.Timings // resize and encode are added when all is done

	delivery sync.Mutex        // one call of the sink at a time
	omitted  []ladder.Omission // never nil: a manifest lists none as []
}

// task is one file to encode.
type task struct {
	rung    *rung
	encoder ladder.Encoder
	batch   *batch
	took    time.Duration // to encode it
}

// batch collects the files of one rung, which are compared before any is
// delivered.
type batch struct {
	rung    *rung
	mu      sync.Mutex
	files   map[ladder.Format]*encoding
	pending int
}

// add keeps a file and reports whether it was the last one.
func (b *batch) add(f ladder.Format, file *encoding) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files[f] = file
	b.pending--
	return b.pending == 0
}

func (b *batch) free() {
	for _, file := range b.files {
		file.free()
	}
	clear(b.files)
}

// tasks lists the files with the most work first, so that no long one is left
// for the end.
func (w *work) tasks() ([]*task, []*batch) {
	slowest := []ladder.Format{ladder.AVIF, ladder.WebP, ladder.JPEG}
	var tasks []*task
	var batches []*batch
	for _, r := range w.cascade.rungs {
		b := &batch{rung: r, files: make(map[ladder.Format]*encoding), pending: len(r.formats)}
		batches = append(batches, b)
		for _, f := range slowest {
			if slices.Contains(r.formats, f) {
				tasks = append(tasks, &task{rung: r, encoder: w.encoder(f), batch: b})
			}
		}
	}
	return tasks, batches
}

func (w *work) encoder(f ladder.Format) ladder.Encoder {
	i := slices.IndexFunc(w.encoders, func(e ladder.Encoder) bool { return e.Format == f })
	return w.encoders[i]
}

// run does all tasks. The first error ends the work, which comes back when
// every goroutine has ended.
func (w *work) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	tasks, batches := w.tasks()
	queue := make(chan *task, len(tasks))
	for _, t := range tasks {
		queue <- t
	}
	close(queue)

	var workers sync.WaitGroup
	for range min(cap(w.places), len(tasks)) {
		workers.Go(func() {
			onThread(func() {
				if err := w.drain(ctx, queue); err != nil {
					stop(err)
				}
			})
		})
	}
	workers.Wait()
	for _, b := range batches {
		b.free() // those that were not delivered
	}
	for _, r := range w.cascade.rungs {
		w.took[ladder.StageResize] += r.took
	}
	for _, t := range tasks {
		w.took[ladder.EncodeStage(t.encoder.Format)] += t.took
	}
	return context.Cause(ctx)
}

// drain does tasks until there is none left.
func (w *work) drain(ctx context.Context, queue <-chan *task) error {
	for t := range queue {
		file, err := w.encode(ctx, t)
		if err != nil {
			return err
		}
		if t.batch.add(t.encoder.Format, file) {
			if err := w.deliver(ctx, t.batch); err != nil {
				return err
			}
		}
	}
	return nil
}

// encode makes one file, when there is a place for one more encoder.
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
	file, err := p.encode(t.encoder, w.background)
	t.took = time.Since(began)
	if err != nil {
		return nil, createFault(displayName(string(t.encoder.Format))+" image", err)
	}
	return file, nil
}

// deliver hands the files of a rung to the sink, but for those that are not
// worth it.
func (w *work) deliver(ctx context.Context, b *batch) error {
	w.delivery.Lock()
	defer w.delivery.Unlock()
	defer b.free()
	for _, f := range notSmaller(b.sizes(), w.animated, w.cascade.alpha) {
		w.omitted = append(w.omitted, ladder.Omission{Format: f, Width: b.rung.size.Width, Reason: ladder.NotSmaller})
		b.files[f].free()
		delete(b.files, f)
	}
	for _, e := range w.encoders {
		file, ok := b.files[e.Format]
		if !ok {
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

// omissions are the files that were not delivered, by format as in the recipe,
// then by width.
func (w *work) omissions() []ladder.Omission {
	place := make(map[ladder.Format]int)
	for i, e := range w.encoders {
		place[e.Format] = i
	}
	slices.SortFunc(w.omitted, func(a, b ladder.Omission) int {
		return cmp.Or(cmp.Compare(place[a.Format], place[b.Format]), cmp.Compare(a.Width, b.Width))
	})
	return w.omitted
}
