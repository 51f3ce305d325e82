package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// world is a data folder, and what is around it.
type world struct {
	config   config.Config
	source   []byte
	daemon   string // its URL
	origin   *httptest.Server
	fetches  atomic.Int64
	receiver *receiver
	first    string // id of a set that was there before
}

func (l life) world(t *testing.T) *world {
	t.Helper()
	w := &world{source: l.source(t), receiver: receive(t, l.answer)}
	w.origin = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.fetches.Add(1)
		if w.source == nil {
			http.NotFound(rw, r)
			return
		}
		_, _ = rw.Write(w.source) // to a daemon that is killed
	}))
	t.Cleanup(w.origin.Close)
	w.config = daemontest.Prepare(t, atHome, daemontest.OneCodec, func(c *config.Config) {
		c.Storage.Dir = t.TempDir()
		if l.change != nil {
			l.change(c)
		}
	}).Config
	if l.before != nil {
		l.before(t, w)
	}
	return w
}

func (w *world) asItWas(c *config.Config) { *c = w.config }

// firstSet uploads the image, and has its original kept.
func firstSet(t *testing.T, w *world) {
	t.Helper()
	s := daemontest.Start(t, w.asItWas)
	w.first = s.Upload(w.source).Manifest(t, http.StatusCreated).ID
	s.Stop()
}

// forbidden kills the daemon of an upload before its webhook is sent, after
// which its receiver is forbidden.
func forbidden(t *testing.T, w *world) {
	t.Helper()
	anUpload.killAfter(t, w, anUpload.at("source deleted"))
	w.config.Fetch.AllowPrivate = false
}

// post sends a request of which the answer may be cut off by a kill.
func (w *world) post(path, prefer, body string) error {
	r, err := http.NewRequest(http.MethodPost, w.daemon+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Prefer", prefer)
	r.Header.Set("Content-Type", "application/json") // of an upload it counts for nothing
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	return err
}

func (w *world) order(input, options string) error {
	return w.post("/jobs", "", fmt.Sprintf(`{"input":%q,"options":%s,"webhook_url":%q}`, input, options, w.receiver.URL))
}

// request asks for the image at the origin.
func request(options string) func(*world) error {
	return func(w *world) error { return w.order(w.origin.URL+"/cat.jpg", options) }
}

// upload sends the image itself.
func upload(w *world) error {
	return w.post("/v1/images?webhook_url="+w.receiver.URL, "respond-async", string(w.source))
}

// roles are the names in the data folder that are others each time.
var roles = []struct {
	name *regexp.Regexp
	role string
}{
	{regexp.MustCompile(`job_[0-9a-z]{26}(\.json)?$`), "JOB"},
	{regexp.MustCompile(`msg_[0-9a-z]{26}\.json$`), "WEBHOOK"},
	{regexp.MustCompile(`[0-9]+\.part$`), "PART"},
	{regexp.MustCompile(`[0-9a-f]{64}$`), "SOURCE"},
	{regexp.MustCompile(`[0-9]+\.(jpg|webp)$`), "VARIANT"},
	{regexp.MustCompile(`[a-z2-7]{26}-[0-9]+`), "SET"},
	{regexp.MustCompile(`[a-z2-7]{26}`), "IMAGE"},
}

// ofNoJob are the files that a daemon has without any job, finished or not.
var ofNoJob = regexp.MustCompile(`^\.?(clock|recipes)[0-9]*$`)

// disk lists the files of jobs in the data folder by their roles.
func (w *world) disk(t *testing.T) []string {
	t.Helper()
	names := []string{}
	err := filepath.WalkDir(w.config.Storage.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(w.config.Storage.Dir, path)
		for _, r := range roles {
			name = r.name.ReplaceAllString(name, r.role)
		}
		if !ofNoJob.MatchString(name) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// jobID is that of the one job that has ended.
func (w *world) jobID(t *testing.T) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(w.config.Storage.Dir, "queue", "*", "job_*.json"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("the records of jobs are %v (%v), want one", paths, err)
	}
	return strings.TrimSuffix(filepath.Base(paths[0]), ".json")
}

// mortal is a daemon in a process of its own, which kills itself.
type mortal struct {
	Config  config.Config
	Message string // at the line of the log with this message
	Nth     int    // of several, counted from 1
}

// mortalEnv makes this program such a daemon: see TestMain.
const mortalEnv = "TEST_MORTAL_DAEMON"

func liveAndDie(orders string) error {
	var m mortal
	if err := json.Unmarshal([]byte(orders), &m); err != nil {
		return err
	}
	if m.Config.Storage.S3Key != nil { // its secret is in no JSON
		key := s3test.Key()
		m.Config.Storage.S3Key = &key
	}
	var seen atomic.Int64
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stderr), zapcore.DebugLevel)
	log := zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == m.Message && seen.Add(1) == int64(m.Nth) {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
		}
		return nil
	}))
	d, err := daemon.New(context.Background(), m.Config, log)
	if err != nil {
		return err
	}
	fmt.Println(d.URL())
	return d.Run(context.Background())
}
