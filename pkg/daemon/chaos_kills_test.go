package daemon_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
)

// weapons are what befalls a codec process: the kernel's killer for want of
// memory, a fault of a decoder, and a decoder that never comes back.
var weapons = []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGSTOP}

// killing is what the uploads of one run got.
type killing struct {
	seed    uint64
	mu      sync.Mutex
	answers map[string]int
	struck  map[syscall.Signal]int
	inVain  int // uploads that found no process to strike
	crashes int // processes that died at work
	unborn  int // and before they greeted
}

// killTimeout is codec.timeout in these tests. A process that is stopped costs
// an upload that long; an image takes a small part of it.
const killTimeout = "5s"

func TestChaosCodecProcessesAreKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	// Most of the time goes by in waiting for processes that were stopped, so
	// the long form has several daemons.
	daemons := min(5, (*chaos.kills+29)/30)
	k := &killing{seed: daemontest.Seed(t), answers: make(map[string]int), struck: make(map[syscall.Signal]int)}
	var next atomic.Int64
	began := time.Now()
	t.Run("daemons", func(t *testing.T) {
		for i := range daemons {
			t.Run(strconv.Itoa(i+1), func(t *testing.T) {
				t.Parallel()
				underFire(t, &next, k)
			})
		}
	})
	if t.Failed() {
		return
	}
	figure(t, "uploads under fire", "%d to %d daemons in %.0f s (seed %d)", *chaos.kills, daemons, time.Since(began).Seconds(), k.seed)
	for _, signal := range weapons {
		figure(t, "  "+signal.String()+" at a random moment", "%d", k.struck[signal])
	}
	figure(t, "  no process was there to be struck", "%d", k.inVain)
	for _, verdict := range slices.Sorted(maps.Keys(k.answers)) {
		figure(t, "  answered "+verdict, "%d", k.answers[verdict])
	}
	figure(t, "  codec processes that died at work", "%d", k.crashes)
	figure(t, "  codec processes that died before they greeted", "%d", k.unborn)
	figure(t, "  lost, half visible, not made afterwards", "0")
}

// underFire runs one daemon through its share of the uploads.
func underFire(t *testing.T, next *atomic.Int64, k *killing) {
	p := daemontest.StartProcess(t, "log.level=debug", "ladder.widths=160,320,480", "codec.processes=2", "codec.timeout="+killTimeout)
	base := daemontest.JPEG(t, gradient(480, 320), 85)
	var mine sync.Map // the sources that this daemon got
	failed := new(atomic.Int64)
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for i := next.Add(1); i <= int64(*chaos.kills) && !t.Failed(); i = next.Add(1) {
				source := fmt.Appendf(slices.Clone(base), "%d", i)
				mine.Store(i, source)
				verdict, err := uploadUnderFire(p, source, rand.New(rand.NewPCG(k.seed, uint64(i))), k)
				if err != nil {
					t.Errorf("upload %d: %v", i, err)
				}
				if verdict == "processing_failed" {
					failed.Add(1)
				}
			}
		})
	}
	clients.Wait()
	p.CheckNothingLeft()
	if n := len(p.Quarantined()); n != int(failed.Load()) {
		t.Errorf("%d sources are in quarantine, want the %d that failed", n, failed.Load())
	}
	k.mu.Lock()
	k.crashes += int(p.Metric("optimizerd_codec_crashes_total"))
	k.unborn += bytes.Count(daemontest.ReadFile(t, p.LogFile), []byte("codec died before its greeting"))
	k.mu.Unlock()
	// The quarantine holds images that nothing is wrong with. Cleared, they
	// are made like all others.
	store, err := quarantine.Open(p.Path(quarantine.Folder), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Clear(); err != nil {
		t.Fatal(err)
	}
	mine.Range(func(_, source any) bool {
		p.CheckMakes(source.([]byte))
		return true
	})
	a, err := p.Try(http.MethodGet, "/readyz", nil)
	if err != nil || a.StatusCode != http.StatusOK || bytes.Contains(a.Body, []byte("cannot")) {
		t.Errorf("readyz afterwards: %s, %v; want all ready and no format switched off", a.Body, err)
	}
	p.CheckNothingLeft()
}

// uploadUnderFire uploads, and has one codec process struck meanwhile.
func uploadUnderFire(p *daemontest.Process, source []byte, r *rand.Rand, k *killing) (verdict string, err error) {
	signal, moment := weapons[r.IntN(len(weapons))], time.Duration(r.IntN(100))*time.Millisecond
	pick := r.IntN(1 << 20)
	struck := make(chan bool)
	answered := make(chan struct{})
	go func() {
		select {
		case <-time.After(moment):
		case <-answered: // too late for this one: an idle process then
		}
		pids := p.Children()
		if signal == syscall.SIGSTOP && *chaos.kills <= shortKills { // else it takes 30 s
			pids = slices.DeleteFunc(pids, func(pid int) bool { return !hasGreeted(p, pid) })
		}
		struck <- len(pids) > 0 && p.SignalChild(pids[pick%len(pids)], signal)
	}()
	a, err := p.TryUpload(source)
	close(answered)
	hit := <-struck
	if err != nil {
		return "", err
	}
	if verdict, err = a.Verdict(); err != nil {
		return "", fmt.Errorf("with %v at %v: %w", signal, moment, err)
	}
	k.mu.Lock()
	k.answers[verdict]++
	if hit {
		k.struck[signal]++
	} else {
		k.inVain++
	}
	k.mu.Unlock()
	if verdict != "made" {
		return verdict, halfVisible(&p.Client)
	}
	m, err := p.CheckSet(a, source)
	if err != nil {
		return verdict, err
	}
	return verdict, p.Delete(m.ID)
}

// hasGreeted reports whether the log says that this child has started well.
func hasGreeted(p *daemontest.Process, pid int) bool {
	b, err := os.ReadFile(p.LogFile)
	return err == nil && bytes.Contains(b, fmt.Appendf(nil, `"msg":"codec started","pid":%d}`, pid))
}

// halfVisible reports a served folder without its manifest.
func halfVisible(c *daemontest.Client) error {
	entries, err := os.ReadDir(c.Path("files"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		_, err := os.Stat(filepath.Join(c.Path("files"), e.Name(), "manifest.json"))
		_, gone := os.Stat(filepath.Join(c.Path("files"), e.Name())) // another client may have removed the set meanwhile
		if e.Name() != ".staging" && err != nil && gone == nil {
			return fmt.Errorf("%s is served without its manifest", e.Name())
		}
	}
	return nil
}
