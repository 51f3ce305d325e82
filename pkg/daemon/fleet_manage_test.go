//go:build fleet

package daemon_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// attach looks at the fleet of a node, as a command does.
func attach(t *testing.T, s *daemontest.Server) *fleet.Fleet {
	t.Helper()
	options := s.Config.FleetOptions()
	options.Log = zap.NewNop()
	f, err := fleet.Attach(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // the servers may have ended
	return f
}

// retryWebhook asks the admin listener of a node.
func retryWebhook(t *testing.T, s *daemontest.Server, id string) int {
	t.Helper()
	a, err := http.Post(s.AdminURL+"/webhooks/"+id+"/retry", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	return a.StatusCode
}

func TestFleetWebhooksAreListedAndRetried(t *testing.T) {
	t.Parallel()
	servers, store := fleettest.Start(t, 1), s3test.Start(t)
	r := absent(t, nil)
	s := daemontest.Start(t, inFleet("one", servers, store.URL), atHome)
	j := submitWithWebhook(s, "http://"+r.Listener.Addr().String(), 1)
	f := attach(t, s)
	only := func() (w notify.Webhook) {
		all, err := f.Webhooks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 1 {
			w = all[0]
		}
		return w
	}
	daemontest.Eventually(t, "it waits", func() bool { return s.Logged("webhook delivery failed, will retry") > 0 })
	w := only()
	if w.JobID != j.ID || w.Event != "job.completed" || w.GivenUp || w.URL == "" {
		t.Errorf("the webhook that waits: %+v", w)
	}
	s.Stop()

	strict := daemontest.Start(t, inFleet("two", servers, store.URL), atHome, func(c *config.Config) { c.Fetch.AllowPrivate = false })
	if status := retryWebhook(t, strict, w.ID); status != http.StatusNoContent {
		t.Errorf("retry: %d", status)
	}
	daemontest.Eventually(t, "it is given up", func() bool { return strict.Logged("webhook given up") > 0 })
	daemontest.Eventually(t, "that is listed", func() bool { w := only(); return w.GivenUp && w.LastError != "" && w.ID != "" })
	strict.Stop()

	r.Start()
	last := daemontest.Start(t, inFleet("three", servers, store.URL), atHome)
	if status := retryWebhook(t, last, w.ID); status != http.StatusNoContent {
		t.Errorf("retry of one that was given up: %d", status)
	}
	daemontest.Eventually(t, "it comes", func() bool { return len(r.got) > 0 }) // with what waited to be accepted
	if got := <-r.got; got.id != w.ID || got.Data.ID != j.ID {
		t.Errorf("got %+v, want %s", got, w.ID)
	}
	daemontest.Eventually(t, "none is left", func() bool { return only().ID == "" })
	if status := retryWebhook(t, last, "msg_none"); status != http.StatusNotFound {
		t.Errorf("retry of an unknown one: %d", status)
	}
}

func TestFleetQuarantineIsListedAndCleared(t *testing.T) {
	t.Parallel()
	servers, store := fleettest.Start(t, 1), s3test.Start(t)
	s := daemontest.Start(t, inFleet("one", servers, store.URL))
	q := attach(t, s).NewQuarantine("8.14.1")
	for i, digest := range []string{"aa", "bb"} {
		if err := q.Add(quarantine.Entry{SHA256: digest, Reason: "it died", At: strictjson.At(time.Date(2026, 11, 1+i, 0, 0, 0, 0, time.UTC))}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := q.List()
	if err != nil || len(entries) != 2 || entries[0].SHA256 != "bb" {
		t.Fatalf("got %+v, %v", entries, err)
	}
	if n, err := q.Clear("aa"); n != 1 || err != nil || q.Check("aa") != nil || q.Check("bb") == nil {
		t.Errorf("cleared %d, %v", n, err)
	}
	if n, err := q.Clear(); n != 1 || err != nil || q.Check("bb") != nil {
		t.Errorf("cleared %d, %v", n, err)
	}
}

func TestFleetQuarantineOfManyImagesIsListedFromAfar(t *testing.T) {
	servers, store := fleettest.Start(t, 1), s3test.Start(t)
	s := daemontest.Start(t, inFleet("one", servers, store.URL))
	near := attach(t, s).NewQuarantine("8.14.1")
	const images = 200
	for i := range images {
		if err := near.Add(quarantine.Entry{SHA256: fmt.Sprint(i), At: strictjson.At(time.Now())}); err != nil {
			t.Fatal(err)
		}
	}
	far := fleettest.NewLink(t, servers.Servers[0])
	far.Slow(20 * time.Millisecond) // with a request for each image, these take 8 s
	s.Config.Fleet.Servers = []string{far.URL}
	entries, err := attach(t, s).NewQuarantine("8.14.1").List()
	if err != nil || len(entries) != images {
		t.Errorf("%d images are listed, want %d: %v", len(entries), images, err)
	}
}

func TestFleetCrashesLeadToTheQuarantineOfAllNodes(t *testing.T) {
	t.Parallel()
	servers, store := fleettest.Start(t, 1), s3test.Start(t)
	f := attach(t, daemontest.Start(t, inFleet("one", servers, store.URL)))
	first, second, other := f.NewQuarantine("8.14.1"), f.NewQuarantine("8.14.1"), f.NewQuarantine("8.16.1")
	crash := func(q *fleet.Quarantine, want int) {
		t.Helper()
		if n, err := q.Crashed("aa", "it died"); n != want || err != nil {
			t.Errorf("crash %d, %v; want %d", n, err, want)
		}
	}
	render := func(q *fleet.Quarantine) {
		t.Helper()
		if err := q.Survived("aa"); err != nil {
			t.Error(err)
		}
	}
	accepts := func(q *fleet.Quarantine, crashes int) {
		t.Helper()
		if err := q.Check("aa"); err != nil || q.Before("aa") != crashes {
			t.Errorf("%v, and %d crashes before; want it accepted after %d", err, q.Before("aa"), crashes)
		}
	}
	refuses := func(q *fleet.Quarantine) {
		t.Helper()
		if q.Check("aa") == nil {
			t.Error("it is accepted, want it refused")
		}
	}
	crash(first, 1)
	accepts(second, 1)
	if entries, err := first.List(); len(entries) != 0 || err != nil {
		t.Errorf("after one crash %+v is in quarantine, %v", entries, err)
	}
	render(second)
	accepts(second, 0)
	crash(first, 1)
	crash(second, 2)
	refuses(first)
	accepts(other, 0) // with another version of libvips
	render(other)
	refuses(first)
	crash(other, 1)
	refuses(first)
}
