package imaging

import (
	"slices"
	"sync"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// schedule decides which file is encoded next.
//
// Files that are no smaller than their fallback's are omitted, and encoding them
// first is wasted. The smaller a rung, the less a better format saves: if an
// image's WebP is no smaller than its JPEG at both the largest and the smallest
// rung, it is no smaller in between. So those two decide, and the rungs
// between them are encoded without the formats that both omitted. The smallest
// rung decides first: it costs a hundredth of the ladder, and most images pass it,
// so that nothing waits for the largest one.
//
// Files of the last fallback, JPEG, are never in doubt. They keep the other threads
// busy meanwhile, the largest one while the smaller rungs are made.
type schedule struct {
	mu      sync.Mutex
	changed sync.Cond
	ready   []*task // in the order in which they begin
	gates   []gate  // in the order in which they open
	stopped bool
}

// gate holds tasks back until all batches that decide about them are delivered.
type gate struct {
	deciding []*batch
	tasks    []*task
}

// schedule orders the tasks.
func (w *work) schedule(tasks []*task, batches []*batch) *schedule {
	s := &schedule{ready: tasks}
	s.changed.L = &s.mu
	if !w.ladder || w.animated || len(batches) < 3 || len(w.encoders) < 2 {
		return s
	}
	largest, smallest := batches[0], batches[len(batches)-1]
	var first, deciding, fallbacks, second, third []*task
	for _, t := range tasks {
		fallback := t.encoder.Format == ladder.JPEG
		switch {
		case t.batch == smallest:
			deciding = append(deciding, t)
		case t.batch == largest && fallback:
			first = append(first, t)
		case fallback:
			fallbacks = append(fallbacks, t)
		case t.batch == largest:
			second = append(second, t)
		default:
			third = append(third, t)
		}
	}
	s.ready = slices.Concat(first, deciding, fallbacks)
	s.gates = []gate{{[]*batch{smallest}, second}, {[]*batch{smallest, largest}, third}}
	return s
}

// next returns the next task, and waits while all remaining ones are held back. It
// returns nil if there are no more, or after stop.
func (s *schedule) next() *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready) == 0 && len(s.gates) > 0 && !s.stopped {
		s.changed.Wait() // for the encoder of a deciding file
	}
	if len(s.ready) == 0 || s.stopped {
		return nil
	}
	t := s.ready[0]
	s.ready = s.ready[1:]
	return t
}

// stop ends the schedule early.
func (s *schedule) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.changed.Broadcast()
}

// delivered opens the gates that a delivered batch decides about, and returns the
// skipped tasks.
func (s *schedule) delivered(b *batch) (skipped []*task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.delivered = true
	for len(s.gates) > 0 && !slices.ContainsFunc(s.gates[0].deciding, func(b *batch) bool { return !b.delivered }) {
		opened := s.gates[:1]
		doubtful := inDoubt(s.gates[0].deciding)
		if len(doubtful) == 0 {
			opened = s.gates
		}
		s.gates = s.gates[len(opened):]
		for _, g := range opened {
			s.ready = append(s.ready, g.tasks...)
		}
		if len(s.gates) == 0 {
			s.ready, skipped = without(s.ready, doubtful)
		}
		slices.SortStableFunc(s.ready, costliest)
	}
	s.changed.Broadcast()
	return skipped
}

// inDoubt returns the formats that all of the batches have omitted.
func inDoubt(batches []*batch) []ladder.Format {
	doubtful := slices.Clone(batches[0].notSmaller)
	for _, b := range batches[1:] {
		doubtful = slices.DeleteFunc(doubtful, func(f ladder.Format) bool { return !slices.Contains(b.notSmaller, f) })
	}
	return doubtful
}

// without divides tasks into those of other formats and those of formats.
func without(tasks []*task, formats []ladder.Format) (others, of []*task) {
	for _, t := range tasks {
		if slices.Contains(formats, t.encoder.Format) {
			of = append(of, t)
		} else {
			others = append(others, t)
		}
	}
	return others, of
}
