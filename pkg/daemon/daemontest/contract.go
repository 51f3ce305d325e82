package daemontest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// Contract is a daemon's /openapi.json.
type Contract struct{ Doc *openapi3.T }

func fetchContract(t *testing.T, base string, transport http.RoundTripper, c config.Config) *Contract {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, base+"/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	if tokens := c.TokenStrings(); len(tokens) > 0 {
		r.Header.Set("Authorization", "Bearer "+tokens[0])
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET /openapi.json: got %s, %v", res.Status, err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(b)
	if err != nil {
		t.Fatalf("GET /openapi.json: %v", err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("GET /openapi.json: %v", err)
	}
	return &Contract{doc}
}

// Find looks up a route: its path in the document, "" if there is none, and its
// operation, nil if there is none for this method.
func (c *Contract) Find(method, path string) *routers.Route {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for template, item := range c.Doc.Paths.Map() {
		if matches(template, path) {
			return &routers.Route{Spec: c.Doc, Path: template, PathItem: item, Method: method, Operation: item.Operations()[method]}
		}
	}
	return &routers.Route{}
}

func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, got, func(w, g string) bool { return w == g || (strings.HasPrefix(w, "{") && g != "") })
}

// checked is a RoundTripper that fails the test on a response that violates the
// document.
type checked struct {
	http.RoundTripper
	contract *Contract
	t        *testing.T
}

// RoundTrip implements http.RoundTripper.
func (c checked) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	if err := c.contract.Check(r, res, body); err != nil {
		c.t.Errorf("%s %s: the response violates the contract: %v\n%s %.1000q", r.Method, r.URL.Path, err, res.Status, body)
	}
	return res, nil
}

// Check reports how a response violates the document, or the rules for all
// responses.
func (c *Contract) Check(r *http.Request, res *http.Response, body []byte) error {
	if res.Header.Get("X-Request-Id") == "" {
		return errors.New("no X-Request-Id")
	}
	if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		return fmt.Errorf("X-Content-Type-Options is %q, want nosniff", got)
	}
	if r.Method == http.MethodHead && len(body) > 0 {
		return errors.New("a response to HEAD has a body")
	}
	if n := res.ContentLength; r.Method != http.MethodHead && n >= 0 && n != int64(len(body)) {
		return fmt.Errorf("Content-Length is %d, the body has %d bytes", n, len(body))
	}
	if res.StatusCode >= 400 && !isReadiness(r, res) {
		if err := c.checkProblem(r, res, body); err != nil {
			return err
		}
	}
	return c.checkOperation(r, res, body)
}

func isReadiness(r *http.Request, res *http.Response) bool {
	return r.URL.Path == "/readyz" && res.StatusCode == http.StatusServiceUnavailable
}

// checkProblem checks an error against the document, with or without its route.
func (c *Contract) checkProblem(r *http.Request, res *http.Response, body []byte) error {
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		return fmt.Errorf("Content-Type of an error is %q, want application/problem+json", got)
	}
	if r.Method == http.MethodHead {
		return nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	if err := c.Doc.Components.Schemas["Problem"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		return err
	}
	p := value.(map[string]any)
	for _, member := range []string{"type", "title", "detail"} {
		if p[member] == "" {
			return fmt.Errorf("%s is empty", member)
		}
	}
	if p["status"] != float64(res.StatusCode) {
		return fmt.Errorf("the problem's status is %v", p["status"])
	}
	if p["request_id"] != res.Header.Get("X-Request-Id") {
		return fmt.Errorf("the problem's request_id is %v, X-Request-Id is %s", p["request_id"], res.Header.Get("X-Request-Id"))
	}
	return nil
}

// checkOperation checks route, status, headers and content. A route that is not in
// the document must be answered 404, and a method 405, or 401 for clients without a
// token.
func (c *Contract) checkOperation(r *http.Request, res *http.Response, body []byte) error {
	route := c.Find(r.Method, SentPath(r.URL))
	switch {
	case route.Operation == nil && res.StatusCode == http.StatusUnauthorized:
		return checkHeaders(res, c.Doc.Components.Responses["Unauthorized"].Value)
	case route.Path == "" && res.StatusCode != http.StatusNotFound:
		return fmt.Errorf("the path is not in the document, so the status should be 404")
	case route.Path != "" && route.Operation == nil && res.StatusCode != http.StatusMethodNotAllowed:
		return fmt.Errorf("the method is not in the document, so the status should be 405")
	case route.Operation == nil:
		return checkHeaders(res, &openapi3.Response{})
	}
	documented := route.Operation.Responses.Status(res.StatusCode)
	if documented == nil {
		return fmt.Errorf("status %d of %s is not in the document", res.StatusCode, route.Operation.OperationID)
	}
	if len(documented.Value.Content) == 0 && len(body) > 0 {
		return fmt.Errorf("%d of %s has a body, the document has none", res.StatusCode, route.Operation.OperationID)
	}
	if err := checkHeaders(res, documented.Value); err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		return checkMediaType(documented.Value.Content, res)
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 res.StatusCode,
		Header:                 res.Header,
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	input.SetBodyBytes(body)
	return openapi3filter.ValidateResponse(context.Background(), input)
}

// SentPath is the path as it was sent: an encoded slash separates nothing.
func SentPath(u *url.URL) string {
	if u.Opaque != "" {
		return strings.TrimPrefix(u.Opaque, "//"+u.Host)
	}
	return u.EscapedPath()
}

func checkMediaType(content openapi3.Content, res *http.Response) error {
	if len(content) > 0 && content.Get(res.Header.Get("Content-Type")) == nil {
		return fmt.Errorf("Content-Type %q is not in the document", res.Header.Get("Content-Type"))
	}
	return nil
}

// anyAnswer are the headers that the document does not have to list.
var anyAnswer = []string{"Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "X-Content-Type-Options", "X-Request-Id"}

// checkHeaders reports undocumented headers, and missing documented ones.
func checkHeaders(res *http.Response, documented *openapi3.Response) error {
	known := slices.Clone(anyAnswer)
	if res.StatusCode == http.StatusMethodNotAllowed { // without an operation
		known = append(known, "Allow")
		if res.Header.Get("Allow") == "" {
			return fmt.Errorf("no Allow with %s", res.Status)
		}
	}
	for name, header := range documented.Headers {
		name = http.CanonicalHeaderKey(name)
		known = append(known, name)
		if header.Value.Required && res.Header.Get(name) == "" {
			return fmt.Errorf("no %s with %s", name, res.Status)
		}
	}
	for name := range res.Header {
		if !slices.Contains(known, name) {
			return fmt.Errorf("the header %s of %s is not in the document", name, res.Status)
		}
	}
	if t, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); t == "" && res.ContentLength > 0 {
		return errors.New("a body without Content-Type")
	}
	return nil
}
