package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/leaktest"
	"github.com/optimizerd/optimizerd/pkg/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leaktest.Settle(m)) }

// The old secret has no prefix, as some generators make them.
var secrets = []string{
	"whsec_TmV3IHNlY3JldCwgMzIgYnl0ZXMgbG9uZywgb2theSE=",
	"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}

var errForbidden = errors.New("refused: 10.0.0.1 is private")

// roundTrip stands for the network where time is that of synctest, which real
// sockets know nothing of.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer is a network on which every receiver is h.
func answer(h http.Handler) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	}
}

// status is a receiver that always says the same.
func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

// receiver takes webhooks and keeps them. It says statuses in turn, and the
// last one from then on.
type receiver struct {
	t        *testing.T
	statuses []int
	header   http.Header // of the answer

	mu  sync.Mutex
	got []received
}

type received struct {
	id   string
	at   time.Time
	body string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	for _, secret := range secrets {
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			r.t.Error(err)
		}
		if err := verifier.Verify(body, req.Header); err != nil {
			r.t.Errorf("verified with one of two secrets: %v", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.statuses[min(len(r.got), len(r.statuses)-1)]
	r.got = append(r.got, received{req.Header.Get("webhook-id"), time.Now(), string(body)})
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
}

// waits are the times between the tries.
func (r *receiver) waits() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var waits []time.Duration
	for i := range r.got[1:] {
		waits = append(waits, r.got[i+1].at.Sub(r.got[i].at))
	}
	return waits
}

// ids are those of the webhooks that came, in order.
func (r *receiver) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for _, g := range r.got {
		ids = append(ids, g.id)
	}
	return ids
}

// ended is a job that has ended well.
func ended(t *testing.T, webhooks ...string) job.Job {
	t.Helper()
	j := job.New(job.Job{
		Source: job.Source{SHA256: "ab"}, Recipe: ladder.DefaultConfig().Recipe(), ImageID: "k3v5",
	}, time.Now())
	for _, u := range webhooks {
		j.Webhooks = append(j.Webhooks, job.Webhook{URL: u, Base: "https://img.example.com"})
	}
	if err := j.Start(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := j.Complete(time.Now()); err != nil {
		t.Fatal(err)
	}
	return j
}

func msg(j job.Job) string { return strings.Replace(j.ID, "job_", "msg_", 1) }

func deps(t *testing.T, network http.RoundTripper) notify.Deps {
	t.Helper()
	return notify.Deps{
		Client: &http.Client{
			Transport:     network,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Body:      func(j job.Job) (any, error) { return map[string]string{"id": j.ID}, nil },
		Permanent: func(err error) bool { return errors.Is(err, errForbidden) },
		Log:       zaptest.NewLogger(t),
	}
}

func openWith(t *testing.T, dir string, d notify.Deps) *notify.Outbox {
	t.Helper()
	o, err := notify.Open(notify.Config{Dir: dir, Secrets: secrets}, d)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func open(t *testing.T, dir string, network http.RoundTripper) *notify.Outbox {
	t.Helper()
	return openWith(t, dir, deps(t, network))
}

// reopen is open after a crash or a stop: every job has ended.
func reopen(t *testing.T, dir string, network http.RoundTripper) *notify.Outbox {
	t.Helper()
	o := open(t, dir, network)
	recoverAll(t, o, true)
	return o
}

func recoverAll(t *testing.T, o *notify.Outbox, ended bool) {
	t.Helper()
	if err := o.Recover(func(string, int) bool { return ended }); err != nil {
		t.Fatal(err)
	}
}

// run delivers until the returned function is called, or the test ends.
func run(t *testing.T, o *notify.Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := o.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-stopped }
	t.Cleanup(stop)
	return stop
}

func put(t *testing.T, o *notify.Outbox, j job.Job) {
	t.Helper()
	if err := o.Put(j); err != nil {
		t.Fatal(err)
	}
}

// end puts and releases, as a worker does around the record of a job's end.
func end(t *testing.T, o *notify.Outbox, jobs ...job.Job) {
	t.Helper()
	for _, j := range jobs {
		put(t, o, j)
		o.Release(j.ID)
	}
}

// files are the names in the outbox and in failed/.
func files(t *testing.T, dir string) []string {
	t.Helper()
	names := []string{}
	for _, pattern := range []string{"*", "failed/*", ".*", "failed/.*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if name, _ := filepath.Rel(dir, p); name != "failed" {
				names = append(names, name)
			}
		}
	}
	return names
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := files(t, dir); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("on disk: %v, want %v", got, want)
	}
}

// record is what an operator reads in an entry's file.
func record(t *testing.T, path string) (e struct {
	Job       job.Job   `json:"job"`
	Attempts  int       `json:"attempts"`
	NextAt    time.Time `json:"next_at"`
	LastError string    `json:"last_error"`
},
) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func wantStats(t *testing.T, o *notify.Outbox, want notify.Stats) {
	t.Helper()
	if got := o.Stats(); got != want {
		t.Errorf("stats: %+v, want %+v", got, want)
	}
}

// Over a real connection.
func TestWebhookIsDeliveredAndSigned(t *testing.T) {
	completed := ended(t)
	failed := ended(t)
	failed.Status, failed.Error = job.Failed, &job.Error{Code: fault.CorruptImage, Message: "Damaged."}
	for kind, j := range map[string]job.Job{"job.completed": completed, "job.failed": failed} {
		t.Run(kind, func(t *testing.T) {
			var header http.Header
			r := &receiver{t: t, statuses: []int{http.StatusNoContent}}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				header = req.Header
				r.ServeHTTP(w, req)
			}))
			defer server.Close()
			j.Webhooks = []job.Webhook{{URL: server.URL + "/hook?token=abc"}}

			dir := t.TempDir()
			lines := make(chan string, 10)
			d := deps(t, server.Client().Transport)
			d.Log = d.Log.WithOptions(zap.Hooks(func(e zapcore.Entry) error {
				_, err := os.Stat(filepath.Join(dir, msg(j)+".json"))
				lines <- fmt.Sprintf("%s, on disk: %t", e.Message, err == nil)
				return nil
			}))
			o := openWith(t, dir, d)
			stop := run(t, o)
			end(t, o, j)
			for _, want := range []string{"webhook stored, on disk: true", "webhook sent, on disk: true", "webhook delivered, on disk: false"} {
				if got := <-lines; got != want {
					t.Errorf("logged %q, want %q", got, want)
				}
			}
			stop()
			want := fmt.Sprintf(`{"type":%q,"timestamp":%q,"data":{"id":%q}}`, kind, j.FinishedAt, j.ID)
			if len(r.got) != 1 || r.got[0].id != msg(j) || r.got[0].body != want {
				t.Errorf("received %+v, want one %s with %s", r.got, msg(j), want)
			}
			if got := header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type: %q", got)
			}
			if first, _, _ := strings.Cut(header.Get("webhook-signature"), " "); !verifies(t, secrets[0], first, header, want) {
				t.Error("the first signature is not by the first secret")
			}
			wantFiles(t, dir)
			wantStats(t, o, notify.Stats{Delivered: 1})
		})
	}
}

func verifies(t *testing.T, secret, signature string, header http.Header, body string) bool {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	header = header.Clone()
	header.Set("webhook-signature", signature)
	return verifier.Verify([]byte(body), header) == nil
}

func TestWebhookHasAnIDForEachTarget(t *testing.T) {
	delivered := make(chan string, 3)
	o := open(t, t.TempDir(), roundTrip(func(r *http.Request) (*http.Response, error) {
		delivered <- r.URL.Host + " " + r.Header.Get("webhook-id")
		return answer(status(200))(r)
	}))
	run(t, o)
	j := ended(t, "https://a.example", "https://b.example", "https://a.example")
	end(t, o, j)
	got := []string{<-delivered, <-delivered, <-delivered}
	slices.Sort(got)
	want := []string{"a.example " + msg(j), "a.example " + msg(j) + "_3", "b.example " + msg(j) + "_2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestJobWithoutWebhooksLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	end(t, o, ended(t))
	o.Release("job_01arz3ndektsv4rrffq69g5fav")
	wantFiles(t, dir)
	wantStats(t, o, notify.Stats{})
}

func TestOutboxTakesOnlyEndedJobs(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	running := ended(t, "https://a.example")
	running.Status = job.Processing
	stranger := ended(t, "https://a.example")
	stranger.ID = "job_/../../x"
	for _, j := range []job.Job{running, stranger} {
		if err := o.Put(j); err == nil {
			t.Errorf("%s, which is %s, was taken", j.ID, j.Status)
		}
	}
	wantFiles(t, dir)
}

func TestOutboxReportsWhatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	j := ended(t, "https://a.example", "https://b.example")
	if err := o.Put(j); err == nil {
		t.Error("no error")
	}
	o.Release(j.ID)
	wantStats(t, o, notify.Stats{})
}

func TestRecordThatSomebodyRemovedIsNotSent(t *testing.T) {
	dir := t.TempDir()
	r := &receiver{t: t, statuses: []int{200}}
	var logged sync.WaitGroup
	logged.Add(1)
	d := deps(t, answer(r))
	d.Log = d.Log.WithOptions(zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "webhook delivered" {
			logged.Done()
		}
		return nil
	}))
	o := openWith(t, dir, d)
	gone, there := ended(t, "https://a.example"), ended(t, "https://b.example")
	end(t, o, gone, there)
	if err := os.Remove(filepath.Join(dir, msg(gone)+".json")); err != nil {
		t.Fatal(err)
	}
	stop := run(t, o)
	logged.Wait()
	stop()
	if got := r.ids(); !slices.Equal(got, []string{msg(there)}) {
		t.Errorf("sent: %v", got)
	}
	wantStats(t, o, notify.Stats{Delivered: 1})
}

func TestUnreadableEntryIsPutAside(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	j, other := ended(t, "https://a.example"), ended(t, "https://b.example")
	end(t, o, j, other)
	path := filepath.Join(dir, msg(j)+".json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty":           nil,
		"half":            good[:len(good)/2],
		"unknown field":   bytes.Replace(good, []byte(`"attempts"`), []byte(`"more":1,"attempts"`), 1),
		"of another":      bytes.ReplaceAll(good, []byte(msg(j)[4:]), []byte(msg(other)[4:])),
		"to nobody":       bytes.Replace(good, []byte(`"webhooks":[{`), []byte(`"webhooks":[],"metadata":[{`), 1),
		"not an end":      bytes.Replace(good, []byte(`"completed"`), []byte(`"pending"`), 1),
		"without its job": []byte(`{"id":"` + msg(j) + `","url":"https://a.example"}`),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, half := range []string{".msg_x.json123", "failed/.msg_x.json123"} {
				if err := os.WriteFile(filepath.Join(dir, half), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o := reopen(t, dir, nil)
			wantStats(t, o, notify.Stats{Pending: 1})
			wantFiles(t, dir, msg(j)+".json.unreadable", msg(other)+".json")
		})
	}
}

func TestPruneDeletesOldFailuresOnly(t *testing.T) {
	dir := t.TempDir()
	refused := make(chan struct{})
	d := deps(t, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errForbidden }))
	d.Log = d.Log.WithOptions(zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "webhook given up" {
			close(refused)
		}
		return nil
	}))
	o := openWith(t, dir, d)
	j, pending := ended(t, "https://a.example"), ended(t, "https://b.example")
	stop := run(t, o)
	end(t, o, j)
	<-refused
	stop()
	end(t, o, pending)
	for _, test := range []struct {
		after time.Duration
		want  []string
	}{
		{0, []string{msg(pending) + ".json", "failed/" + msg(j) + ".json"}},
		{2 * time.Hour, []string{msg(pending) + ".json"}},
	} {
		if err := o.Prune(time.Now().Add(test.after), time.Hour); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, test.want...)
	}
}

func TestSecretsAreCheckedAndNeverShown(t *testing.T) {
	for _, test := range []struct {
		secrets []string
		err     string // what it begins with
	}{
		{nil, ""},
		{secrets, ""},
		{[]string{"whsec_c2l4dGVlbiBieXRlcy4uLg=="}, ""},
		{[]string{"whsec_c2hvcnQ="}, "webhook.secrets[0]: "},
		{[]string{secrets[0], ""}, "webhook.secrets[1]: "},
		{[]string{secrets[0], "correct horse battery staple"}, "webhook.secrets[1]: "},
		{[]string{"whsec_" + strings.Repeat("AAAA", 22)}, "webhook.secrets[0]: "},
	} {
		err := notify.ValidateSecrets(test.secrets)
		if test.err == "" {
			if err != nil {
				t.Errorf("%q: %v", test.secrets, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), test.err) || !strings.Contains(err.Error(), "echo whsec_$(openssl rand -base64 32)") {
			t.Errorf("%q: %v, want %q and how to make one", test.secrets, err, test.err)
			continue
		}
		if strings.Contains(err.Error(), "c2hvcnQ") || strings.Contains(err.Error(), "horse") {
			t.Errorf("the secret is in %q", err)
		}
		if _, err := notify.Open(notify.Config{Dir: t.TempDir(), Secrets: test.secrets}, deps(t, nil)); err == nil {
			t.Errorf("an outbox with %q was opened", test.secrets)
		}
	}
}

func TestWebhookIsNotSentWithoutASecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, err := notify.Open(notify.Config{Dir: t.TempDir()}, deps(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			t.Errorf("%s got an unsigned webhook", r.URL)
			return answer(status(200))(r)
		})))
		if err != nil {
			t.Fatal(err)
		}
		run(t, o)
		end(t, o, ended(t, "https://a.example"))
		synctest.Wait()
		wantStats(t, o, notify.Stats{Pending: 1, Failed: 1})
	})
}
