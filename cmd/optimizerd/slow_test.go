package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// scripts/chaos-daemon sets these.
var (
	slowPairs  = flag.Int("slow-pairs", 0, "how often TestSlowClientsTakeNothingFromTheWork measures with and without; 0 leaves it out")
	slowWindow = flag.Duration("slow-window", 12*time.Second, "how long it measures each time")
)

// slowClients are connections that upload a byte now and a byte then.
type slowClients struct {
	cancel   context.CancelFunc
	group    sync.WaitGroup
	open     atomic.Int64
	statuses [600]atomic.Int64
	gone     atomic.Int64 // ended without an answer
}

// slowly keeps so many of them: each sends a byte a second while sending, and
// is followed by another one when it is answered, if again. An answer after
// again has ended is the last.
func slowly(t *testing.T, s *server, n int, sending, again context.Context) *slowClients {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &slowClients{cancel: cancel}
	body := read(t, testdata(t)+"/test.jpg")
	for range n {
		c.group.Go(func() {
			for first := true; first || again.Err() == nil; first = false {
				status, err := slowUpload(ctx, sending, strings.TrimPrefix(s.url, "http://"), body, &c.open)
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					c.gone.Add(1)
				default:
					c.statuses[status].Add(1)
				}
			}
		})
	}
	return c
}

// stop cuts off those that are left.
func (c *slowClients) stop() {
	c.cancel()
	c.group.Wait()
}

// slowUpload returns the status of the answer. open counts those that wait for
// one.
func slowUpload(ctx, sending context.Context, address string, body []byte, open *atomic.Int64) (status int, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintf(conn, "POST /v1/images HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", address, len(body)); err != nil {
		return 0, err
	}
	open.Add(1)
	defer open.Add(-1)
	answered, stop := context.WithCancel(sending)
	defer stop()
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := range body {
			if _, err := conn.Write(body[i : i+1]); err != nil {
				return // the answer says why
			}
			select {
			case <-tick.C:
			case <-answered.Done():
				return
			}
		}
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

func TestUploadsSucceedBesideSlowClients(t *testing.T) {
	const n = 50
	s := serve(t, t.TempDir(), "http.body_idle=90s", "http.body_rate=0", "ladder.widths=64", "storage.min_free=1")
	slow := slowly(t, s, n, t.Context(), ended())
	await(t, "all slow connections are open", func() bool { return slow.open.Load() == n })
	for seed := range uint64(8) {
		s.optimize(t, speck(t, seed))
	}
	if open := slow.open.Load(); open < n {
		t.Errorf("%d slow connections are open at the end of the uploads, want all %d", open, n)
	}
	slow.stop()
}

func TestClientThatSendsNothingMoreEndsWith408(t *testing.T) {
	const n = 20
	s := serve(t, t.TempDir(), "http.body_idle=1s", "storage.min_free=1")
	silent := slowly(t, s, n, ended(), ended()) // after one byte
	silent.group.Wait()
	if got := silent.statuses[http.StatusRequestTimeout].Load(); got != n {
		t.Errorf("%d of %d silent connections ended with 408, %d without an answer", got, n, silent.gone.Load())
	}
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestSlowClientsTakeNothingFromTheWork(t *testing.T) {
	const n, least = 200, 0.9
	if *slowPairs == 0 {
		t.Skip("a measurement: scripts/chaos-daemon takes it")
	}
	s := serve(t, t.TempDir(), "ladder.widths=320,640", "storage.min_free=1", "log.level=error")
	photo := read(t, testdata(t)+"/test.jpg")
	rate(t, s, photo, time.Second) // warm
	var ratios, with, without []float64
	var cutOff, gone, other int64
	for i := range *slowPairs {
		beside := func() {
			slow := slowly(t, s, n, t.Context(), t.Context())
			defer slow.stop()
			await(t, "all slow connections are open", func() bool { return slow.open.Load() == n })
			with = append(with, rate(t, s, photo, *slowWindow))
			slow.stop()
			cutOff += slow.statuses[http.StatusRequestTimeout].Load()
			gone += slow.gone.Load()
			for status := range slow.statuses {
				if status != http.StatusRequestTimeout {
					other += slow.statuses[status].Load()
				}
			}
		}
		alone := func() { without = append(without, rate(t, s, photo, *slowWindow)) }
		turns := []func(){beside, alone}
		if i%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			turn()
		}
		ratios = append(ratios, with[i]/without[i])
	}
	for _, values := range [][]float64{ratios, with, without} {
		slices.Sort(values)
	}
	median := func(values []float64) float64 { return (values[(len(values)-1)/2] + values[len(values)/2]) / 2 }
	figure(t, "uploads a second alone, median", "%.1f", median(without))
	figure(t, fmt.Sprintf("uploads a second beside %d slow clients, median", n), "%.1f", median(with))
	figure(t, "their ratio, median of pairs (lowest, highest)", "%.3f (%.3f, %.3f; %d pairs)", median(ratios), ratios[0], ratios[len(ratios)-1], len(ratios))
	figure(t, "slow clients that were cut off with 408", "%d", cutOff)
	figure(t, "slow clients that ended otherwise", "%d", gone+other)
	if median(ratios) < least {
		t.Errorf("beside slow clients work goes on at %.3f of its rate, want at least %v", median(ratios), least)
	}
	if gone+other > 0 || cutOff == 0 {
		t.Errorf("%d slow clients ended with 408, %d with another answer, %d without one", cutOff, other, gone)
	}
}

// rate is how many uploads a second a few clients get done within a time. They
// delete what they get, so that the disk does not fill.
func rate(t *testing.T, s *server, photo []byte, window time.Duration) float64 {
	t.Helper()
	var done, sources atomic.Uint64
	var group sync.WaitGroup
	began := time.Now()
	for range 3 {
		group.Go(func() {
			for time.Since(began) < window {
				var m manifest.Manifest
				source := fmt.Appendf(slices.Clone(photo), "%d at %v", sources.Add(1), began.UnixNano())
				answer := s.do(t, http.MethodPost, "/v1/images", source, nil, &m)
				if answer.StatusCode != http.StatusCreated {
					t.Errorf("an upload: %s", answer.Status)
					return
				}
				done.Add(1)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.url+"/v1/images/"+m.ID, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if answer, err = http.DefaultClient.Do(r); err != nil {
					t.Error(err)
					return
				}
				answer.Body.Close()
			}
		})
	}
	group.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}
