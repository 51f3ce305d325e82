package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/optimizerd/optimizerd/bench/contest"
)

// The contestants.
const (
	ours  = "optimizerd"
	floor = "floor"
	bimg  = "bimg"
	sharp = "sharp"

	mozjpeg = "mozjpeg" // sharp with all that mozjpeg has: trellis, tables, scans
)

// contestant makes the variants of a photo, and is measured as it does.
type contestant interface {
	render(ctx context.Context, p photo, variants []contest.Variant) (run, error)
	peak() (int64, error)
	stop()
}

// run is what one ladder took, and where its files are.
type run struct {
	cost
	folder string
	parts  *contest.Parts
}

// peer is a contestant that speaks the protocol of package contest.
type peer struct {
	*process
	about  string
	folder string
}

// programs are how the peers are started, from the root of the repository.
var programs = map[string][]string{
	floor: {"bin/bench/floor"},
	bimg:  {"bin/bench/bimg"},
	sharp: {"node", "bench/sharp/sharp.mjs"},

	mozjpeg: {"node", "bench/sharp/sharp.mjs", "mozjpeg"},
}

func (b *bench) peer(ctx context.Context, name string) (*peer, error) {
	return startPeer(ctx, b.folder, programs[name]...)
}

// startPeer starts one, with one thread for libvips, as ours has.
func startPeer(ctx context.Context, folder string, program ...string) (*peer, error) {
	process, err := start(ctx, folder, append(os.Environ(), "VIPS_CONCURRENCY=1"), program[0], program[1:]...)
	if err != nil {
		return nil, err
	}
	var hello contest.Hello
	if err := process.hear(&hello); err != nil {
		process.stop()
		return nil, err
	}
	return &peer{process, hello.About, folder}, nil
}

func (p *peer) render(_ context.Context, photo photo, variants []contest.Variant) (run, error) {
	folder, err := os.MkdirTemp(p.folder, "set-")
	if err != nil {
		return run{}, err
	}
	r := run{folder: folder}
	var answer contest.Answer
	r.cost, err = p.measure(func() error {
		return p.say(contest.Request{Photo: photo.path, Folder: folder, Variants: variants}, &answer)
	})
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return run{}, fmt.Errorf("%s: %s: %w", p.about, photo.name, err)
	}
	if answer.Parts != nil {
		r.parts, r.cpu = answer.Parts, answer.Parts.Total()
	}
	return r, nil
}
