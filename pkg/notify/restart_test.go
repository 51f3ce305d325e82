package notify_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/optimizerd/optimizerd/pkg/notify"
)

func TestRestartGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{t: t, statuses: []int{500, 500, 500, 500, 200}}
		o := open(t, dir, answer(r))
		stop := run(t, o)
		j := ended(t, "https://a.example")
		end(t, o, j)
		path := filepath.Join(dir, msg(j)+".json")
		synctest.Wait()
		for record(t, path).Attempts < 3 {
			time.Sleep(time.Until(record(t, path).NextAt))
			synctest.Wait()
		}
		stop()

		o = reopen(t, dir, answer(r))
		run(t, o)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		within(t, r.waits(), []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second})
		for _, id := range r.ids() {
			if id != msg(j) {
				t.Errorf("it was delivered as %s, want %s", id, msg(j))
			}
		}
		wantFiles(t, dir)
		wantStats(t, o, notify.Stats{Delivered: 1, Failed: 1})
	})
}

func TestStopLetsDeliveriesInFlightEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{t: t, statuses: []int{200}}
		o := open(t, t.TempDir(), roundTrip(func(req *http.Request) (*http.Response, error) {
			time.Sleep(4 * time.Second)
			return answer(r)(req)
		}))
		stop := run(t, o)
		end(t, o, ended(t, "https://a.example"))
		synctest.Wait()
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("it took %v, want the time of the receiver", took)
		}
		wantStats(t, o, notify.Stats{Delivered: 1})
	})
}

func TestStopCancelsDeliveriesThatTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{t: t, statuses: []int{200}}
		silent := true
		network := roundTrip(func(req *http.Request) (*http.Response, error) {
			if silent {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return answer(r)(req)
		})
		o := open(t, dir, network)
		stop := run(t, o)
		j, later := ended(t, "https://a.example"), ended(t, "https://a.example")
		end(t, o, j)
		synctest.Wait()
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("it took %v, want 5 s", took)
		}
		if e := record(t, filepath.Join(dir, msg(j)+".json")); e.Attempts != 0 {
			t.Errorf("a try that was broken off is counted: %+v", e)
		}
		end(t, o, later) // a job at hand ends while the daemon stops
		wantStats(t, o, notify.Stats{Pending: 2})

		silent = false
		run(t, reopen(t, dir, network))
		synctest.Wait()
		if got := r.ids(); len(got) != 2 {
			t.Errorf("after the next start: %v", got)
		}
	})
}

func TestWebhookIsNotSentBeforeTheEndIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{t: t, statuses: []int{200}}
		o := open(t, dir, answer(r))
		stop := run(t, o)
		j, other := ended(t, "https://a.example", "https://b.example"), ended(t, "https://a.example")
		put(t, o, j)
		put(t, o, other)
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if got := r.ids(); len(got) > 0 {
			t.Fatalf("sent: %v", got)
		}
		stop()

		// A crash: only other's end was on record.
		o = open(t, dir, answer(r))
		wantStats(t, o, notify.Stats{Pending: 3})
		stop = run(t, o)
		synctest.Wait()
		if got := r.ids(); len(got) > 0 {
			t.Fatalf("sent before Recover: %v", got)
		}
		if err := o.Recover(func(id string, _ int) bool { return id == other.ID }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.ids(); !slices.Equal(got, []string{msg(other)}) {
			t.Errorf("sent: %v", got)
		}
		wantFiles(t, dir)

		// The job is done again, and fails to get its end on record once.
		put(t, o, j)
		put(t, o, j)
		wantStats(t, o, notify.Stats{Pending: 2, Delivered: 1})
		o.Release(j.ID)
		synctest.Wait()
		got := r.ids()[1:]
		slices.Sort(got)
		if !slices.Equal(got, []string{msg(j), msg(j) + "_2"}) {
			t.Errorf("sent: %v", got)
		}
		stop()
	})
}

func TestDaemonThatWasOffForDaysStillMakesSomeTries(t *testing.T) {
	for code, want := range map[int]notify.Stats{200: {Delivered: 1}, 500: {Failed: 5, GivenUp: 1}} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			end(t, open(t, dir, nil), ended(t, "https://a.example"))
			time.Sleep(72 * time.Hour)
			o := reopen(t, dir, answer(status(code)))
			run(t, o)
			time.Sleep(time.Hour) // the router is up again by then, or never
			synctest.Wait()
			wantStats(t, o, want)
		})
	}
}

// A context that has ended before Run begins sends nothing.
func TestRunHeedsItsContext(t *testing.T) {
	o := open(t, t.TempDir(), roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("a request was made")
		return nil, errForbidden
	}))
	end(t, o, ended(t, "https://a.example"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Run(ctx); err != nil {
		t.Error(err)
	}
	wantStats(t, o, notify.Stats{Pending: 1})
}

func TestWebhooksSurviveTroubleWithTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{t: t, statuses: []int{200}}
		o := open(t, dir, answer(r))
		j := ended(t, "https://a.example")
		end(t, o, j)
		path := filepath.Join(dir, msg(j)+".json")
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, good[1:], 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, o)
		synctest.Wait()
		wantStats(t, o, notify.Stats{Pending: 1})
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := r.ids(); !slices.Equal(got, []string{msg(j)}) {
			t.Errorf("sent: %v", got)
		}

		// What cannot be moved to failed/ is given up when it can.
		d := deps(t, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errForbidden }))
		o = openWith(t, dir, d)
		if err := os.Remove(filepath.Join(dir, "failed")); err != nil {
			t.Fatal(err)
		}
		run(t, o)
		end(t, o, j)
		synctest.Wait()
		wantFiles(t, dir, msg(j)+".json")
		wantStats(t, o, notify.Stats{Pending: 1, Failed: 1})
		if err := o.Retry(msg(j)); err != nil {
			t.Errorf("an operator cannot retry it: %v", err)
		}
		synctest.Wait()
		wantStats(t, o, notify.Stats{Pending: 1, Failed: 2})
		if err := os.Mkdir(filepath.Join(dir, "failed"), 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(notify.MaxWait)
		synctest.Wait()
		wantFiles(t, dir, "failed/"+msg(j)+".json")
		wantStats(t, o, notify.Stats{Failed: 3, GivenUp: 1})
	})
}
