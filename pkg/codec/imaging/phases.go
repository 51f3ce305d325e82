package imaging

import (
	"context"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Files that are no smaller than their fallback's are omitted, and encoding them
// first is wasted. The smaller a rung, the less a better format saves: of an
// image whose WebP is no smaller than its JPEG at both the largest and the
// smallest rung, it is no smaller in between. So those two decide, and the rungs
// between them are encoded without the formats that both omitted. The smallest
// rung comes first: it costs a hundredth of the ladder, and most images pass it,
// so that nothing waits for their largest one.

// phase is a number of tasks. All end before the next phase begins, which is
// skipped where no format is in doubt.
type phase struct {
	tasks   []*task
	decided []*batch // those that must have omitted a format for it to stay in doubt
}

// phases divides the tasks. Files of the last fallback are never in doubt, so
// they keep the threads busy while one file decides.
func (w *work) phases(tasks []*task, batches []*batch) []phase {
	if !w.ladder || w.animated || len(batches) < 3 || len(w.encoders) < 2 {
		return []phase{{tasks: tasks}}
	}
	largest, smallest := batches[0], batches[len(batches)-1]
	var first, second, third []*task
	for _, t := range tasks {
		switch {
		case t.batch == smallest, t.batch == largest && t.encoder.Format == ladder.JPEG:
			first = append(first, t)
		case t.batch == largest, t.encoder.Format == ladder.JPEG:
			second = append(second, t)
		default:
			third = append(third, t)
		}
	}
	slices.SortStableFunc(first, func(a, b *task) int { return a.rung.size.Width - b.rung.size.Width })
	return []phase{{first, []*batch{smallest}}, {second, []*batch{smallest, largest}}, {tasks: third}}
}

// runPhases runs all tasks. Once no format is in doubt, what is left runs as one
// phase.
func (w *work) runPhases(ctx context.Context, phases []phase) error {
	for i := range phases {
		p := &phases[i]
		if err := w.runTasks(ctx, p.tasks); err != nil {
			return err
		}
		if p.decided == nil {
			return nil
		}
		doubtful := inDoubt(p.decided)
		if len(doubtful) == 0 {
			return w.runTasks(ctx, rest(phases[i+1:]))
		}
		if next := &phases[i+1]; next.decided == nil {
			if err := w.skip(ctx, next, doubtful); err != nil {
				return err
			}
		}
	}
	return nil
}

// inDoubt returns the formats that all of the batches have omitted.
func inDoubt(batches []*batch) []ladder.Format {
	doubtful := slices.Clone(batches[0].notSmaller)
	for _, b := range batches[1:] {
		doubtful = slices.DeleteFunc(doubtful, func(f ladder.Format) bool { return !slices.Contains(b.notSmaller, f) })
	}
	return doubtful
}

// rest returns the tasks of phases, the most expensive first.
func rest(phases []phase) (tasks []*task) {
	for _, p := range phases {
		tasks = append(tasks, p.tasks...)
	}
	slices.SortStableFunc(tasks, costliest)
	return tasks
}

// skip omits the files of some formats, which are not encoded.
func (w *work) skip(ctx context.Context, p *phase, formats []ladder.Format) error {
	var left []*task
	for _, t := range p.tasks {
		if !slices.Contains(formats, t.encoder.Format) {
			left = append(left, t)
			continue
		}
		t.rung.release()
		if t.batch.skip(t.encoder.Format) {
			if err := w.deliver(ctx, t.batch); err != nil {
				return err
			}
		}
	}
	p.tasks = left
	return nil
}
