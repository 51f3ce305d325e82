package jobs_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// inMemory configures a spool with memory for uploads.
func inMemory(t *testing.T, dir string) func(*jobs.Config) {
	t.Helper()
	spool, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 1 << 20, MinFree: 1, Memory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return func(d *jobs.Config) { d.Spool = spool }
}

// upload submits an image that is received in memory.
func (h *fixture) upload(t *testing.T, content string, webhook job.Webhook) jobs.Submission {
	t.Helper()
	s, err := h.try(content, webhook, true)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// onDisk returns the number of sources and job records on disk.
func (h *fixture) onDisk(t *testing.T) (sources, records int) {
	t.Helper()
	jobs, err := filepath.Glob(filepath.Join(h.dir, "queue/*/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool) // a record that is being moved may be listed twice
	for _, path := range jobs {
		names[filepath.Base(path)] = true
	}
	return h.spooled(t), len(names)
}

func TestUploadInMemoryIsDurableOnceSomebodyCountsOnIt(t *testing.T) {
	for name, count := range map[string]func(t *testing.T, h *fixture, first jobs.Submission){
		"a client got the id": func(t *testing.T, h *fixture, first jobs.Submission) {
			if j, err := h.Announce(first.Ticket); err != nil || j.Status.Ended() {
				t.Errorf("%+v, %v", j, err)
			}
		},
		"an equal upload has a webhook": func(t *testing.T, h *fixture, _ jobs.Submission) {
			if s := h.upload(t, gif, job.Webhook{URL: "https://example.com", Base: "http://x"}); !s.Joined {
				t.Errorf("%+v", s)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, gate := t.TempDir(), make(chan struct{})
			h := newFixture(t, dir, func(ctx context.Context, _ int64) error {
				select {
				case <-gate:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}, inMemory(t, dir))
			s := h.upload(t, gif, job.Webhook{})
			if sources, records := h.onDisk(t); sources != 0 || records != 0 {
				t.Fatalf("%d sources and %d records are on the disk before a client relies on them", sources, records)
			}
			count(t, h, s)
			if sources, records := h.onDisk(t); sources != 1 || records != 1 {
				t.Fatalf("%d sources and %d records are on the disk, want one of each", sources, records)
			}
			h.stop() // before it was rendered

			close(gate)
			h = newFixture(t, dir, nil, inMemory(t, dir))
			again := h.upload(t, gif, job.Webhook{})
			if again.Manifest == nil && again.Ticket.Wait(t.Context()).Status != job.Completed {
				t.Error("the next start did not do it")
			}
		})
	}
}

func TestUploadInMemoryLeavesNothingButItsSet(t *testing.T) {
	dir := t.TempDir()
	h := newFixture(t, dir, nil, inMemory(t, dir))
	s := h.upload(t, gif, job.Webhook{})
	if j := s.Ticket.Wait(t.Context()); j.Status != job.Completed || !h.store.Has(j.ImageID) {
		t.Fatalf("the job is %s", j.Status)
	}
	if j, err := h.Announce(s.Ticket); err != nil || j.Status != job.Completed {
		t.Errorf("announced too late: %v, %v", j.Status, err)
	}
	if sources, records := h.onDisk(t); sources != 0 || records != 0 {
		t.Errorf("%d sources and %d records are left", sources, records)
	}
	if _, err := h.spool.Source(s.Ticket.Job().Source.SHA256); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its source is still in memory: %v", err)
	}
}

func TestUploadInMemoryWithAWebhookIsDurableAtOnce(t *testing.T) {
	dir, gate := t.TempDir(), make(chan struct{})
	h := newFixture(t, dir, func(context.Context, int64) error { <-gate; return nil }, inMemory(t, dir))
	s := h.upload(t, gif, job.Webhook{URL: "https://example.com", Base: "http://x"})
	if sources, records := h.onDisk(t); sources != 1 || records != 1 {
		t.Errorf("%d sources and %d records are on the disk, want one of each", sources, records)
	}
	close(gate)
	s.Ticket.Wait(t.Context())
}

// setAside is a queue with a record that cannot be read, of a job with this source.
type setAside struct {
	jobs.Queue
	digest string
}

func (q setAside) SetAside(sha256 string) bool { return sha256 == q.digest }

func TestUploadInMemoryThatEqualsASourceSetAsideIsReleased(t *testing.T) {
	dir := t.TempDir()
	sum := sha256.Sum256([]byte(gif))
	digest := hex.EncodeToString(sum[:])
	inSpool := inMemory(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "spool", digest), []byte(gif), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newFixture(t, dir, nil, inSpool, func(c *jobs.Config) { c.Queue = setAside{c.Queue, digest} })
	if j := h.upload(t, gif, job.Webhook{}).Ticket.Wait(t.Context()); j.Status != job.Completed {
		t.Fatalf("the job is %s", j.Status)
	}
	h.stop()
	kept, err := h.spool.Source(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if filepath.Dir(kept.Name()) != filepath.Join(dir, "spool") {
		t.Errorf("the source is %s, want the one on the disk", kept.Name())
	}
}
