package fleet

import (
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/notify"
)

// What NATS stores is believed no more than what a client sends: it may come from a
// node that is broken, or that was taken over.

func FuzzRecord(f *testing.F) {
	r := newRecord(f)
	b, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"level":9}`))
	f.Add([]byte(strings.Replace(string(b), strings.Repeat("ab", 32), "../../../../etc/passwd", 1)))
	f.Add([]byte(strings.Replace(string(b), `"pending"`, `"lost"`, 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeRecord(r.job.ID, data)
		if err != nil || got.Level > level {
			return
		}
		j := got.job
		if _, known := job.ParseStatus(string(j.Status)); !known || j.ID != r.job.ID || len(j.Webhooks) > job.MaxWebhooks {
			t.Errorf("%s is accepted", data)
		}
		if j.Resolved() && (strings.Trim(j.Source.SHA256, "0123456789abcdef") != "" || len(j.Source.SHA256) != 64 || !ladder.ValidID(j.ImageID)) {
			t.Errorf("%s has the file %q and the set %q", data, j.Source.SHA256, j.ImageID)
		}
		again, err := got.encode()
		if err != nil {
			t.Fatalf("%s cannot be written: %v", data, err)
		}
		if _, err := decodeRecord(r.job.ID, again); err != nil {
			t.Errorf("%s becomes %s, which is refused: %v", data, again, err)
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"at":"2026-01-02T03:04:05Z","bytes":12345}`))
	f.Add([]byte(`{"at":"2026-01-02T03:04:05Z","bytes":0,"deleting":true}`))
	f.Add([]byte(`{"at":"2026-01-02T03:04:05Z","bytes":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := decodeEntry(data); err == nil && (e.Bytes < 0 || e.Original < 0) {
			t.Errorf("%s is accepted", data)
		}
	})
}

func FuzzNode(f *testing.F) {
	f.Add([]byte(`{"name":"pi-1","abilities":{"outputs":["webp"]}}`))
	f.Add([]byte(`{"name":"\u001b[2J"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := decodeNode(data); err == nil && strings.Trim(n.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
			t.Errorf("%s is accepted with the name %q", data, n.Name)
		}
	})
}

func FuzzWebhookMessage(f *testing.F) {
	r := newRecord(f)
	at := r.job.CreatedAt
	r.job.Status, r.job.FinishedAt, r.job.Webhooks = job.Completed, &at, []job.Webhook{{URL: "https://a.example"}}
	b, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	id := notify.WebhookID(r.job, 0)
	if _, err := decodeWebhook(id, b); err != nil {
		f.Fatal(err)
	}
	f.Add(id, b)
	f.Add(id+"_2_r1", b)
	f.Add("msg_*", b)
	f.Add(id, []byte(`{"level":9}`))
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		got, err := decodeWebhook(id, data)
		if err != nil || got.Level > level {
			return
		}
		if j := got.job; len(j.Webhooks) != 1 || !j.Status.Ended() || j.FinishedAt == nil || !job.ValidID(j.ID) {
			t.Errorf("%q is the webhook %q of %+v", data, id, j)
		}
	})
}
