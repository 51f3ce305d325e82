//go:build fleet

package fleet

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/servertest"
)

// join returns the queue of a node of the fleet on these servers.
func join(t *testing.T, urls ...string) *Queue {
	t.Helper()
	return joinAs(t, "pi-1", urls...)
}

func options(t *testing.T, name string, urls ...string) Options {
	config := DefaultConfig()
	config.Servers, config.Node, config.Replicas, config.Lease = urls, name, 1, 10*time.Second
	return Options{
		Config: config, Identity: t.Name(), MaxPending: 100, Keep: time.Hour, LongestJob: time.Hour, Log: zaptest.NewLogger(t),
	}
}

func joinAs(t *testing.T, name string, urls ...string) *Queue {
	t.Helper()
	return joinWith(t, options(t, name, urls...))
}

func joinWith(t *testing.T, o Options) *Queue {
	t.Helper()
	f, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	q, err := f.NewQueue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Unlock() }) // the servers may be away
	return q
}

// leaseNext waits for the next job to render.
func leaseNext(t *testing.T, q *Queue) jobs.Lease {
	t.Helper()
	l, err := q.Lease(t.Context(), jobs.Render)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A job that was held in memory is left to its node for as long as that lives. If the
// node cannot record that it returns the job, it is the one that has to take it again.
func TestFleetJobThatItsNodeReturnedInVainIsTakenAgain(t *testing.T) {
	link := fleettest.NewLink(t, fleettest.Start(t, 1).Servers[0])
	q := join(t, link.URL)
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	ticket := place.Hold(newRecord(t).job)
	first := leaseNext(t, q)
	if err := ticket.Record(); err != nil {
		t.Fatal(err)
	}
	link.Cut()
	if err := first.Return(); fault.CodeOf(err) != fault.Unavailable {
		t.Fatalf("got %v", err)
	}
	link.Restore()
	second := leaseNext(t, q)
	if _, err := second.End(nil); err != nil {
		t.Fatal(err)
	}
	if err := second.Record(); err != nil {
		t.Fatal(err)
	}
	second.Wake()
	if j, err := q.Get(ticket.Job().ID); err != nil || j.Status != job.Completed {
		t.Errorf("the job is %s, %v", j.Status, err)
	}
}

// A node whose store is out of reach cannot finish a job.
func TestFleetNodeThatIsNotReadyTakesNoJobs(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	away := errors.New("the store is out of reach")
	q.OnlyWhile(func() error { return away })
	j := newRecord(t).job
	putJob(t, q, j)
	if e, err := q.tryLease(jobs.Render); e != nil || err != nil {
		t.Fatalf("got %+v, %v", e, err)
	}
	away = nil
	if l := leaseNext(t, q); l.Job().ID != j.ID || l.Job().Attempts != 1 {
		t.Errorf("got %+v", l.Job())
	}
}

// ending is a stream in which something happens just before a message is deleted.
type ending struct {
	jetstream.Stream
	before func()
}

func (e ending) DeleteMsg(ctx context.Context, seq uint64) error {
	e.before()
	return e.Stream.DeleteMsg(ctx, seq)
}

// A node may deliver a webhook, or give it up, at the moment somebody retries it. It is
// sent once more then, under its id.
func TestFleetWebhookThatEndsWhileItIsRetried(t *testing.T) {
	f := join(t, fleettest.Start(t, 1).Servers[0].URL).f
	o, j, tell := &Outbox{f: f}, newRecord(t).job, f.tell
	at := j.CreatedAt
	j.Status, j.FinishedAt, j.Webhooks = job.Completed, &at, []job.Webhook{{URL: "https://a.example"}}
	id := notify.WebhookID(j, 0)
	if err := f.postWebhook(j, 0); err != nil {
		t.Fatal(err)
	}
	end := func(giveUp bool) {
		msg, err := tell.GetLastMsgForSubject(t.Context(), f.subject+"tell."+id)
		if err == nil && giveUp {
			err = f.keepGivenUp(givenUp{id, 3, "away", msg.Data})
		}
		if err == nil {
			err = tell.DeleteMsg(t.Context(), msg.Sequence)
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, givenUp := range []bool{false, true} {
		f.tell = ending{tell, func() { end(givenUp) }}
		if err := o.Retry(id); err != nil {
			t.Errorf("given up before the retry: %v: %v", givenUp, err)
		}
		if all, err := f.Webhooks(t.Context()); err != nil || len(all) != 1 || all[0].GivenUp {
			t.Errorf("given up before the retry: %v: after the retry: %+v, %v", givenUp, all, err)
		}
	}
}

// A start whose acknowledgment was lost was none.
func TestFleetStartThatItsNodeDidNotLearnOfDoesNotCount(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	j := newRecord(t).job
	putJob(t, q, j)
	started := func(process string) {
		t.Helper()
		_, err := q.update(j.ID, func(r *record) bool {
			r.job.Status, r.job.StartedAt = job.Processing, &j.CreatedAt
			r.Starts, r.Process = maxStarts, process
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	started(q.f.instance)
	l := leaseNext(t, q)
	if r, _, err := q.read(j.ID); err != nil || r.Starts != maxStarts {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := l.Return(); err != nil {
		t.Fatal(err)
	}
	started("that of a node which died")
	for got := (job.Job{}); got.Status != job.Failed; { // its message may be on its way back
		if e, err := q.tryLease(jobs.Render); e != nil || err != nil {
			t.Fatalf("got %+v, %v", e, err)
		}
		var err error
		if got, err = q.Get(j.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// A node of an earlier version must not touch what it does not understand.
func TestFleetJobOfANewerLevelIsLeftAlone(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	j := newRecord(t).job
	putJob(t, q, j)
	v, err := q.f.jobs.get(j.ID)
	if err == nil {
		err = q.f.jobs.overwrite(j.ID, []byte(`{"level":2,"job":"of a later version"}`), 0)
	}
	if err != nil || v.data == nil {
		t.Fatal(err)
	}
	if e, err := q.tryLease(jobs.Render); e != nil || err != nil {
		t.Fatalf("it is leased: %+v, %v", e, err)
	}
	if n := q.Counts().Newer; n != 1 {
		t.Errorf("%d jobs count as left to newer nodes", n)
	}
	if err := q.Prune(time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if v, err := q.f.jobs.get(j.ID); err != nil || !strings.Contains(string(v.data), `"level":2`) {
		t.Errorf("the record is %s, %v", v.data, err)
	}
	info, err := q.f.work.Info(t.Context())
	if err != nil || info.State.Msgs != 1 {
		t.Errorf("there is no message for the newer nodes: %+v, %v", info, err)
	}
}

func TestFleetDataOfAnotherFormatAreRefused(t *testing.T) {
	url := fleettest.Start(t, 1).Servers[0].URL
	if err := join(t, url).f.state.overwrite("format", []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	const want = `the data of fleet main has format "2", this version supports 1: upgrade this node`
	if _, err := Open(t.Context(), options(t, "pi-2", url)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFleetAnotherNodeDoesTheHousekeepingOfOneThatDied(t *testing.T) {
	url := fleettest.Start(t, 1).Servers[0].URL
	first, second := joinAs(t, "pi-1", url).f, joinAs(t, "pi-2", url).f
	for range 2 {
		if !first.Elected() || second.Elected() {
			t.Fatal("not exactly the first node is elected")
		}
	}
	v, err := second.state.get(nodePrefix + first.node)
	if err == nil {
		err = second.state.remove(nodePrefix+first.node, v.revision) // as if its time had passed
	}
	if err != nil {
		t.Fatal(err)
	}
	if !second.Elected() || first.Elected() {
		t.Error("the second node does not take over")
	}
}

func TestFleetAnotherNodeFinishesADeletionAfterAMinute(t *testing.T) {
	url := fleettest.Start(t, 1).Servers[0].URL
	id := strings.Repeat("a", 26)
	mine, theirs := joinAs(t, "pi-1", url).f.NewIndex(), joinAs(t, "pi-2", url).f.NewIndex()
	seen := make(chan string, 4)
	if err := theirs.Load(func(string, time.Time) {}, func(id string) { seen <- id }); err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := mine.Mark(id, 0); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != id {
		t.Fatalf("the other node sees %s deleted", got)
	}
	marked := func() []string {
		ids, err := theirs.Marked()
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if ids := marked(); len(ids) != 0 {
		t.Errorf("%v are taken over at once", ids)
	}
	theirs.mu.Lock()
	theirs.deleting[id] = mark{theirs.deleting[id].revision, time.Now().Add(-takeOver - time.Second)}
	theirs.mu.Unlock()
	if ids := marked(); !slices.Equal(ids, []string{id}) {
		t.Errorf("%v are taken over after a minute, want %s", ids, id)
	}
}

func TestFleetServersHaveTheCertificatesOfTheScript(t *testing.T) {
	dir, address, other := t.TempDir(), servertest.FreeAddress(t), servertest.FreeAddress(t)
	host, _, _ := strings.Cut(address, ":")
	if out, err := exec.CommandContext(t.Context(), "../../scripts/fleet-ca", dir, host).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	certificate := filepath.Join(dir, host)
	for _, a := range []string{address, other} {
		fleettest.StartTLS(t, a, certificate+".pem", certificate+".key")
	}
	o := options(t, "pi-1", "tls://"+address)
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "is not signed by fleet.ca_file") {
		t.Errorf("without ca_file: %v", err)
	}
	o.CAFile = filepath.Join(dir, "ca.pem")
	f, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	o.Servers = []string{"tls://" + other}
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "its certificate is for another name") {
		t.Errorf("a server with the certificate of another: %v", err)
	}
}
