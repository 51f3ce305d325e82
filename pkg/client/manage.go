package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// Job is what a daemon says about a job.
type Job struct {
	ID         string     `json:"id"`
	Status     string     `json:"status"`
	Input      string     `json:"input"`
	Attempts   int        `json:"attempts"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	Error      *struct {
		Code    fault.Code `json:"code"`
		Message string     `json:"message"`
	} `json:"error"`
}

// callTime limits a request that is not repeated.
const callTime = time.Minute

// Call sends one request without a body, and decodes the JSON response into v
// unless v is nil. It does not retry if the daemon is busy or down. Errors are
// faults if the daemon refused.
func (c *Client) Call(ctx context.Context, method, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return err
	}
	a, err := c.send(r)
	switch {
	case err != nil:
		return fmt.Errorf("%s cannot be reached: %w; is the daemon running?", c.name, err)
	case a.status == http.StatusMethodNotAllowed:
		return fmt.Errorf("the daemon at %s is of an older version, without %s %s: upgrade it", c.name, method, r.URL.Path)
	case a.status >= 300:
		return problemOf(a)
	case v == nil:
		return nil
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("the answer of %s is not that of a daemon: %.100q", c.name, a.body)
	}
	return nil
}

// list calls add with each item of a listing, page by page, until add returns
// false.
func (c *Client) list(ctx context.Context, path string, query url.Values, add func(json.RawMessage) (more bool, err error)) error {
	query.Set("limit", "100")
	for {
		var page struct {
			Items []json.RawMessage
			Next  *string
		}
		if err := c.Call(ctx, http.MethodGet, path+"?"+query.Encode(), &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if more, err := add(item); err != nil || !more {
				return err
			}
		}
		if page.Next == nil {
			return nil
		}
		query.Set("cursor", *page.Next)
	}
}

// Jobs returns at most limit jobs with a status ("" for all), newest first, as
// the daemon describes them.
func (c *Client) Jobs(ctx context.Context, status string, limit int) (found []json.RawMessage, err error) {
	query := url.Values{}
	if status != "" {
		query.Set("status", status)
	}
	err = c.list(ctx, "/jobs", query, func(item json.RawMessage) (bool, error) {
		found = append(found, item)
		return len(found) < limit, nil
	})
	return found, err
}

// Set is what a manifest says about an image that is managed.
type Set struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Recipe    string    `json:"recipe"`
	Replaces  string    `json:"replaces"`
	Width     int       `json:"width"`
	Height    int       `json:"height"`
	Source    struct {
		SHA256   string `json:"sha256"`
		Filename string `json:"filename"`
		Bytes    int64  `json:"bytes"`
		Width    int    `json:"width"`
		Height   int    `json:"height"`
	} `json:"source"`
	Variants []json.RawMessage `json:"variants"`
	Omitted  []json.RawMessage `json:"omitted"`
}

// Sets calls add with each image, newest first, and with its manifest, until add
// returns false.
func (c *Client) Sets(ctx context.Context, add func(Set, json.RawMessage) (more bool)) error {
	return c.list(ctx, "/v1/images", url.Values{}, func(item json.RawMessage) (bool, error) {
		var m Set
		if err := json.Unmarshal(item, &m); err != nil {
			return false, fmt.Errorf("manifest of %s: %w", c.name, err)
		}
		return add(m, item), nil
	})
}
