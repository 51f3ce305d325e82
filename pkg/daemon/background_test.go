package daemon_test

import (
	"fmt"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

// On a machine with one codec process and memory for two, images that nobody waits for
// have a process apart, so that uploads wait for none of them, however many there are.
func TestUploadWaitsForNoImageInTheBackground(t *testing.T) {
	s := daemontest.Prepare(t, daemontest.OneCodec, func(c *config.Config) {
		c.Storage.KeepOriginals, c.Codec.Dedicated = true, true
	})
	gate, started := make(chan struct{}), 0
	s.Hooks = map[string]func(){"codec started": func() {
		if started++; started == 2 { // the first image in the background is in progress
			<-gate
		}
	}}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	m := s.Upload(daemontest.SmallJPEG(t, 1)).Manifest(t, 201)
	var jobs []string
	for i := range 3 {
		job := fmt.Sprintf(`{"input": "image:%s", "options": {"width": %d, "format": "jpeg"}}`, m.ID, 20+i)
		var j variantJob
		create(s, &j, job, daemontest.Header("Priority", "u=7"))
		jobs = append(jobs, j.ID)
	}
	s.AwaitJobs(1, 2)
	for seed := range uint64(3) {
		s.Upload(daemontest.SmallJPEG(t, 2+seed)).Manifest(t, 201)
	}
	s.AwaitJobs(1, 2)
	close(gate)
	for _, id := range jobs {
		if j := endOf(s, id); j.Status != "completed" {
			t.Errorf("%+v", j)
		}
	}
	if started != 2 {
		t.Errorf("%d codec processes were started, want one for all background jobs", started)
	}
}
