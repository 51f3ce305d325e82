package daemon_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// secrets sign webhooks: the one that is being replaced, and the new one.
var secrets = []config.Secret{
	"whsec_T2xkIHNlY3JldCwgMzIgYnl0ZXMgbG9uZywgb2theSE=",
	"whsec_TmV3IHNlY3JldCwgMzIgYnl0ZXMgbG9uZywgb2theSE=",
}

// atHome has origins and receivers on this machine.
func atHome(c *config.Config) {
	c.Fetch.AllowPrivate = true
	c.Webhook.Secrets = secrets
}

// webhook is one that a receiver took.
type webhook struct {
	id   string
	Type string
	Data jobNews
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

// receiver takes webhooks and verifies them with every secret.
type receiver struct {
	*httptest.Server
	got chan webhook // those that it said yes to
}

// receive starts a receiver. answer, unless nil, says with which status the
// n-th try is answered, counted from 1.
func receive(t *testing.T, answer func(n int) int) *receiver {
	t.Helper()
	r := unstarted(t, answer)
	r.Start()
	return r
}

// unstarted is a receiver at which nobody listens before its Start.
func unstarted(t *testing.T, answer func(n int) int) *receiver {
	t.Helper()
	r := &receiver{got: make(chan webhook, 100)}
	tries := make(chan int, 1)
	tries <- 0
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		got, err := verified(request)
		if err != nil {
			t.Errorf("a webhook: %v", err)
		}
		n := <-tries + 1
		tries <- n
		status := http.StatusNoContent
		if answer != nil {
			status = answer(n)
		}
		if status/100 == 2 {
			r.got <- got
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

// verified reads a webhook that each of the secrets has signed.
func verified(r *http.Request) (webhook, error) {
	got := webhook{id: r.Header.Get(standardwebhooks.HeaderWebhookID)}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return got, err
	}
	for _, secret := range secrets {
		verifier, err := standardwebhooks.NewWebhook(string(secret))
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		if err != nil {
			return got, err
		}
	}
	return got, json.Unmarshal(body, &got)
}
