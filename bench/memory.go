package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// memoryResult is resident memory in bytes.
type memoryResult struct {
	IdleDaemon, IdleChild int64
	Peak                  map[string]int64 // of fresh processes, for one ladder of the 24 MP photo
	FourAtOnce            int64            // ours, for four such uploads at once
}

// peaks measures fresh processes, our daemon with its defaults: memory that was
// used once is not given back.
func (b *bench) peaks(ctx context.Context) error {
	p, err := b.load(ctx, photo24MP)
	if err != nil {
		return err
	}
	result := memoryResult{Peak: make(map[string]int64)}
	d, err := b.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.stop()
	own, theirs, err := d.memory()
	if err != nil {
		return err
	}
	children, err := d.children()
	if err != nil {
		return err
	}
	result.IdleDaemon, result.IdleChild = own.now, theirs.now/int64(len(children))
	b.progress("memory: %s", ours)
	plan, err := d.plan(ctx, p)
	if err != nil {
		return err
	}
	if result.Peak[ours], err = d.peak(); err != nil {
		return err
	}
	for _, name := range []string{bimg, sharp} {
		b.progress("memory: %s", name)
		c, err := b.peer(ctx, name)
		if err != nil {
			return err
		}
		defer c.stop()
		b.results.about(c.about)
		if _, err := c.render(ctx, p, plan); err != nil {
			return err
		}
		if result.Peak[name], err = c.peak(); err != nil {
			return err
		}
	}
	b.progress("memory: four at once")
	if result.FourAtOnce, err = b.fourAtOnce(ctx, p); err != nil {
		return err
	}
	b.results.Memory = &result
	return nil
}

func (b *bench) fourAtOnce(ctx context.Context, p photo) (int64, error) {
	d, err := b.daemon(ctx)
	if err != nil {
		return 0, err
	}
	defer d.stop()
	group, uploading := errgroup.WithContext(ctx)
	for range 4 {
		group.Go(func() error {
			_, err := d.upload(uploading, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return d.peak()
}
