package daemontest

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// Patience is how long a test waits for anything. It only guards against
// hanging, so it far exceeds any delay on a machine under load.
const Patience = 3 * time.Minute

// Client is an HTTP client of a running daemon.
type Client struct {
	T        *testing.T
	Config   config.Config
	began    time.Time // when the test first used the daemon
	URL      string
	AdminURL string // of the metrics; "" if there are none
	HTTP     *http.Client
	Contract *Contract
}

// connect creates the client of a daemon that listens at c.url.
func (c *Client) connect() {
	c.T.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	c.T.Cleanup(transport.CloseIdleConnections)
	c.Contract = fetchContract(c.T, c.URL, transport, c.Config)
	c.HTTP = &http.Client{
		Transport:     checked{transport, c.Contract, c.T},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       Patience,
	}
}

// SameDir returns the change that starts a daemon on the data directory of c.
func (c *Client) SameDir(other *config.Config) { other.Storage.Dir = c.Config.Storage.Dir }

// Eventually waits until ok.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not true after %v: %s", Patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Answer is a response with its complete body.
type Answer struct {
	*http.Response
	Body []byte
}

// Decode decodes the body of a response that must have one of the statuses.
func (a Answer) Decode(t *testing.T, v any, statuses ...int) {
	t.Helper()
	if !slices.Contains(statuses, a.StatusCode) {
		t.Fatalf("got %s %s, want %v", a.Status, a.Body, statuses)
	}
	d := json.NewDecoder(bytes.NewReader(a.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", a.Body, err)
	}
}

// Option changes a request.
type Option func(*http.Request)

// Header adds a header line.
func Header(name, value string) Option {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

// PostJob describes a job to POST /jobs.
func (c *Client) PostJob(job string, options ...Option) Answer {
	c.T.Helper()
	return c.Request(http.MethodPost, "/jobs", strings.NewReader(job), append([]Option{JSON}, options...)...)
}

// JSON declares the body as JSON.
func JSON(r *http.Request) { r.Header.Set("Content-Type", "application/json") }

// Request sends a request to a path or an absolute URL.
func (c *Client) Request(method, path string, body io.Reader, options ...Option) Answer {
	c.T.Helper()
	a, err := c.Try(method, path, body, options...)
	if err != nil {
		c.T.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// Try is Request for goroutines other than the test's.
func (c *Client) Try(method, path string, body io.Reader, options ...Option) (Answer, error) {
	url := path
	if strings.HasPrefix(path, "/") {
		url = c.URL + path
	}
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return Answer{}, err
	}
	for _, o := range options {
		o(r)
	}
	res, err := c.HTTP.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return Answer{res, b}, err
}

// Get sends a GET request.
func (c *Client) Get(path string, options ...Option) Answer {
	c.T.Helper()
	return c.Request(http.MethodGet, path, nil, options...)
}

// Upload sends an image as a raw body.
func (c *Client) Upload(image []byte, options ...Option) Answer {
	c.T.Helper()
	return c.Request(http.MethodPost, "/v1/images", bytes.NewReader(image), options...)
}

// TryUpload uploads an image; it may be called from any goroutine.
func (c *Client) TryUpload(image []byte, options ...Option) (Answer, error) {
	return c.Try(http.MethodPost, "/v1/images", bytes.NewReader(image), options...)
}

// Metric returns the value of a series on the admin listener, 0 if there is none.
func (c *Client) Metric(series string) float64 {
	c.T.Helper()
	res, err := http.Get(c.AdminURL + "/metrics")
	if err != nil {
		c.T.Fatal(err)
	}
	defer res.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.T.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(b)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		c.T.Fatalf("metric %s: %v", series, err)
	}
	return v
}

// Path returns a path in the data directory.
func (c *Client) Path(elem ...string) string {
	return filepath.Join(append([]string{c.Config.Storage.Dir}, elem...)...)
}

// Names lists a directory of the data directory.
func (c *Client) Names(elem ...string) []string {
	c.T.Helper()
	entries, err := os.ReadDir(c.Path(elem...))
	if err != nil {
		c.T.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Bearer sends the first token of the configuration, if there is one.
func Bearer(c config.Config) Option {
	return func(r *http.Request) {
		if tokens := c.TokenStrings(); len(tokens) > 0 {
			r.Header.Set("Authorization", "Bearer "+tokens[0])
		}
	}
}

// Part is one part of a form; a file if it has a filename.
type Part struct {
	Name, Filename string
	Data           []byte
}

// Form encodes a multipart form.
func Form(t *testing.T, parts ...Part) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		disposition := `form-data; name="` + p.Name + `"`
		if p.Filename != "" {
			disposition += `; filename="` + strings.ReplaceAll(p.Filename, `\`, `\\`) + `"`
		}
		pw, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {"text/plain"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pw.Write(p.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

// UploadForm sends a body of this type to /v1/images.
func (c *Client) UploadForm(body []byte, contentType string, options ...Option) Answer {
	c.T.Helper()
	return c.Request(http.MethodPost, "/v1/images", bytes.NewReader(body), append(options, Header("Content-Type", contentType))...)
}
