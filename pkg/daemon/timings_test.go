package daemon_test

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// inChild are the stages that come one after the other with one encoder, and
// within the stage codec.
var inChild = []ladder.Stage{
	ladder.StageDecode, ladder.StageOrient, ladder.StageResize, ladder.StageEncodeWebP, ladder.StageEncodeJPEG, ladder.StageEncodeAVIF,
}

func allFormats(c *config.Config) {
	c.Ladder.Formats = []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF}
	c.Ladder.Effort.AVIF = 0
}

func TestManifestHasStageTimingsIfEnabled(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, allFormats, func(c *config.Config) { c.Storage.KeepTimings, c.Codec.Threads = true, 1 })
	a := s.Upload(daemontest.BimgImage(t, "test_exif_canon.jpg"))
	m := a.Manifest(t, http.StatusCreated)
	before := slices.DeleteFunc(slices.Clone(ladder.Stages), func(s ladder.Stage) bool { return s == ladder.StageSync })
	if got, want := slices.Sorted(maps.Keys(m.Timings)), slices.Sorted(slices.Values(before)); !slices.Equal(got, want) {
		t.Errorf("timings of %v, want %v", got, want)
	}
	var sum float64
	for stage, ms := range m.Timings {
		if ms < 0 {
			t.Errorf("%s took %v ms", stage, ms)
		}
		if slices.Contains(inChild, stage) {
			sum += ms
		}
	}
	if codec := m.Timings[ladder.StageCodec]; sum > codec+0.001 {
		t.Errorf("the stages of the codec took %v ms, all of it %v: %v", sum, codec, m.Timings)
	}
	if m.Timings[ladder.StageDecode] == 0 || m.Timings[ladder.StageEncodeAVIF] == 0 {
		t.Errorf("decoding or encoding took no time: %v", m.Timings)
	}
	var shown []string
	for _, stage := range ladder.Stages {
		shown = append(shown, string(stage))
	}
	header := regexp.MustCompile(`^` + strings.Join(append(shown, "work", "total"), `;dur=\d+\.\d, `) + `;dur=\d+\.\d$`)
	if got := a.Header.Get("Server-Timing"); !header.MatchString(got) {
		t.Errorf("Server-Timing is %q", got)
	}
	var kept manifest.Manifest
	s.Get("/files/"+m.ID+"/manifest.json").Decode(t, &kept, http.StatusOK)
	if !maps.Equal(kept.Timings, m.Timings) {
		t.Errorf("the answer has %v, the file %v", m.Timings, kept.Timings)
	}
}

func TestTimesAreMetricsAndInNoManifestByDefault(t *testing.T) {
	t.Parallel()
	s, keeping := daemontest.Start(t, allFormats), daemontest.Start(t, allFormats, func(c *config.Config) { c.Storage.KeepTimings = true })
	source := daemontest.SmallJPEG(t, 90)
	m := s.Upload(source).Manifest(t, http.StatusCreated)
	if m.Timings != nil {
		t.Errorf("the manifest has %v", m.Timings)
	}
	if with := keeping.Upload(source).Manifest(t, http.StatusCreated); with.ID != m.ID || with.Recipe != m.Recipe {
		t.Errorf("with timings the set is %s of %s, without %s of %s", with.ID, with.Recipe, m.ID, m.Recipe)
	}
	for _, stage := range ladder.Stages {
		series := `optimizerd_stage_seconds_count{stage="` + string(stage) + `"}`
		daemontest.Eventually(t, series, func() bool { return s.Metric(series) == 1 })
	}
	s.Upload(source).Manifest(t, http.StatusOK)
	if n := s.Metric(`optimizerd_stage_seconds_count{stage="decode"}`); n != 1 {
		t.Errorf("a set that was there counts as decoded: %v", n)
	}
}
