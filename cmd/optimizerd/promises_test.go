package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// upload sends one source and keeps what is promised. It returns false when
// the daemon is gone.
func (c *chaos) upload(ctx context.Context, random *rand.Rand, client *http.Client, url string) bool {
	u := c.next(random)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/images", bytes.NewReader(u.body))
	if err != nil {
		c.t.Error(err)
		return false
	}
	switch random.IntN(4) {
	case 0, 1:
		r.Header.Set("Prefer", "respond-async")
	case 2:
		r.Header.Set("Prefer", "wait=1")
	}
	res, err := client.Do(r)
	if err != nil {
		if !c.dying.Load() {
			c.t.Errorf("an upload before the kill: %v", err)
		}
		return false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	body = bytes.TrimSpace(body)
	if err != nil {
		body = nil // the status and the Location came, and are a promise
		if !c.dying.Load() {
			c.t.Errorf("an answer before the kill: %v", err)
		}
	}
	c.answered(u, res, body)
	if res.StatusCode == http.StatusTooManyRequests {
		select {
		case <-time.After(upTo(random, longestPause)):
		case <-ctx.Done():
		}
	}
	return err == nil
}

func (c *chaos) answered(u upload, res *http.Response, body []byte) {
	c.count(fmt.Sprintf("uploads answered %d", res.StatusCode))
	where := res.Header.Get("Location")
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated:
		c.promised(u, promise{strings.TrimPrefix(where, "/v1/images/"), body})
	case http.StatusAccepted:
		id := strings.TrimPrefix(where, "/jobs/")
		if !job.ValidID(id) {
			c.t.Errorf("202 with Location %q", where)
		}
		c.mu.Lock()
		c.jobs[id] = u
		c.mu.Unlock()
	case http.StatusTooManyRequests:
	case http.StatusServiceUnavailable:
		if !c.dying.Load() {
			c.t.Errorf("503 before the end: %s", body)
		}
	default:
		var p struct{ Code fault.Code }
		_ = json.Unmarshal(body, &p)
		if !u.broken || p.Code != fault.CorruptImage {
			c.t.Errorf("an upload (broken: %v) was answered %s: %s", u.broken, res.Status, body)
		}
	}
}

// promised keeps a promise, which must be the same as an earlier one for the
// same source.
func (c *chaos) promised(u upload, p promise) {
	if p.body != nil {
		m, err := manifest.Decode(p.body)
		if err != nil || m.ID != p.id || m.Source.SHA256 != u.digest || m.Source.Bytes != int64(len(u.body)) {
			c.t.Errorf("the manifest of %s is not that of its source (%v): %s", p.id, err, p.body)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = append(c.fresh, u.digest)
	before, again := c.sets[u.digest]
	if again && (before.id != p.id || before.body != nil && p.body != nil && !bytes.Equal(before.body, p.body)) {
		c.t.Errorf("one source was answered\n%s %s\nand\n%s %s", before.id, before.body, p.id, p.body)
	}
	if p.body == nil {
		p.body = before.body
	}
	c.sets[u.digest] = p
}

// keptWords asks a daemon for what the one before it has promised; jobs are
// waited for so many seconds.
func (c *chaos) keptWords(s *server, wait string) {
	for id, u := range c.jobs {
		var j jobAnswer
		var p struct{ Error *job.Error }
		answer, body := c.get(s, "/jobs/"+id, wait)
		if err := errors.Join(json.Unmarshal(body, &j), json.Unmarshal(body, &p)); err != nil || answer.StatusCode != http.StatusOK {
			c.t.Errorf("a promised job: %s: %s", answer.Status, body)
			continue
		}
		switch {
		case job.Status(j.Status) == job.Completed && !u.broken:
			_, body := c.get(s, "/v1/images/"+j.Output.Manifest.ID, "0")
			c.promised(u, promise{j.Output.Manifest.ID, body})
			c.counts["promised jobs seen completed"]++
		case job.Status(j.Status) == job.Failed && u.broken && p.Error.Code == fault.CorruptImage:
			c.counts["promised jobs of broken pictures seen failed"]++
		case !job.Status(j.Status).Ended():
			continue
		default:
			c.t.Errorf("a promised job (broken: %v) is %s", u.broken, body)
		}
		delete(c.jobs, id)
	}
	for _, digest := range c.fresh {
		c.keptWord(s, digest)
	}
	c.fresh = nil
}

func (c *chaos) keptWord(s *server, digest string) {
	p := c.sets[digest]
	answer, body := c.get(s, "/v1/images/"+p.id, "0")
	if answer.StatusCode != http.StatusOK || p.body != nil && !bytes.Equal(body, p.body) {
		c.t.Errorf("a promised set: %s\n%s\nwant\n%s", answer.Status, body, p.body)
	}
	c.sets[digest] = promise{p.id, body}
}

func (c *chaos) get(s *server, path, wait string) (*http.Response, []byte) {
	c.t.Helper()
	var raw json.RawMessage
	answer := s.do(c.t, http.MethodGet, path, nil, map[string]string{"Prefer": "wait=" + wait}, &raw)
	return answer, raw
}
