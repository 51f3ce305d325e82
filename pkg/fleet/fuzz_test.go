package fleet

import (
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
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
		if _, known := job.ParseStatus(string(j.Status)); !known || j.ID != r.job.ID || len(j.Webhooks) > maxWebhooks {
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

func FuzzWebhookMessage(f *testing.F) {
	f.Add([]byte("job_01m8hj3xng45vdpnpr79d25zp9 0"))
	f.Add([]byte("job_01m8hj3xng45vdpnpr79d25zp9 -1"))
	f.Add([]byte("job_* 0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if id, target, ok := parseWebhook(data); ok && (target < 0 || !job.ValidID(id)) {
			t.Errorf("%q is the webhook %d of %q", data, target, id)
		}
	})
}
