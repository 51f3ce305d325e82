package job_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

var all = []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF}

func options(t *testing.T, s string) job.Options {
	t.Helper()
	var o job.Options
	if err := json.Unmarshal([]byte(s), &o); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return o
}

func TestOptionsOrderALadderOrOneVariant(t *testing.T) {
	c := ladder.DefaultConfig()
	at := func(n int) ladder.Config {
		d := c
		d.Quality = ladder.Quality{WebP: n, JPEG: n, AVIF: n}
		return d
	}
	high, low := c, c
	high.Quality, low.Quality = c.Presets.High, c.Presets.Low
	for s, want := range map[string]ladder.Recipe{
		`{}`:                             c.Recipe(),
		`null`:                           c.Recipe(),
		`{"quality":"low"}`:              low.Recipe(),
		`{"quality":55}`:                 at(55).Recipe(),
		`{"width":800}`:                  c.Single(ladder.Box{Width: 800}, ladder.WebP),
		`{"width":800,"quality":"high"}`: high.Single(ladder.Box{Width: 800}, ladder.WebP),
		`{"width":800,"height":600,"format":"jpeg","quality":1}`: at(1).Single(ladder.Box{Width: 800, Height: 600}, ladder.JPEG),
		`{"height":600,"format":"avif"}`:                         c.Single(ladder.Box{Width: 2048, Height: 600}, ladder.AVIF),
		`{"format":"avif","quality":"medium"}`:                   c.Single(ladder.Box{}, ladder.AVIF),
		`{"width":2048}`:                                         c.Single(ladder.Box{Width: 2048}, ladder.WebP),
	} {
		got, err := options(t, s).Recipe(c, all)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", s, err, diff)
		}
	}
}

func TestOptionsThatCannotBeMade(t *testing.T) {
	for _, s := range []string{`{"width":2049}`, `{"width":2049,"height":1}`, `{"height":16384}`, `{"width":100000000000000000000}`, `{"height":100000000000000000000}`, `{"format":"avif"}`, `{"width":10,"format":"avif"}`} {
		if _, err := options(t, s).Recipe(ladder.DefaultConfig(), all[:2]); fault.CodeOf(err) != fault.InvalidOptions {
			t.Errorf("%s without AVIF: got %v, want %s", s, err, fault.InvalidOptions)
		}
	}
}

func TestOptionsThatAreNone(t *testing.T) {
	for _, s := range []string{
		`[]`, `"high"`, `{"w":1}`, `{"width":0}`, `{"width":-5}`, `{"width":"800"}`, `{"width":1.5}`, `{"width":1e3}`, `{"width":true}`, `{"width":-100000000000000000000}`, `{"height":0}`,
		`{"format":"gif"}`, `{"format":""}`, `{"quality":"best"}`, `{"quality":""}`, `{"quality":0}`, `{"quality":101}`, `{"quality":100000000000000000000}`, `{"quality":80.5}`, `{"quality":{}}`,
	} {
		var o job.Options
		if err := json.Unmarshal([]byte(s), &o); err == nil {
			t.Errorf("%s is taken for %+v", s, o)
		}
	}
}

func TestOptionsAreGivenBackAsTheyCame(t *testing.T) {
	for _, s := range []string{`{}`, `{"width":800,"format":"webp","quality":"high"}`, `{"height":1,"quality":7}`} {
		b, err := json.Marshal(options(t, s))
		if err != nil || string(b) != s {
			t.Errorf("%s is encoded as %s, %v", s, b, err)
		}
	}
}

func TestJobIsResolvedOnceAndInWork(t *testing.T) {
	j := job.New(job.Job{Input: "https://example.com/cat.jpg", Recipe: ladder.DefaultConfig().Recipe()}, now)
	source := job.Source{SHA256: "ab"}
	if err := j.Resolve(source, "id"); err == nil {
		t.Error("a pending job is resolved")
	}
	if err := j.Start(now); err != nil {
		t.Fatal(err)
	}
	if err := j.Resolve(source, "id"); err != nil || !j.Resolved() || j.ImageID != "id" {
		t.Errorf("got %+v, %v", j, err)
	}
	if err := j.Resolve(source, "id"); err == nil {
		t.Error("a job is resolved twice")
	}
}
