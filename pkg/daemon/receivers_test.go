package daemon_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// secrets sign webhooks: one that is being replaced, and the new one.
var secrets = []config.Secret{
	"whsec_T2xkIHNlY3JldCwgMzIgYnl0ZXMgbG9uZywgb2theSE=",
	"whsec_TmV3IHNlY3JldCwgMzIgYnl0ZXMgbG9uZywgb2theSE=",
}

// atHome lets origins and receivers be on this machine.
func atHome(c *config.Config) {
	c.Fetch.AllowPrivate = true
	c.Webhook.Secrets = secrets
}

// webhook is one that a receiver took.
type webhook struct {
	id       string
	signedBy []config.Secret
	Type     string
	Data     jobNews
}

// jobNews is what clients and receivers look at in a job.
type jobNews struct {
	ID       string
	Status   string
	Attempts int
	Error    struct{ Code string }
	Output   struct {
		URL      string
		SHA256   string // of a single variant
		Manifest manifest.Manifest
	}
}

// gist is what is the same in an answer and in a webhook: not the URLs, since
// the daemon may listen elsewhere by now.
func (j jobNews) gist() string {
	return fmt.Sprintf("%s: %s at attempt %d, %q, image %q, %q",
		j.ID, j.Status, j.Attempts, j.Error.Code, j.Output.Manifest.ID, j.Output.SHA256)
}

// receiver takes webhooks.
type receiver struct {
	*httptest.Server
	got chan webhook // those that it said yes to
}

// receive starts a receiver. answer says with which status the n-th try is
// answered, counted from 1; nil is a yes.
func receive(t *testing.T, answer func(try int) int) *receiver {
	t.Helper()
	r := absent(t, answer)
	r.Start()
	return r
}

// absent is a receiver whose address nobody listens at before its Start.
func absent(t *testing.T, answer func(try int) int) *receiver {
	t.Helper()
	r := &receiver{got: make(chan webhook, 100)}
	tries := make(chan int, 1)
	tries <- 0
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		got, err := read(request)
		if err != nil {
			t.Errorf("a webhook: %v", err)
		}
		try := <-tries + 1
		tries <- try
		status := http.StatusNoContent
		if answer != nil {
			status = answer(try)
		}
		if status/100 == 2 {
			r.got <- got
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

// unreachable is a receiver whose address refuses connections before start. Its host
// is its own, so that no other test is given its port meanwhile.
func unreachable(t *testing.T) (r *receiver, url string, start func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.77:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	r = absent(t, nil)
	r.Listener.Close()
	return r, "http://" + address, func() {
		t.Helper()
		if r.Listener, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
		r.Start()
	}
}

// jobsOf waits until receivers have taken webhooks of n jobs. There may be more
// webhooks than jobs: a slow receiver may be asked again before it answers.
func jobsOf(t *testing.T, n int, receivers ...*receiver) (jobs map[string]bool) {
	t.Helper()
	jobs = make(map[string]bool)
	for len(jobs) < n {
		daemontest.Eventually(t, "a webhook comes", func() bool { return unread(receivers...) > 0 })
		for _, r := range receivers {
			for len(r.got) > 0 {
				jobs[(<-r.got).Data.ID] = true
			}
		}
	}
	return jobs
}

// unread counts the webhooks that receivers took, and that the test has not read.
func unread(receivers ...*receiver) (n int) {
	for _, r := range receivers {
		n += len(r.got)
	}
	return n
}

// read reads a webhook, and finds out who has signed it.
func read(r *http.Request) (webhook, error) {
	got := webhook{id: r.Header.Get(standardwebhooks.HeaderWebhookID)}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return got, err
	}
	for _, secret := range secrets {
		verifier, err := standardwebhooks.NewWebhook(string(secret))
		if err != nil {
			return got, err
		}
		if verifier.Verify(body, r.Header) == nil {
			got.signedBy = append(got.signedBy, secret)
		}
	}
	return got, json.Unmarshal(body, &got)
}

// next is the next webhook that a receiver takes.
func (r *receiver) next(t *testing.T) webhook {
	t.Helper()
	daemontest.Eventually(t, "a webhook comes", func() bool { return len(r.got) > 0 })
	return <-r.got
}

// submitWithWebhook uploads an image with a webhook, and returns the job.
func submitWithWebhook(s *daemontest.Server, receiver string, seed uint64) daemontest.Job {
	s.T.Helper()
	path := "/v1/images?webhook_url=" + url.QueryEscape(receiver)
	return s.Request(http.MethodPost, path, bytes.NewReader(daemontest.SmallJPEG(s.T, seed)), daemontest.Header("Prefer", "respond-async")).Job(s.T, http.StatusAccepted)
}

func TestReceiversThatAreNotWellAreReachedInTheEndAndDelayNobody(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome)
	down, downURL, startDown := unreachable(t)
	healthy := make(chan struct{})
	sick := receive(t, func(int) int {
		select {
		case <-healthy:
			return http.StatusOK
		default:
			return http.StatusInternalServerError
		}
	})
	held, release := make(chan struct{}, 100), make(chan struct{})
	slow := receive(t, func(int) int {
		held <- struct{}{}
		<-release
		return http.StatusAccepted
	})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	well := receive(t, nil)

	// First those who are not well: of the slow one's three, two are on their way
	// at once.
	unwell := []daemontest.Job{submitWithWebhook(s, downURL, 600), submitWithWebhook(s, sick.URL, 601), submitWithWebhook(s, slow.URL, 602), submitWithWebhook(s, slow.URL, 603), submitWithWebhook(s, slow.URL, 604)}
	refused := func(j daemontest.Job) bool {
		return s.Logs.FilterMessage(tryLater).Filter(withField("job_id", j.ID)).Len() > 0
	}
	daemontest.Eventually(t, "two are refused, and the slow one holds two", func() bool { return refused(unwell[0]) && refused(unwell[1]) && len(held) >= 2 })
	for i, j := range unwell {
		if j := s.AwaitJob(j.ID); j.Status != "completed" {
			t.Errorf("job %d is %s, want completed whatever its receiver says", i, j.Status)
		}
	}
	for seed := range uint64(10) {
		j := submitWithWebhook(s, well.URL, 610+seed)
		if got := well.next(t); got.Data.ID != j.ID {
			t.Errorf("the webhook is of %s, want %s", got.Data.ID, j.ID)
		}
	}
	if n := unread(down, sick, slow); n > 0 {
		t.Fatalf("%d webhooks were accepted by receivers that accept none", n)
	}

	close(healthy)
	letGo()
	startDown()
	delivered := jobsOf(t, len(unwell), down, sick, slow)
	for i, j := range unwell {
		if !delivered[j.ID] {
			t.Errorf("the webhook of job %d was not delivered", i)
		}
	}
	daemontest.Eventually(t, "all are delivered", func() bool { return s.Logged("webhook delivered") == len(unwell)+10 })
	s.CheckEmpty("outbox", "failed")
	if left := s.Names("outbox"); !slices.Equal(left, []string{"failed"}) {
		t.Errorf("the outbox still has %v", left)
	}
}

func TestReceiverAtAForbiddenAddressIsNotConnectedTo(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	port := r.Listener.Addr().(*net.TCPAddr).Port
	s := daemontest.Start(t, atHome, func(c *config.Config) {
		c.Fetch.AllowPrivate = false
		c.Fetch.AllowHTTP, c.Fetch.Ports = true, []int{port} // so that the address is all that is wrong
	})
	s.Request(http.MethodPost, "/v1/images?webhook_url="+url.QueryEscape(r.URL), bytes.NewReader(daemontest.SmallJPEG(t, 630))).CheckProblem(t, "invalid_request")
	// Where a name leads is seen by who dials it, and may be another address
	// tomorrow.
	j := submitWithWebhook(s, fmt.Sprintf("http://localhost:%d", port), 631)
	if got := s.AwaitJob(j.ID); got.Status != "completed" {
		t.Errorf("the job is %s, want completed", got.Status)
	}
	daemontest.Eventually(t, "it was tried", func() bool { return s.Logged("webhook attempt recorded") > 0 })
	s.Stop() // it is tried again every few seconds
	refusedWith(s, j.ID, "", 1, "an address that this server does not connect to")

	// What the rules refuse by the URL is not tried again.
	s = daemontest.Start(t, s.SameDir, atHome, func(c *config.Config) { c.Fetch.AllowPrivate = false })
	daemontest.Eventually(t, "it is given up", func() bool { return s.Logged("webhook ended") == 1 })
	refusedWith(s, j.ID, "failed", 2, "accepts https only")
	if left := s.Names("outbox"); !slices.Equal(left, []string{"failed"}) || len(r.got) > 0 {
		t.Errorf("the outbox has %v, and %d webhooks were delivered", left, len(r.got))
	}
	if got := s.AwaitJob(j.ID); got.Status != "completed" {
		t.Errorf("the job is %s by now, want completed", got.Status)
	}
}

// refusedWith checks what is on record of a job's webhook.
func refusedWith(s *daemontest.Server, jobID, folder string, tries int, reason string) {
	s.T.Helper()
	b, err := os.ReadFile(s.Path("outbox", folder, strings.Replace(jobID, "job_", "msg_", 1)+".json"))
	var record struct {
		Attempts  int
		LastError string `json:"last_error"`
	}
	if err == nil {
		err = json.Unmarshal(b, &record)
	}
	if err != nil || record.Attempts < tries || !strings.Contains(record.LastError, reason) {
		s.T.Errorf("on record is %s (%v), want at least %d tries and %q", b, err, tries, reason)
	}
}

func TestSecretIsReplacedWithoutAGap(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	var s *daemontest.Server
	for i, configured := range [][]config.Secret{secrets[:1], secrets, secrets[1:]} {
		changes := []func(*config.Config){atHome, func(c *config.Config) { c.Webhook.Secrets = configured }}
		if s != nil {
			s.Stop()
			changes = append(changes, s.SameDir)
		}
		s = daemontest.Start(t, changes...)
		submitWithWebhook(s, r.URL, uint64(640+i))
		if got := r.next(t); !slices.Equal(got.signedBy, configured) {
			t.Errorf("with %d secrets, step %d, %d of them have signed", len(configured), i, len(got.signedBy))
		}
	}
}
