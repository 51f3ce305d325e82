package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// daemon is ours: the real program, asked over HTTP.
type daemon struct {
	*process
	url     string
	storage string
	uploads atomic.Int64
}

// Settings of the daemon, as environment variables.
const (
	oneProcess = "OPTIMIZERD_CODEC_PROCESSES=1"
	oneThread  = "OPTIMIZERD_CODEC_THREADS=1"
	public     = "OPTIMIZERD_FILES_PUBLIC=true"
	webpAlone  = "OPTIMIZERD_LADDER_FORMATS=webp"
)

const lessEffortWebP = 2

// lessEffort is what a small board may want.
var lessEffort = []string{fmt.Sprint("OPTIMIZERD_LADDER_EFFORT_WEBP=", lessEffortWebP), "OPTIMIZERD_LADDER_EFFORT_JPEG=0"}

// daemon starts one with its defaults, but for settings.
func (b *bench) daemon(ctx context.Context, settings ...string) (*daemon, error) {
	storage, err := os.MkdirTemp(b.folder, "storage-")
	if err != nil {
		return nil, err
	}
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "OPTIMIZERD_") {
			env = append(env, variable)
		}
	}
	env = append(env, "OPTIMIZERD_CONFIG=", "OPTIMIZERD_HTTP_LISTEN=127.0.0.1:0", "OPTIMIZERD_HTTP_SYNC_WAIT=90s", "OPTIMIZERD_STORAGE_DIR="+storage)
	process, err := start(ctx, b.folder, append(env, settings...), "bin/optimizerd", "serve", "--set", "admin.listen=")
	if err != nil {
		return nil, err
	}
	url, err := process.listening()
	if err != nil {
		process.stop()
		return nil, err
	}
	return &daemon{process: process, url: url, storage: storage}, nil
}

// upload sends a photo, each time with other bytes behind its end: an equal
// upload is answered from the disk.
func (d *daemon) upload(ctx context.Context, p photo) (manifest.Manifest, error) {
	mark := fmt.Sprintf("%08d", d.uploads.Add(1))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+"/v1/images", io.MultiReader(bytes.NewReader(p.data), strings.NewReader(mark)))
	if err != nil {
		return manifest.Manifest{}, err
	}
	request.ContentLength = int64(len(p.data) + len(mark))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return manifest.Manifest{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return manifest.Manifest{}, err
	}
	if response.StatusCode != http.StatusCreated {
		return manifest.Manifest{}, fmt.Errorf("upload of %s: %s: %s", p.name, response.Status, body)
	}
	return manifest.Decode(body)
}

func (d *daemon) set(id string) string { return filepath.Join(d.storage, "files", id) }

// render makes the variants that the daemon is set to, whatever is asked.
func (d *daemon) render(ctx context.Context, p photo, _ []contest.Variant) (run, error) {
	var m manifest.Manifest
	cost, err := d.measure(func() (err error) {
		m, err = d.upload(ctx, p)
		return err
	})
	return run{cost: cost, folder: d.set(m.ID)}, err
}

// plan is what the daemon makes of a photo, so that all others make the same:
// what it left out as no smaller had to be encoded too.
func (d *daemon) plan(ctx context.Context, p photo) ([]contest.Variant, error) {
	m, err := d.upload(ctx, p)
	if err != nil {
		return nil, err
	}
	var plan []contest.Variant
	for _, v := range m.Variants {
		plan = append(plan, variant(v.Format, v.Width))
	}
	for _, o := range m.Omitted {
		if o.Reason == ladder.NotSmaller {
			plan = append(plan, variant(o.Format, o.Width))
		}
	}
	return plan, nil
}

// variant is one with the quality and the effort that the ladder has by default.
func variant(f ladder.Format, width int) contest.Variant {
	e := ladder.DefaultConfig().Single(ladder.Box{Width: width}, f).Encoders[0]
	name := ladder.Variant{Format: f, Width: width}.Name()
	return contest.Variant{Name: name, Format: f, Width: width, Quality: e.Quality, Effort: e.Effort}
}
