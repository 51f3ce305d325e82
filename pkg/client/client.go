// Package client uploads images to a daemon through its HTTP API: it backs
// off when the daemon is busy, retries when the network or the daemon is
// down, and records what was accepted in a journal.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

// Client is a client of one daemon. It is safe for concurrent use.
type Client struct {
	base  string // without a slash at the end
	name  string // base for people, without its password
	token string // "" for none
	http  *http.Client

	GiveUp time.Duration       // how long to try again while the daemon cannot be reached or refuses for now
	Waits  func(reason string) // called when it begins to wait; may be nil

	mu     sync.Mutex
	resume time.Time // no request before: the daemon is busy
}

// New returns a client of the daemon at base, such as http://127.0.0.1:8080.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil { // which has the password, if there is one
		return nil, errors.New("it is not a URL: write it like http://127.0.0.1:8080")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%.200q is not the address of a daemon: write it like http://127.0.0.1:8080", u.Redacted())
	}
	return &Client{
		base: strings.TrimRight(base, "/"), name: strings.TrimRight(u.Redacted(), "/"), token: token, GiveUp: 10 * time.Minute,
		http: &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, ExpectContinueTimeout: time.Second,
		}},
	}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Image is what a manifest says about a set.
type Image struct {
	ID       string `json:"id"`
	Recipe   string `json:"recipe"`
	Variants []struct {
		Bytes int64 `json:"bytes"`
	} `json:"variants"`
	Made bool `json:"-"` // now; otherwise it was there already
}

// answer is a response to a request that is not repeated.
type answer struct {
	status int
	header http.Header
	body   []byte
}

const (
	maxAnswer = 64 << 20         // bytes of a response; the largest are files of sets
	firstWait = time.Second      // between two attempts; it doubles
	maxWait   = 30 * time.Second // between two attempts
	longPoll  = 60               // seconds, of a job
)

// Upload sends the file at path with its name, and waits for its set. A fault
// says why the daemon refuses it; the error of ctx ends the wait.
func (c *Client) Upload(ctx context.Context, path, filename string, digest [sha256.Size]byte) (Image, error) {
	query := url.Values{"filename": {filename}}
	a, err := c.repeat(ctx, func() (*http.Request, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		r, err := http.NewRequest(http.MethodPost, c.base+"/v1/images?"+query.Encode(), f) //nolint:noctx // send sets it
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		r.ContentLength = info.Size()
		r.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":")
		r.Header.Set("Expect", "100-continue") // a refusal costs no transfer
		return r, nil
	})
	if err != nil {
		return Image{}, err
	}
	if a.status == http.StatusAccepted {
		return c.awaitJob(ctx, a.body)
	}
	var image Image
	if err := json.Unmarshal(a.body, &image); err != nil || image.ID == "" {
		return Image{}, fmt.Errorf("the answer of %s is not that of a daemon: %.100q", c.name, a.body)
	}
	image.Made = a.status == http.StatusCreated
	return image, nil
}

// Remake asks the daemon to make the ladder of a stored image again from its
// original, in the background, and waits for the set. It is the same set if the
// recipe has not changed.
func (c *Client) Remake(ctx context.Context, id string) (Image, error) {
	return c.request(ctx, "image:"+id, "u=7")
}

// Request asks the daemon to fetch the image at a URL, and waits for its set.
func (c *Client) Request(ctx context.Context, input string) (Image, error) {
	return c.request(ctx, input, "")
}

func (c *Client) request(ctx context.Context, input, priority string) (Image, error) {
	body, err := json.Marshal(map[string]string{"input": input})
	if err != nil {
		return Image{}, err
	}
	a, err := c.repeat(ctx, func() (*http.Request, error) {
		r, err := http.NewRequest(http.MethodPost, c.base+"/jobs", bytes.NewReader(body)) //nolint:noctx // send sets it
		if err == nil {
			r.Header.Set("Content-Type", "application/json")
			if priority != "" {
				r.Header.Set("Priority", priority)
			}
		}
		return r, err
	})
	if err != nil {
		return Image{}, err
	}
	return c.awaitJob(ctx, a.body)
}

// Has reports whether the daemon has an image.
func (c *Client) Has(ctx context.Context, id string) (bool, error) {
	_, err := c.get(ctx, "/v1/images/"+url.PathEscape(id))
	if fault.CodeOf(err) == fault.NotFound {
		return false, nil
	}
	return err == nil, err
}

func (c *Client) get(ctx context.Context, path string) (answer, error) {
	return c.repeat(ctx, func() (*http.Request, error) {
		return http.NewRequest(http.MethodGet, c.base+path, nil) //nolint:noctx // send sets it
	})
}

// awaitJob waits until the job in an answer has ended.
func (c *Client) awaitJob(ctx context.Context, body []byte) (Image, error) {
	for {
		var j struct {
			ID, Status string
			Output     *struct{ Manifest Image }
			Error      *struct {
				Code    fault.Code
				Message string
			}
		}
		if err := json.Unmarshal(body, &j); err != nil || j.ID == "" {
			return Image{}, fmt.Errorf("the answer of %s is not a job: %.100q", c.name, body)
		}
		switch {
		case j.Error != nil:
			return Image{}, fault.New(j.Error.Code, "%s", j.Error.Message)
		case j.Status == "completed" && j.Output == nil:
			return Image{}, errors.New("the image was deleted right after it was made")
		case j.Status == "completed":
			j.Output.Manifest.Made = true
			return j.Output.Manifest, nil
		}
		a, err := c.repeat(ctx, func() (*http.Request, error) {
			r, err := http.NewRequest(http.MethodGet, c.base+"/jobs/"+url.PathEscape(j.ID), nil) //nolint:noctx // send sets it
			if err == nil {
				r.Header.Set("Prefer", fmt.Sprintf("wait=%d", longPoll))
			}
			return r, err
		})
		if err != nil {
			return Image{}, err
		}
		body = a.body
	}
}

// repeat sends a request until it is answered for good: with success, or with a
// fault that another attempt does not change.
func (c *Client) repeat(ctx context.Context, request func() (*http.Request, error)) (answer, error) {
	deadline := time.Now().Add(c.GiveUp)
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		if err := c.pause(ctx); err != nil {
			return answer{}, err
		}
		r, err := request()
		if err != nil {
			return answer{}, err
		}
		a, err := c.send(r.WithContext(ctx))
		if err == nil && a.status < 300 {
			return a, nil
		}
		pause := wait
		reason := fmt.Sprintf("%s cannot be reached: %v", c.name, err)
		if err == nil {
			refused := problemOf(a)
			if !passes(a.status, refused) {
				return answer{}, refused
			}
			pause = max(min(egress.RetryAfter(a.header, time.Now()), maxWait), wait)
			reason, err = "the daemon asks to wait: "+refused.Detail, refused
		}
		if ctx.Err() != nil {
			return answer{}, ctx.Err()
		}
		if time.Now().Add(pause).After(deadline) {
			return answer{}, fmt.Errorf("given up after %v: %w", c.GiveUp, err)
		}
		c.waitUntil(time.Now().Add(pause), reason)
	}
}

// passes reports whether another attempt may succeed. A proxy or tunnel between
// answers 502 to 504 and Cloudflare's 52x and 530 when it cannot reach the daemon.
func passes(status int, f *fault.Error) bool {
	return f.Code.Temporary() || f.Code == fault.UploadTimeout || status >= 502 && status != http.StatusInsufficientStorage || status == http.StatusTooManyRequests
}

// waitUntil makes all requests wait: one refusal is enough.
func (c *Client) waitUntil(t time.Time, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Waits != nil && time.Now().After(c.resume) {
		c.Waits(reason)
	}
	if t.After(c.resume) {
		c.resume = t
	}
}

func (c *Client) pause(ctx context.Context) error {
	c.mu.Lock()
	d := time.Until(c.resume)
	c.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) send(r *http.Request) (answer, error) {
	r.Header.Set("User-Agent", "optimizerd/"+buildinfo.Version())
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return answer{}, egress.WithoutURL(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return answer{res.StatusCode, res.Header, b}, err
}

const unauthorized = "The daemon requires one of its tokens: use --token-file FILE. " +
	"On the daemon's machine, with sudo, the file is /etc/credstore/optimizerd.tokens."

// problemOf returns the fault in a refusal.
func problemOf(a answer) *fault.Error {
	var p struct {
		Code   fault.Code
		Detail string
	}
	if json.Unmarshal(a.body, &p) == nil && p.Code != "" {
		if p.Code == fault.Unauthorized {
			p.Detail = unauthorized // the daemon's own is about the header
		}
		return fault.New(p.Code, "%s", p.Detail)
	}
	return fault.New(fault.Internal, "The server answered %d, not as a daemon does; is the address right?", a.status)
}
