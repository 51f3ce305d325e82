package daemon_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

// choke fills the disk, up to about this many bytes, while others write to it.
func (d *disk) choke(free int64) error {
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		return err
	}
	defer f.Close()
	piece := make([]byte, 16<<10)
	for err == nil {
		_, err = f.Write(piece)
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(max(0, info.Size()-free))
	}
	return err
}

// onslaught is what the clients of a disk that fills and empties have got.
type onslaught struct {
	mu       sync.Mutex
	answers  map[int]int
	promised map[string][]byte // by job
	kept     int               // promises
}

func (o *onslaught) count(status int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answers[status]
}

func TestChaosDiskThatFillsUpUnderLoad(t *testing.T) {
	t.Parallel()
	seed := daemontest.Seed(t)
	d := newDisk(t)
	s := daemontest.Start(t, d.use, func(c *config.Config) {
		c.Ladder.Widths, c.Ladder.Quality.JPEG, c.Ladder.Effort.WebP = []int{120, 240}, 95, 0
		c.Codec.Processes = 2
		// On a full disk, jobs that were answered 202 are tried again and again
		// before all others, so that the clients of those get 202 too.
		c.HTTP.SyncWait = 15 * time.Second
	})
	o := &onslaught{answers: make(map[int]int), promised: make(map[string][]byte)}
	stop := make(chan struct{})
	var next atomic.Uint64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !t.Failed() {
				select {
				case <-stop:
					return
				default:
				}
				n := next.Add(1)
				if err := attack(&s.Client, daemontest.JPEG(t, daemontest.Noise(seed<<32+n, 240, 160), 90), n%5 == 0, o); err != nil {
					t.Errorf("upload %d: %v", n, err)
				}
			}
		})
	}
	more := func(what string, status int) {
		n := o.count(status) + 5
		daemontest.Eventually(t, what, func() bool { return o.count(status) >= n || t.Failed() })
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for range *chaos.fills {
		more("images are made while there is space", http.StatusCreated)
		if err := d.choke(r.Int64N(300 << 10)); err != nil {
			t.Error(err)
		}
		for refused := o.count(http.StatusInsufficientStorage); o.count(http.StatusInsufficientStorage) < refused+5 && !t.Failed(); {
			more("something ends while the disk is full", 0)
			if err := d.choke(0); err != nil { // what was refused left space
				t.Error(err)
			}
		}
		d.empty()
		o.checkPromises(&s.Client) // this deletes their sets, which would fill the disk for good
	}
	more("images are made when there is space again", http.StatusCreated)
	close(stop)
	clients.Wait()
	o.checkPromises(&s.Client)
	// queue/running may keep the record of a job whose end found no space to be
	// written, and the spool its source: the next start sees that it is done.
	daemontest.Eventually(t, "the spool has only sources of jobs on record", func() bool { return len(s.Names("spool")) <= len(s.Names("queue/running")) })
	for _, dir := range []string{"queue/pending", "queue/failed", "files/.staging"} {
		s.CheckEmpty(dir)
	}
	if n := s.Metric("optimizerd_codec_crashes_total"); n != 0 {
		t.Errorf("%v codec processes died of it", n)
	}
	s.CheckServes()
	delete(o.answers, 0)
	figure(t, "uploads to a disk that was filled under load", "%d, the disk full %d times", next.Load(), *chaos.fills)
	for _, status := range slices.Sorted(maps.Keys(o.answers)) {
		figure(t, fmt.Sprintf("  answered %d", status), "%d", o.answers[status])
	}
	figure(t, "  of those promised by 202, made in the end", "%d", o.kept)
	figure(t, "  sets damaged or half visible, files left behind", "0")
}

// attack uploads an image, waiting for it or not, and checks and removes what
// was made.
func attack(c *daemontest.Client, source []byte, async bool, o *onslaught) error {
	var options []daemontest.Option
	if async {
		options = append(options, daemontest.Header("Prefer", "respond-async"))
	}
	a, err := c.TryUpload(source, options...)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.answers[a.StatusCode]++
	o.answers[0]++
	o.mu.Unlock()
	switch a.StatusCode {
	case http.StatusCreated:
		m, err := c.CheckSet(a, source)
		if err != nil {
			return err
		}
		return c.Delete(m.ID)
	case http.StatusAccepted:
		var j daemontest.Job
		if err := json.Unmarshal(a.Body, &j); err != nil {
			return err
		}
		o.mu.Lock()
		o.promised[j.ID] = source
		o.mu.Unlock()
		return nil
	case http.StatusInsufficientStorage:
		return halfVisible(c)
	}
	return fmt.Errorf("got %s %.300s, want 201, 202 or 507", a.Status, a.Body)
}

// checkPromises checks and deletes the set of every job that was answered 202 so far.
func (o *onslaught) checkPromises(c *daemontest.Client) {
	c.T.Helper()
	o.mu.Lock()
	promised := o.promised
	o.promised = make(map[string][]byte)
	o.mu.Unlock()
	for id, source := range promised {
		j := c.AwaitJob(id)
		if j.Status != "completed" || j.Output == nil {
			c.T.Errorf("a job that was promised is %+v", j)
			continue
		}
		m, err := c.CheckSet(c.Get(j.Output.URL), source)
		if err == nil {
			err = c.Delete(m.ID)
		}
		if err != nil {
			c.T.Errorf("job %s: %v", id, err)
			continue
		}
		o.kept++
	}
}
