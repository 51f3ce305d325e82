package notify_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/notify"
)

// within checks the waits between tries against the plain ones, each by up to
// half more or less.
func within(t *testing.T, waits, plain []time.Duration) {
	t.Helper()
	if len(waits) != len(plain) {
		t.Fatalf("waits: %v, want about %v", waits, plain)
	}
	for i, p := range plain {
		if waits[i] < p/2-time.Millisecond || waits[i] > p+p/2 {
			t.Errorf("wait %d: %v, want %v by half more or less", i+1, waits[i], p)
		}
	}
}

func TestWebhookIsRetriedUnlessItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{t: t, statuses: []int{500, 302, 404, 200}, header: http.Header{"Location": {"https://elsewhere.example"}}}
		rendered := 0
		d := deps(t, answer(r))
		d.Body = func(job.Job) (any, error) { rendered++; return rendered, nil }
		o := openWith(t, dir, d)
		run(t, o)
		j := ended(t, "https://a.example")
		end(t, o, j)
		for i, want := range []string{"receiver answered status 500", "receiver answered status 302", "receiver answered status 404"} {
			synctest.Wait()
			e := record(t, filepath.Join(dir, msg(j)+".json"))
			if e.LastError != want || e.Attempts != i+1 {
				t.Errorf("on record: %+v, want %q as the %d. attempt", e, want, i+1)
			}
			time.Sleep(time.Until(e.NextAt))
		}
		synctest.Wait()
		within(t, r.waits(), []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second})
		for i, got := range r.got {
			if got.id != msg(j) || !strings.Contains(got.body, fmt.Sprintf(`"data":%d}`, i+1)) {
				t.Errorf("try %d is %s with %s", i+1, got.id, got.body)
			}
		}
		wantFiles(t, dir)
		wantStats(t, o, notify.Stats{Delivered: 1, Failed: 3})
	})
}

func TestReceiverThatIsDownGetsItsWebhooksWhenItIsUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{t: t, statuses: []int{200}}
		real := &http.Transport{DisableKeepAlives: true}
		var up atomic.Bool
		o := open(t, dir, roundTrip(func(req *http.Request) (*http.Response, error) {
			if up.Load() {
				return answer(r)(req)
			}
			return real.RoundTrip(req)
		}))
		run(t, o)
		j := ended(t, "http://"+l.Addr().String()+"/hook?token=abc")
		end(t, o, j)
		time.Sleep(time.Minute)
		synctest.Wait()
		e := record(t, filepath.Join(dir, msg(j)+".json"))
		if !strings.Contains(e.LastError, "connection refused") || strings.Contains(e.LastError, "abc") || e.Attempts < 3 {
			t.Errorf("on record: %+v", e)
		}
		up.Store(true)
		time.Sleep(time.Until(e.NextAt))
		synctest.Wait()
		if got := r.ids(); !slices.Equal(got, []string{msg(j)}) {
			t.Errorf("delivered %v", got)
		}
		wantFiles(t, dir)
	})
}

func TestSlowReceiverHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{t: t, statuses: []int{200}}
		o := open(t, dir, roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.URL.Host == "slow.example" {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return answer(r)(req)
		}))
		run(t, o)
		begin := time.Now()
		var slow []job.Job
		for range 20 {
			slow = append(slow, ended(t, "https://slow.example"))
		}
		quick := ended(t, "https://quick.example")
		end(t, o, append(slow, quick)...)
		synctest.Wait()
		if got := r.ids(); !slices.Equal(got, []string{msg(quick)}) || time.Since(begin) > 0 {
			t.Errorf("after %v: %v", time.Since(begin), got)
		}
		wantStats(t, o, notify.Stats{Pending: 20, Delivered: 1})
		time.Sleep(15 * time.Second)
		synctest.Wait()
		wantStats(t, o, notify.Stats{Pending: 20, Delivered: 1, Failed: 2})
		if e := record(t, filepath.Join(dir, msg(slow[0])+".json")); e.LastError != "no response within 15s" {
			t.Errorf("on record: %+v", e)
		}
	})
}

// gate is a network that holds every request until it is let through.
type gate struct {
	pass map[string]chan struct{} // by host

	mu    sync.Mutex
	begun []string       // ids
	held  map[string]int // by host
}

func newGate(hosts ...string) *gate {
	g := &gate{pass: make(map[string]chan struct{}), held: make(map[string]int)}
	for _, h := range hosts {
		g.pass[h] = make(chan struct{})
	}
	return g
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	g.count(host, 1, r.Header.Get("webhook-id"))
	defer g.count(host, -1)
	select {
	case <-g.pass[host]:
		return answer(status(200))(r)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (g *gate) count(host string, n int, begun ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[host] += n
	g.begun = append(g.begun, begun...)
}

// let lets one request to a host through, and waits for what comes of it.
func (g *gate) let(host string) {
	g.pass[host] <- struct{}{}
	synctest.Wait()
}

func TestDeliveriesAtOnceAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate("a", "b", "c", "d", "e")
		o := open(t, t.TempDir(), g)
		run(t, o)
		for range 2 {
			end(t, o, ended(t, "https://a/1"), ended(t, "https://A:443/2")) // one host and port
		}
		for _, host := range []string{"b", "c", "d", "e"} {
			for range 3 {
				end(t, o, ended(t, "https://"+host))
			}
		}
		synctest.Wait()
		want := map[string]int{"a": 1, "A": 1, "b": 2, "c": 2, "d": 2}
		if !maps.Equal(g.held, want) {
			t.Errorf("at once: %v, want %v", g.held, want)
		}
		wantStats(t, o, notify.Stats{Pending: 16})
		for i, host := range []string{"b", "b", "b"} {
			g.let(host)
			wantStats(t, o, notify.Stats{Pending: 15 - i, Delivered: i + 1})
		}
		if g.held["b"] != 0 || g.held["e"] != 2 {
			t.Errorf("when some have ended: %v", g.held)
		}
	})
}

func TestLongestDueIsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate("a", "b", "c", "d", "e")
		o := open(t, t.TempDir(), g)
		run(t, o)
		for _, host := range []string{"a", "b", "c", "d"} {
			end(t, o, ended(t, "https://"+host), ended(t, "https://"+host))
		}
		synctest.Wait()
		g.begun = nil
		early := ended(t, "https://e")
		put(t, o, early)
		time.Sleep(time.Millisecond)
		late := ended(t, "https://e")
		end(t, o, late)
		o.Release(early.ID)
		g.let("a")
		g.let("a")
		if want := []string{msg(early), msg(late)}; !slices.Equal(g.begun, want) {
			t.Errorf("began: %v, want %v", g.begun, want)
		}
	})
}

func TestWebhookIsGivenUpAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{t: t, statuses: []int{503}}
		o := open(t, dir, answer(r))
		run(t, o)
		j := ended(t, "https://a.example")
		end(t, o, j)
		begin := time.Now()
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		last := r.got[len(r.got)-1].at.Sub(begin)
		if last > 24*time.Hour || last < 22*time.Hour || len(r.got) < 24 || len(r.got) > 60 {
			t.Errorf("%d tries, the last after %v", len(r.got), last)
		}
		if longest := slices.Max(r.waits()); longest > 90*time.Minute {
			t.Errorf("the longest wait is %v", longest)
		}
		wantFiles(t, dir, "failed/"+msg(j)+".json")
		if e := record(t, filepath.Join(dir, "failed", msg(j)+".json")); e.LastError != "receiver answered status 503" || e.Attempts != len(r.got) {
			t.Errorf("on record: %+v", e)
		}
		wantStats(t, o, notify.Stats{Failed: len(r.got), GivenUp: 1})
		wantStats(t, reopen(t, dir, nil), notify.Stats{})
	})
}

func TestWebhookToAForbiddenAddressIsGivenUpAtOnce(t *testing.T) {
	for target, want := range map[string]string{
		"https://private.example/?token=abc": errForbidden.Error(),
		"https://a.example:port/?token=abc":  `invalid port ":port" after host`,
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			o := open(t, dir, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errForbidden }))
			run(t, o)
			j := ended(t, target)
			end(t, o, j)
			synctest.Wait()
			wantFiles(t, dir, "failed/"+msg(j)+".json")
			if e := record(t, filepath.Join(dir, "failed", msg(j)+".json")); e.LastError != want || e.Job.Webhooks[0].URL != target {
				t.Errorf("on record: %+v, want %q", e, want)
			}
			wantStats(t, o, notify.Stats{Failed: 1, GivenUp: 1})
		})
	}
}

func TestRecordedErrorIsOneShortLineWithoutTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		target := "https://a.example/hook?token=abc"
		text := ""
		o := open(t, dir, roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, errors.New(text)
		}))
		run(t, o)
		for in, want := range map[string]string{
			"cannot reach\n\t" + target + " now": "cannot reach https://a.example/hook?… now",
			strings.Repeat("ä", 200):             strings.Repeat("ä", 150) + "…",
		} {
			text = in
			j := ended(t, target)
			end(t, o, j)
			synctest.Wait()
			if e := record(t, filepath.Join(dir, msg(j)+".json")); e.LastError != want {
				t.Errorf("on record: %q, want %q", e.LastError, want)
			}
		}
	})
}

func TestJobThatCannotBeShownIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := deps(t, answer(status(200)))
		d.Body = func(job.Job) (any, error) { return nil, errors.New("the image is gone") }
		o := openWith(t, dir, d)
		run(t, o)
		j := ended(t, "https://a.example")
		end(t, o, j)
		synctest.Wait()
		if e := record(t, filepath.Join(dir, msg(j)+".json")); e.LastError != "build body: the image is gone" {
			t.Errorf("on record: %+v", e)
		}
	})
}

func TestRetryAfterIsHonouredWithinReason(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"120":                           2 * time.Minute,
		"86400":                         time.Hour,
		"99999999999":                   time.Hour,
		"Sat, 01 Jan 2000 00:10:00 GMT": 10 * time.Minute, // synctest's clock begins at 2000
		"Sun, 02 Jan 2000 00:00:00 GMT": time.Hour,
		"1":                             0,
		"-5":                            0,
		"soon":                          0,
	} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{t: t, statuses: []int{429, 200}, header: http.Header{"Retry-After": {value}}}
				o := open(t, t.TempDir(), answer(r))
				run(t, o)
				end(t, o, ended(t, "https://a.example"))
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				waits := r.waits()
				if want == 0 {
					within(t, waits, []time.Duration{5 * time.Second})
				} else if !slices.Equal(waits, []time.Duration{want}) {
					t.Errorf("waited %v, want %v", waits, want)
				}
			})
		})
	}
}

func TestClockThatWasAheadHoldsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		j := ended(t, "https://a.example")
		end(t, open(t, dir, nil), j)
		path := filepath.Join(dir, msg(j)+".json")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ahead := strings.Replace(string(b), `"next_at":"2000-`, `"next_at":"2001-`, 1)
		if err := os.WriteFile(path, []byte(ahead), 0o600); err != nil {
			t.Fatal(err)
		}
		o := reopen(t, dir, answer(status(200)))
		run(t, o)
		time.Sleep(time.Hour)
		synctest.Wait()
		wantStats(t, o, notify.Stats{Delivered: 1})
	})
}

func TestWebhooksByTheThousandAreSentOnceEach(t *testing.T) {
	const n = 2_000
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		j := ended(t, "https://a.example")
		end(t, open(t, dir, nil), j)
		b, err := os.ReadFile(filepath.Join(dir, msg(j)+".json"))
		if err != nil {
			t.Fatal(err)
		}
		for range n - 1 { // by hand, without a sync for each
			other := strings.ToLower(ulid.Make().String())
			copied := strings.ReplaceAll(string(b), j.ID[4:], other)
			if err := os.WriteFile(filepath.Join(dir, "msg_"+other+".json"), []byte(copied), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex
		times := make(map[string]int)
		d := deps(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			times[r.Header.Get("webhook-id")]++
			mu.Unlock()
			return answer(status(200))(r)
		}))
		d.Log = zap.NewNop()
		o := openWith(t, dir, d)
		wantStats(t, o, notify.Stats{Pending: n})
		recoverAll(t, o, true)
		run(t, o)
		synctest.Wait()
		wantStats(t, o, notify.Stats{Delivered: n})
		if len(times) != n {
			t.Errorf("%d were sent, want %d", len(times), n)
		}
		wantFiles(t, dir)
	})
}

// A machine without a battery for its clock begins years in the past and then jumps.
// What was written before a jump is on record with a time that was wrong.
func TestClockThatJumpsNeitherHastensNorEndsAttempts(t *testing.T) {
	for name, recorded := range map[string]string{"years ahead": "1990-", "years back": "2010-"} { // synctest's clock begins at 2000
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				r := &receiver{t: t, statuses: []int{503}}
				o := open(t, dir, answer(r))
				run(t, o)
				j := ended(t, "https://a.example")
				put(t, o, j)
				path := filepath.Join(dir, msg(j)+".json")
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for _, field := range []string{"created_at", "next_at"} {
					b = bytes.ReplaceAll(b, []byte(`"`+field+`":"2000-`), []byte(`"`+field+`":"`+recorded))
				}
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				o.Release(j.ID)
				time.Sleep(20 * time.Hour)
				synctest.Wait()
				if tries := len(r.ids()); tries < 15 {
					t.Errorf("%d tries in 20 h", tries)
				}
				wantFiles(t, dir, msg(j)+".json")
				time.Sleep(6 * time.Hour)
				synctest.Wait()
				wantFiles(t, dir, "failed/"+msg(j)+".json")
			})
		})
	}
}
