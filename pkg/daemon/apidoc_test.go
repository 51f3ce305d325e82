package daemon_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

const apiGuide = "../../docs/api.md"

// block is a fenced block of a page.
type block struct {
	language string
	schema   string // that a comment before it names
	line     int
	text     string
}

var fence = regexp.MustCompile("(?ms)^(?:<!-- schema: (\\w+) -->\n)?^```(\\w*)\n(.*?)^```$")

func blocksOf(page string) (blocks []block) {
	for _, at := range fence.FindAllStringSubmatchIndex(page, -1) {
		b := block{language: page[at[4]:at[5]], line: 1 + strings.Count(page[:at[6]], "\n"), text: page[at[6]:at[7]]}
		if at[2] >= 0 {
			b.schema = page[at[2]:at[3]]
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// The guide is run from top to bottom, in one shell. Every answer is held
// against the document; what the guide shows of an answer, against that answer.
func TestGuideIsTrue(t *testing.T) {
	t.Parallel()
	g := openGuide(t)
	page, err := os.ReadFile(apiGuide)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocksOf(string(page)) {
		where := fmt.Sprintf("docs/api.md:%d", b.line)
		switch b.language {
		case "sh":
			g.shownErrors()
			g.where, g.shown = where, nil
			g.answers = g.run(b)
		case "http":
			if err := g.shows(b.text); err != nil {
				t.Errorf("%s: %v", where, err)
			}
		case "json":
			if err := g.hasSchema(b); err != nil {
				t.Errorf("%s: %v", where, err)
			}
		case "js":
			g.verifier = b.text
		default:
			t.Errorf("%s: no test checks a block of %q", where, b.language)
		}
	}
	g.shownErrors()
	for path, item := range g.Contract.Doc.Paths.Map() {
		for method := range item.Operations() {
			if !g.exercised[method+" "+path] {
				t.Errorf("the guide does not show %s %s", method, path)
			}
		}
	}
	t.Run("the verifier in JavaScript", g.runVerifier)
}

// guide is a shell in which the guide is run, and the daemon that it talks to.
type guide struct {
	*daemontest.Server
	dir      string // the shell's
	input    io.Writer
	output   *bufio.Reader
	hooks    *hooks
	verifier string // a module in JavaScript

	where   string              // the block at hand
	answers []daemontest.Answer // to it, in their order
	shown   []int               // the statuses that the page shows after it

	mu        sync.Mutex
	coming    []daemontest.Answer
	exercised map[string]bool // "METHOD path" of the document
}

const webhookSecret = "whsec_c2VjcmV0IG9mIHRoZSBndWlkZSdzIHRlc3QuLi4="

func openGuide(t *testing.T) *guide {
	t.Helper()
	for _, tool := range []string{"bash", "curl", "jq", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: the blocks of docs/api.md need it: make deps", err)
		}
	}
	s := daemontest.Start(t, func(c *config.Config) {
		c.Ladder.Widths = config.Default().Ladder.Widths
		c.Auth.Tokens = []config.Secret{"the-token"}
		c.Storage.KeepOriginals = true
		c.Fetch.AllowPrivate = true
		c.Webhook.Secrets = []config.Secret{"whsec_YSBzZWNyZXQgdGhhdCBpcyBiZWluZyByZXBsYWNlZA==", webhookSecret}
	})
	g := &guide{Server: s, dir: t.TempDir(), exercised: make(map[string]bool), hooks: newHooks(t)}
	for name, of := range map[string]string{"photo.jpg": "test_issue.jpg", "cat.jpg": "test_square.jpg"} {
		if err := os.WriteFile(filepath.Join(g.dir, name), daemontest.BimgImage(t, of), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testdata, err := daemontest.BimgTestdata()
	if err != nil {
		t.Fatal(err)
	}
	origin := httptest.NewServer(http.FileServer(http.Dir(testdata)))
	t.Cleanup(origin.Close)
	g.shell(
		"PATH="+os.Getenv("PATH"), "HOME="+g.dir, "BASE="+g.proxy(), "TOKEN=the-token",
		"PHOTO_URL="+origin.URL+"/northern_cardinal_bird.jpg", "WEBHOOK_URL="+g.hooks.URL, "WEBHOOK_SECRET="+webhookSecret,
	)
	return g
}

// proxy passes requests on to the daemon, checks the answers and keeps them.
func (g *guide) proxy() string {
	g.T.Helper()
	target, err := url.Parse(g.URL)
	if err != nil {
		g.T.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the URLs in answers lead here too
		},
		Transport:      g.HTTP.Transport,
		ModifyResponse: g.record,
	})
	g.T.Cleanup(proxy.Close)
	return proxy.URL
}

func (g *guide) record(res *http.Response) error {
	body, err := io.ReadAll(res.Body)
	res.Body = io.NopCloser(bytes.NewReader(body))
	kept := *res
	kept.Header = res.Header.Clone()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.coming = append(g.coming, daemontest.Answer{Response: &kept, Body: body})
	route := g.Contract.Find(res.Request.Method, daemontest.SentPath(res.Request.URL))
	g.exercised[route.Method+" "+route.Path] = true
	return err
}

// shell starts bash, which runs blocks until the first that fails.
func (g *guide) shell(env ...string) {
	g.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*daemontest.Patience)
	bash := exec.CommandContext(ctx, "bash", "-euo", "pipefail")
	bash.Dir, bash.Env = g.dir, env
	output, theirs, err := os.Pipe()
	if err != nil {
		g.T.Fatal(err)
	}
	bash.Stdout, bash.Stderr = theirs, theirs
	input, err := bash.StdinPipe()
	if err == nil {
		err = bash.Start()
	}
	if err != nil {
		g.T.Fatal(err)
	}
	theirs.Close()
	g.input, g.output = input, bufio.NewReader(output)
	g.T.Cleanup(func() {
		input.Close()
		_ = bash.Wait() // a block that failed has been reported
		output.Close()
		cancel()
	})
}

// run runs a block and returns the answers to it. If it fails, the test does,
// with its output.
func (g *guide) run(b block) (answers []daemontest.Answer) {
	g.T.Helper()
	if strings.Contains(b.text, "webhook.headers") {
		g.saveWebhook()
	}
	const done = "=== the block is done ==="
	script := fmt.Sprintf("block-%d.sh", b.line)
	if err := os.WriteFile(filepath.Join(g.dir, script), []byte(b.text), 0o600); err != nil {
		g.T.Fatal(err)
	}
	if _, err := fmt.Fprintf(g.input, ". ./%s </dev/null\nprintf '\\n%%s\\n' '%s'\n", script, done); err != nil {
		g.T.Fatalf("%s: %v", g.where, err)
	}
	var printed strings.Builder
	for {
		line, err := g.output.ReadString('\n')
		if strings.TrimSpace(line) == done {
			g.mu.Lock()
			defer g.mu.Unlock()
			answers, g.coming = g.coming, nil
			return answers
		}
		printed.WriteString(line)
		if err != nil {
			g.T.Fatalf("%s: the block fails:\n%s\n%s", g.where, b.text, printed.String())
		}
	}
}

// shows holds a status line and headers, with … for any text, against the
// answers to the last block.
func (g *guide) shows(text string) error {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	matches := func(a daemontest.Answer) bool {
		var status int
		if _, err := fmt.Sscanf(lines[0], "HTTP/1.1 %d", &status); err != nil || status != a.StatusCode || lines[0] != "HTTP/1.1 "+a.Status {
			return false
		}
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ": ")
			pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(value), "…", ".+") + "$"
			if got := a.Header.Get(name); !regexp.MustCompile(pattern).MatchString(got) {
				return false
			}
		}
		return true
	}
	i := slices.IndexFunc(g.answers, matches)
	if i < 0 {
		var got strings.Builder
		for _, a := range g.answers {
			fmt.Fprintf(&got, "%s %v\n", a.Status, a.Header)
		}
		return fmt.Errorf("no response to the previous block is\n%s\nthey are\n%s", text, got.String())
	}
	g.shown = append(g.shown, g.answers[i].StatusCode)
	return nil
}

// shownErrors fails the test if a block was answered by an error that the page
// does not show after it.
func (g *guide) shownErrors() {
	g.T.Helper()
	for _, a := range g.answers {
		if a.StatusCode >= 400 && !slices.Contains(g.shown, a.StatusCode) {
			g.T.Errorf("%s: %s %s is answered %s %s", g.where, a.Request.Method, a.Request.URL.Path, a.Status, a.Body)
		}
	}
}

// sentByClients are the schemas that no answer has.
var sentByClients = []string{"JobRequest", "Event"}

// hasSchema holds an example against the schema that it is said to have, and
// so the last answer to the block before it: the whole of it, or a member.
func (g *guide) hasSchema(b block) error {
	schema := g.Contract.Doc.Components.Schemas[b.schema]
	if schema == nil {
		return fmt.Errorf("the document has no schema %q", b.schema)
	}
	valid := func(value any) error { return schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020()) }
	var example any
	if err := json.Unmarshal([]byte(b.text), &example); err != nil {
		return err
	}
	if err := valid(example); err != nil || slices.Contains(sentByClients, b.schema) {
		return err
	}
	if len(g.answers) == 0 {
		return errors.New("there is no answer that this could be an example of")
	}
	last := g.answers[len(g.answers)-1]
	var got map[string]any
	if err := json.Unmarshal(last.Body, &got); err != nil {
		return err
	}
	for _, value := range append(slices.Collect(maps.Values(got)), any(got)) {
		if value != nil && valid(value) == nil {
			return nil
		}
	}
	return fmt.Errorf("the response to the previous block is not a %s: %s", b.schema, last.Body)
}

// hooks takes webhooks.
type hooks struct {
	*httptest.Server
	mu    sync.Mutex
	taken []daemontest.Answer // the headers and the body of each
}

func newHooks(t *testing.T) *hooks {
	t.Helper()
	h := &hooks{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("webhook: %v", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.taken = append(h.taken, daemontest.Answer{Response: &http.Response{Header: r.Header}, Body: body})
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) all() []daemontest.Answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.taken)
}

// saveWebhook waits for the two webhooks that the guide orders, holds them
// against the document, and leaves one where the shell looks for it.
func (g *guide) saveWebhook() {
	g.T.Helper()
	daemontest.Eventually(g.T, "both webhooks are there", func() bool { return len(g.hooks.all()) == 2 })
	operation := g.Contract.Doc.Webhooks["jobEnded"].Post
	for _, hook := range g.hooks.all() {
		var event any
		if err := json.Unmarshal(hook.Body, &event); err != nil {
			g.T.Errorf("webhook: %v", err)
		}
		schema := operation.RequestBody.Value.Content["application/json"].Schema.Value
		if err := schema.VisitJSON(event, openapi3.EnableJSONSchema2020()); err != nil {
			g.T.Errorf("webhook %s: %v", hook.Body, err)
		}
		for _, p := range operation.Parameters {
			if hook.Header.Get(p.Value.Name) == "" {
				g.T.Errorf("a webhook has no %s", p.Value.Name)
			}
		}
	}
	hook := g.hooks.all()[0]
	var headers bytes.Buffer
	if err := hook.Header.Write(&headers); err != nil {
		g.T.Fatal(err)
	}
	for name, b := range map[string][]byte{"webhook.headers": headers.Bytes(), "webhook.json": hook.Body} {
		if err := os.WriteFile(filepath.Join(g.dir, name), b, 0o600); err != nil {
			g.T.Fatal(err)
		}
	}
}

// runVerifier has Node import the guide's module and judge webhooks by it.
func (g *guide) runVerifier(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("Node is not installed; nothing else of this project needs it")
	}
	headers := make(map[string]string)
	for name := range g.hooks.all()[0].Header {
		headers[strings.ToLower(name)] = g.hooks.all()[0].Header.Get(name)
	}
	sent, err := json.Marshal(map[string]any{"headers": headers, "body": string(g.hooks.all()[0].Body), "secret": webhookSecret})
	if err != nil {
		t.Fatal(err)
	}
	const judge = `
import { genuine } from "./verifier.mjs";
const { headers, body, secret } = SENT;
const old = { ...headers, "webhook-timestamp": String(headers["webhook-timestamp"] - 3600) };
console.log([
  genuine(headers, body, secret),
  genuine(headers, Buffer.from(body), secret),
  genuine(headers, body + " ", secret),
  genuine({ ...headers, "webhook-id": "msg_other" }, body, secret),
  genuine(old, body, secret),
  genuine({ ...headers, "webhook-signature": "v1,AAAA" }, body, secret),
  genuine({ ...headers, "webhook-signature": headers["webhook-signature"].replaceAll("v1,", "v2,") }, body, secret),
  genuine({}, body, secret),
  genuine(headers, body, "whsec_" + Buffer.from("another secret").toString("base64")),
].join(" "));
`
	for name, text := range map[string]string{"verifier.mjs": g.verifier, "judge.mjs": strings.ReplaceAll(judge, "SENT", string(sent))} {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.Command(node, "judge.mjs")
	run.Dir = g.dir
	got, err := run.CombinedOutput()
	if want := "true true false false false false false false false"; err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}
