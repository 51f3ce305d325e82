// Package cfimages lists and reads the images of a Cloudflare Images account
// through Cloudflare's public API.
package cfimages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/egress"
)

// API is the address of Cloudflare's API.
const API = "https://api.cloudflare.com/client/v4"

// Account is an account with Cloudflare Images. It is safe for concurrent use.
type Account struct {
	base  string // of its images, without a slash at the end
	token string
	http  *http.Client

	GiveUp time.Duration // how long a request is repeated while the API is out of reach or asks to wait
}

// Image is an entry of the list.
type Image struct {
	ID       string    `json:"id"`
	Filename string    `json:"filename"`
	Uploaded time.Time `json:"uploaded"`
	Draft    bool      `json:"draft"` // an upload that was announced and never came
}

var validAccount = regexp.MustCompile(`^[0-9a-f]{32}$`)

// New returns the account with this id, at an API such as API, with a token that has
// the permission to read Cloudflare Images.
func New(api, accountID, token string) (*Account, error) {
	u, err := url.Parse(api)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "":
		return nil, fmt.Errorf("%.200q is not the address of an API: write it like %s", api, API)
	case !validAccount.MatchString(accountID):
		return nil, fmt.Errorf("%.60q is not the id of an account: it has 32 hexadecimal digits, and the dashboard shows it", accountID)
	case token == "":
		return nil, errors.New("a token of the API is required, with the permission to read Cloudflare Images")
	}
	return &Account{
		base: strings.TrimRight(api, "/") + "/accounts/" + accountID + "/images", token: token, GiveUp: 10 * time.Minute,
		http: &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
		}},
	}, nil
}

// Close closes idle connections.
func (a *Account) Close() { a.http.CloseIdleConnections() }

const (
	perPage = "1000"
	maxPage = 16 << 20 // bytes of a page
)

// List returns all images, oldest first. An error is the last element.
func (a *Account) List(ctx context.Context) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) {
		for token := ""; ; {
			images, next, err := a.page(ctx, token)
			if err != nil {
				yield(Image{}, fmt.Errorf("list images: %w", err))
				return
			}
			for _, image := range images {
				if !yield(image, nil) {
					return
				}
			}
			if token = next; token == "" {
				return
			}
		}
	}
}

func (a *Account) page(ctx context.Context, token string) (images []Image, next string, err error) {
	query := url.Values{"per_page": {perPage}, "sort_order": {"asc"}}
	if token != "" {
		query.Set("continuation_token", token)
	}
	var answer struct {
		Result struct {
			Images []Image `json:"images"`
			Next   *string `json:"continuation_token"`
		} `json:"result"`
	}
	err = a.repeat(ctx, func() error {
		body, err := a.get(ctx, "/v2?"+query.Encode())
		if err != nil {
			return err
		}
		defer body.Close()
		return json.NewDecoder(io.LimitReader(body, maxPage)).Decode(&answer)
	})
	if err == nil && answer.Result.Next != nil {
		next = *answer.Result.Next
	}
	return answer.Result.Images, next, err
}

// Open returns the bytes of an image, as they were uploaded. The caller must close
// it.
func (a *Account) Open(ctx context.Context, id string) (body io.ReadCloser, err error) {
	err = a.repeat(ctx, func() error {
		body, err = a.get(ctx, "/v1/"+url.PathEscape(id)+"/blob")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	return body, nil
}

// repeat retries a request while the API is unreachable or asks to wait.
func (a *Account) repeat(ctx context.Context, request func() error) error {
	waits := backoff.NewExponentialBackOff()
	waits.MaxInterval = 30 * time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, request() },
		backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(a.GiveUp))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var final *backoff.PermanentError
	if errors.As(err, &final) {
		return final.Err
	}
	return err
}

// get sends one request. An error that another attempt does not change is
// permanent.
func (a *Account) get(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("User-Agent", "optimizerd/"+buildinfo.Version())
	res, err := a.http.Do(r)
	if err != nil {
		return nil, egress.WithoutURL(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	refused := refusal(res)
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode < 500 {
		return nil, backoff.Permanent(refused)
	}
	if wait := egress.RetryAfter(res.Header, time.Now()); wait > 0 {
		return nil, fmt.Errorf("%w: %w", refused, &backoff.RetryAfterError{Duration: wait})
	}
	return nil, refused
}

// refusal returns the error that a response describes.
func refusal(res *http.Response) error {
	var answer struct {
		Errors []struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	advice := ""
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		advice = "; the token needs the permission to read Cloudflare Images of this account"
	}
	err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&answer)
	if err != nil || len(answer.Errors) == 0 {
		return fmt.Errorf("the API answers %s%s", res.Status, advice)
	}
	return fmt.Errorf("the API answers %s: %.200s (%d)%s", res.Status, answer.Errors[0].Message, answer.Errors[0].Code, advice)
}
