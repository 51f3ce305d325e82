package main

import (
	"context"
	"fmt"
	"slices"
)

// ladderResult is the whole ladder of one photo.
type ladderResult struct {
	Photo       string
	Bytes       int
	Contestants []ladderOf
	Wall        spread // of an upload with the daemon's defaults, seconds
	WallToCPU   spread // that, to the CPU time with one thread
	Others      spread // the share of all cores that other programs had meanwhile
}

// ladderOf is what one contestant took for it.
type ladderOf struct {
	Name  string
	CPU   spread // seconds
	Ratio spread // ours to its, round by round
}

// parallel is our daemon again, with as many threads as it takes by itself.
const parallel = "optimizerd, its own number of threads"

// ladders has each contestant make the ladder of each photo, one after the
// other, so that all see the machine in the same mood, and each round another
// one begins.
func (b *bench) ladders(ctx context.Context) error {
	all, stop, err := b.contestants(ctx)
	if err != nil {
		return err
	}
	defer stop()
	names := []string{ours, parallel, floor, bimg, sharp}
	planner := all[ours].(*daemon)
	for _, name := range names { // the first of anything is slow
		if err := b.warm(ctx, planner, all[name]); err != nil {
			return err
		}
	}
	for _, p := range b.photos {
		plan, err := planner.plan(ctx, p)
		if err != nil {
			return err
		}
		cpu, wall, others := make(map[string][]float64), make(map[string][]float64), make(map[string][]float64)
		for round := range b.rounds {
			for i := range names {
				name := names[(round+i)%len(names)]
				b.progress("ladder: %s, round %d, %s", p.name, round+1, name)
				r, err := all[name].render(ctx, p, plan)
				if err != nil {
					return err
				}
				cpu[name] = append(cpu[name], r.cpu)
				wall[name] = append(wall[name], r.wall)
				others[name] = append(others[name], r.others)
			}
		}
		result := ladderResult{
			Photo: p.name, Bytes: len(p.data),
			Wall: spreadOf(wall[parallel]), WallToCPU: spreadOf(ratios(wall[parallel], cpu[ours])), Others: spreadOf(others[parallel]),
		}
		for _, name := range []string{ours, floor, bimg, sharp} {
			result.Contestants = append(result.Contestants, ladderOf{name, spreadOf(cpu[name]), spreadOf(ratios(cpu[ours], cpu[name]))})
		}
		b.results.Ladder = append(b.results.Ladder, result)
	}
	return nil
}

// contestants starts all of them; ours is there twice.
func (b *bench) contestants(ctx context.Context) (all map[string]contestant, stop func(), err error) {
	all = make(map[string]contestant)
	stop = func() {
		for _, c := range all {
			c.stop()
		}
	}
	for name, settings := range map[string][]string{ours: {oneProcess, oneThread}, parallel: {oneProcess}} {
		d, err := b.daemon(ctx, settings...)
		if err != nil {
			stop()
			return nil, nil, err
		}
		all[name] = d
	}
	for _, name := range []string{floor, bimg, sharp} {
		p, err := b.peer(ctx, name)
		if err != nil {
			stop()
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = p
		b.results.about(p.about)
	}
	return all, stop, nil
}

// warm lets a contestant make the ladder of the smallest photo once.
func (b *bench) warm(ctx context.Context, planner *daemon, c contestant) error {
	smallest := slices.MinFunc(b.photos, func(x, y photo) int { return len(x.data) - len(y.data) })
	plan, err := planner.plan(ctx, smallest)
	if err != nil {
		return err
	}
	_, err = c.render(ctx, smallest, plan)
	return err
}
