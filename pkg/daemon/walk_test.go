package daemon_test

import (
	"errors"
	"fmt"
	"image"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// neverAnswered are the answers of the document that no test can provoke, and
// why they are in it all the same.
var neverAnswered = map[string]string{
	"GET /v1/images 500":    "a set that cannot be read is left out of the list; only a mistake in the code is left",
	"GET /openapi.json 500": "the document is in the program; only a mistake in the code is left",
	"POST /v1/images 503":   "only in the seconds while the daemon stops; lifecycle_test.go has the test",
	"POST /jobs 503":        "the same",

	"POST /jobs/{id}/retry 503": "the same",
	"GET /jobs 500":             "a record that cannot be read is left out of the list; only a mistake in the code is left",

	"GET /v1/images 503":      "only in a fleet, while NATS or the bucket is away: fleet_disturb_test.go has the test",
	"GET /v1/images/{id} 503": "the same",
	"GET /jobs 503":           "the same",
	"GET /jobs/{id} 503":      "the same",
	"DELETE /jobs/{id} 503":   "the same",

	"DELETE /v1/images/{id} 503": "only with storage.s3, while the bucket is away: s3_test.go has the test",
	"GET /files/{id}/{name} 503": "the same",
}

// provoked are answers by "METHOD path status" of the document, and how to get
// them.
type provoked map[string]func() daemontest.Answer

// walker has the daemons that between them give every answer of the document.
type walker struct {
	t        *testing.T
	s        *daemontest.Server
	full     *daemontest.Server
	noSpace  *daemontest.Server
	damaged  *daemontest.Server
	cutsOff  *daemontest.Server // clients that pause
	with     daemontest.Option  // the token of s
	image    manifest.Manifest  // of a set of s
	file     string             // one of its files
	imageJob string             // a request for a job of it
	frozen   *daemontest.Server // its jobs do not end
	failed   string             // a job of s, full and noSpace that failed
}

const noID = "aaaaaaaaaaaaaaaaaaaaaaaaaa"

func newWalker(t *testing.T) *walker {
	t.Helper()
	const token = "the-token"
	w := &walker{t: t, with: daemontest.Header("Authorization", "Bearer "+token)}
	w.s = daemontest.Start(t, func(c *config.Config) {
		c.Auth.Tokens = []config.Secret{token}
		c.Storage.KeepOriginals = true
	}, limitBytes(1<<20))
	w.cutsOff = daemontest.Start(t, func(c *config.Config) { c.HTTP.BodyIdle = time.Second })
	w.full, w.noSpace, w.damaged = fullDaemon(t), daemontest.Start(t, noSpaceLeft), damagedDaemon(t)
	w.image = w.s.Upload(daemontest.SmallJPEG(t, 70), w.with).Manifest(t, http.StatusCreated)
	w.file = "/files/" + w.image.Variants[0].Key
	w.imageJob = `{"input": "image:` + w.image.ID + `", "options": {"width": 10}}`
	w.frozen = daemontest.Start(t, daemontest.OneCodec)
	w.frozen.Freeze()
	w.frozen.Submit(daemontest.SmallJPEG(t, 76))
	w.frozen.AwaitJobs(1, 0)
	w.failed = w.failedJob()
	return w
}

// failedJob makes a failed job in s, and gives its record to full and noSpace.
func (w *walker) failedJob() string {
	w.t.Helper()
	location := w.order(w.s, `{"input": "https://127.0.0.1/cat.jpg"}`)().Header.Get("Location")
	w.s.Get(location, daemontest.Header("Prefer", "wait=60"), w.with)
	id := strings.TrimPrefix(location, "/jobs/")
	daemontest.Eventually(w.t, "its end is recorded", func() bool { // a moment after it is known
		_, err := os.Stat(w.s.Path("queue", "failed", id+".json"))
		return err == nil
	})
	record := daemontest.ReadFile(w.t, w.s.Path("queue", "failed", id+".json"))
	for _, s := range []*daemontest.Server{w.full, w.noSpace} {
		if err := os.WriteFile(s.Path("queue", "failed", id+".json"), record, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	return id
}

// cancel cancels a job of frozen that waits.
func (w *walker) cancel() daemontest.Answer {
	j := w.frozen.Submit(daemontest.SmallJPEG(w.t, 77))
	return w.frozen.Request(http.MethodDelete, "/jobs/"+j.ID, nil)
}

// canceled uploads to frozen and cancels the job meanwhile.
func (w *walker) canceled() daemontest.Answer {
	w.frozen.AwaitJobs(1, 0)
	answered := make(chan daemontest.Answer, 1)
	go func() {
		a, err := w.frozen.TryUpload(daemontest.SmallJPEG(w.t, 78))
		if err != nil {
			w.t.Error(err)
		}
		answered <- a
	}()
	w.frozen.AwaitJobs(1, 1)
	var page struct {
		Items []daemontest.Job
		Next  *string
	}
	w.frozen.Get("/jobs?status=pending").Decode(w.t, &page, http.StatusOK)
	for _, j := range page.Items {
		w.frozen.Request(http.MethodDelete, "/jobs/"+j.ID, nil)
	}
	return <-answered
}

func (w *walker) request(s *daemontest.Server, method, path string) func() daemontest.Answer {
	return func() daemontest.Answer { return s.Request(method, path, nil, w.with) }
}

func (w *walker) get(s *daemontest.Server, path string, options ...daemontest.Option) func() daemontest.Answer {
	return func() daemontest.Answer { return s.Get(path, append(options, w.with)...) }
}

func (w *walker) anonymous(method, path string) func() daemontest.Answer {
	return func() daemontest.Answer { return w.s.Request(method, path, nil) }
}

func (w *walker) upload(s *daemontest.Server, body []byte, options ...daemontest.Option) func() daemontest.Answer {
	return func() daemontest.Answer { return s.Upload(body, append(options, w.with)...) }
}

func (w *walker) order(s *daemontest.Server, body string) func() daemontest.Answer {
	return func() daemontest.Answer { return s.PostJob(body, w.with) }
}

func (w *walker) stalled(path string) func() daemontest.Answer {
	return func() daemontest.Answer {
		conn := w.cutsOff.Dial(w.t)
		conn.Begin(http.MethodPost, path, daemontest.ContentLength(1000), "Content-Type: application/json")
		return conn.Answer()
	}
}

func (w *walker) ofImages() provoked {
	return provoked{
		"POST /v1/images 200": w.upload(w.s, daemontest.SmallJPEG(w.t, 70)),
		"POST /v1/images 201": w.upload(w.s, daemontest.SmallJPEG(w.t, 71)),
		"POST /v1/images 202": w.upload(w.s, daemontest.SmallJPEG(w.t, 72), daemontest.Header("Prefer", "respond-async")),
		"POST /v1/images 400": w.upload(w.s, nil),
		"POST /v1/images 401": w.anonymous(http.MethodPost, "/v1/images"),
		"POST /v1/images 408": w.stalled("/v1/images"),
		"POST /v1/images 409": w.canceled,
		"POST /v1/images 413": w.upload(w.s, make([]byte, 2<<20)),
		"POST /v1/images 415": w.upload(w.s, []byte("text")),
		"POST /v1/images 422": w.upload(w.s, jpegHeader(w.t, daemontest.SmallJPEG(w.t, 73))),
		"POST /v1/images 429": w.upload(w.full, daemontest.SmallJPEG(w.t, 74)),
		"POST /v1/images 500": w.upload(w.damaged, daemontest.SmallJPEG(w.t, 74)),
		"POST /v1/images 507": w.upload(w.noSpace, daemontest.SmallJPEG(w.t, 74)),

		"GET /v1/images 200": w.get(w.s, "/v1/images?limit=1"),
		"GET /v1/images 400": w.get(w.s, "/v1/images?limit=0"),
		"GET /v1/images 401": w.anonymous(http.MethodGet, "/v1/images"),

		"GET /v1/images/{id} 200": w.get(w.s, "/v1/images/"+w.image.ID),
		"GET /v1/images/{id} 401": w.anonymous(http.MethodGet, "/v1/images/"+w.image.ID),
		"GET /v1/images/{id} 404": w.get(w.s, "/v1/images/"+noID),
		"GET /v1/images/{id} 500": w.get(w.damaged, "/v1/images/"+noID),

		"DELETE /v1/images/{id} 204": func() daemontest.Answer { return w.s.Request(http.MethodDelete, "/v1/images/"+noID, nil, w.with) },
		"DELETE /v1/images/{id} 401": w.anonymous(http.MethodDelete, "/v1/images/"+noID),
		"DELETE /v1/images/{id} 500": func() daemontest.Answer { return w.damaged.Request(http.MethodDelete, "/v1/images/"+noID, nil) },
	}
}

func (w *walker) ofJobs() provoked {
	return provoked{
		"POST /jobs 202": w.order(w.s, w.imageJob),
		"POST /jobs 400": w.order(w.s, `{"input": ""}`),
		"POST /jobs 401": w.anonymous(http.MethodPost, "/jobs"),
		"POST /jobs 404": w.order(w.s, `{"input": "image:`+noID+`"}`),
		"POST /jobs 408": w.stalled("/jobs"),
		"POST /jobs 415": func() daemontest.Answer {
			return w.s.Request(http.MethodPost, "/jobs", strings.NewReader("{}"), w.with)
		},
		"POST /jobs 413": w.order(w.s, strings.Repeat(" ", 65<<10)),
		"POST /jobs 422": w.order(w.s, `{"input": "https://cdn.example.com/cat.jpg", "options": {"width": 100000}}`),
		"POST /jobs 429": w.order(w.full, `{"input": "https://cdn.example.com/cat.jpg"}`),
		"POST /jobs 500": w.order(w.damaged, `{"input": "https://cdn.example.com/cat.jpg"}`),
		"POST /jobs 507": w.order(w.noSpace, `{"input": "https://cdn.example.com/cat.jpg"}`),

		"GET /jobs/{id} 200": func() daemontest.Answer {
			return w.s.Get(w.order(w.s, w.imageJob)().Header.Get("Location"), daemontest.Header("Prefer", "wait=60"), w.with)
		},
		"GET /jobs/{id} 401": w.anonymous(http.MethodGet, "/jobs/"+damagedJob),
		"GET /jobs/{id} 404": w.get(w.s, "/jobs/"+damagedJob),
		"GET /jobs/{id} 500": w.get(w.damaged, "/jobs/"+damagedJob),
	}
}

func (w *walker) ofJobsThatAreManaged() provoked {
	image := w.order(w.s, w.imageJob)().Header.Get("Location")
	w.s.Get(image, daemontest.Header("Prefer", "wait=60"), w.with)
	return provoked{
		"GET /jobs 200": w.get(w.s, "/jobs?limit=1"),
		"GET /jobs 400": w.get(w.s, "/jobs?status=done"),
		"GET /jobs 401": w.anonymous(http.MethodGet, "/jobs"),

		"DELETE /jobs/{id} 204": w.cancel,
		"DELETE /jobs/{id} 400": w.request(w.s, http.MethodDelete, image+"?x=1"),
		"DELETE /jobs/{id} 401": w.anonymous(http.MethodDelete, image),
		"DELETE /jobs/{id} 404": w.request(w.s, http.MethodDelete, "/jobs/"+damagedJob),
		"DELETE /jobs/{id} 409": w.request(w.s, http.MethodDelete, image),
		"DELETE /jobs/{id} 500": w.request(w.damaged, http.MethodDelete, "/jobs/"+damagedJob),

		"POST /jobs/{id}/retry 202": w.request(w.s, http.MethodPost, "/jobs/"+w.failed+"/retry"),
		"POST /jobs/{id}/retry 400": w.request(w.s, http.MethodPost, image+"/retry?x=1"),
		"POST /jobs/{id}/retry 401": w.anonymous(http.MethodPost, image+"/retry"),
		"POST /jobs/{id}/retry 404": w.request(w.s, http.MethodPost, "/jobs/"+damagedJob+"/retry"),
		"POST /jobs/{id}/retry 409": w.request(w.s, http.MethodPost, image+"/retry"),
		"POST /jobs/{id}/retry 429": w.request(w.full, http.MethodPost, "/jobs/"+w.failed+"/retry"),
		"POST /jobs/{id}/retry 500": w.request(w.damaged, http.MethodPost, "/jobs/"+damagedJob+"/retry"),
		"POST /jobs/{id}/retry 507": w.request(w.noSpace, http.MethodPost, "/jobs/"+w.failed+"/retry"),
	}
}

func (w *walker) ofFilesAndTheRest() provoked {
	return provoked{
		"GET /files/{id}/{name} 200": w.get(w.s, w.file),
		"GET /files/{id}/{name} 206": w.get(w.s, w.file, daemontest.Header("Range", "bytes=0-9")),
		"GET /files/{id}/{name} 304": w.get(w.s, w.file, daemontest.Header("If-None-Match", "*")),
		"GET /files/{id}/{name} 401": w.anonymous(http.MethodGet, w.file),
		"GET /files/{id}/{name} 404": w.get(w.s, "/files/"+w.image.ID+"/1.webp"),
		"GET /files/{id}/{name} 412": w.get(w.s, w.file, daemontest.Header("If-Match", `"x"`)),
		"GET /files/{id}/{name} 416": w.get(w.s, w.file, daemontest.Header("Range", "bytes=1000000-")),
		"GET /files/{id}/{name} 500": w.get(w.damaged, "/files/"+noID+"/manifest.json"),

		"GET /openapi.json 200": w.get(w.s, "/openapi.json"),
		"GET /openapi.json 401": w.anonymous(http.MethodGet, "/openapi.json"),
		"GET /healthz 200":      w.anonymous(http.MethodGet, "/healthz"),
		"GET /readyz 200":       w.anonymous(http.MethodGet, "/readyz"),
		"GET /readyz 503":       w.get(w.noSpace, "/readyz"),
	}
}

// forbidden are the answers to requests that Cloudflare Access has not let in,
// or that name another host.
func (w *walker) forbidden() provoked {
	p := make(provoked)
	guarded, e := behindAccess(w.t)
	open := daemontest.Start(w.t)
	rebound := func(r *http.Request) { r.Host = "rebind.example.com" }
	for route, path := range map[string]string{
		"POST /v1/images": "/v1/images", "GET /v1/images": "/v1/images", "GET /v1/images/{id}": "/v1/images/" + noID,
		"DELETE /v1/images/{id}": "/v1/images/" + noID, "POST /jobs": "/jobs", "GET /jobs": "/jobs", "DELETE /jobs/{id}": "/jobs/" + damagedJob, "POST /jobs/{id}/retry": "/jobs/" + damagedJob + "/retry", "GET /jobs/{id}": "/jobs/" + damagedJob,
		"GET /files/{id}/{name}": w.file, "GET /openapi.json": "/openapi.json", "GET /healthz": "/healthz", "GET /readyz": "/readyz",
	} {
		method, _, _ := strings.Cut(route, " ")
		p[route+" 403"] = func() daemontest.Answer { return guarded.Request(method, e.URL+path, nil) }
		p[route+" 421"] = func() daemontest.Answer { return open.Request(method, path, nil, rebound) }
	}
	return p
}

// The suite fails on an answer that the document does not have. Here is the
// other half: the document has no answer that cannot be provoked.
func TestDocumentedAnswersCanAllBeHad(t *testing.T) {
	t.Parallel()
	w := newWalker(t)
	all := make(provoked)
	for _, p := range []provoked{w.ofImages(), w.ofJobs(), w.ofJobsThatAreManaged(), w.ofFilesAndTheRest(), w.forbidden()} {
		maps.Copy(all, p)
	}
	known := slices.Concat(slices.Collect(maps.Keys(all)), slices.Collect(maps.Keys(neverAnswered)))
	slices.Sort(known)
	if diff := cmp.Diff(answersOf(w.s.Contract), known); diff != "" {
		t.Errorf("the answers differ (-document +test):\n%s", diff)
	}
	for key, provoke := range all {
		t.Run(key, func(t *testing.T) {
			a := provoke()
			r := a.Request
			if got := r.Method + " " + w.s.Contract.Find(r.Method, r.URL.Path).Path + " " + a.Status[:3]; got != key {
				t.Errorf("got %s %s", got, a.Body)
			}
		})
	}
}

// answersOf lists "METHOD path status" for each answer of the document.
func answersOf(c *daemontest.Contract) (answers []string) {
	for path, item := range c.Doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				answers = append(answers, method+" "+path+" "+status)
			}
		}
	}
	slices.Sort(answers)
	return answers
}

// fullDaemon has no place in its queue.
func fullDaemon(t *testing.T) *daemontest.Server {
	t.Helper()
	s := daemontest.Start(t, func(c *config.Config) { c.Queue.MaxPending = 1 })
	w := s.Dial(t)
	w.Post(daemontest.ContentLength(1000))
	w.Send(daemontest.SmallJPEG(t, 75)[:500])
	daemontest.Eventually(t, "an upload is coming in", func() bool { return len(s.Names("spool")) == 1 })
	return s
}

// noSpaceLeft wants more of the disk than there is.
func noSpaceLeft(c *config.Config) { c.Storage.MinFree = 1 << 60 }

const damagedJob = "job_01arz3ndektsv4rrffq69g5fav"

// damagedDaemon is one whose folders somebody else was in.
func damagedDaemon(t *testing.T) *daemontest.Server {
	t.Helper()
	s := daemontest.Prepare(t)
	set := "files/" + noID + "/manifest.json"
	for name, content := range map[string]string{
		set: `{"version": 1, "id": "` + noID + `", "created_at": "2026-11-21T20:46:00.000Z"}`, "queue/done/" + damagedJob + ".json": "{broken",
	} {
		if err := os.MkdirAll(filepath.Dir(s.Path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.Path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	// A file that cannot be opened says nothing about its content, so the set stays.
	if err := errors.Join(os.Remove(s.Path(set)), os.Symlink("manifest.json", s.Path(set))); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"spool", "files/.staging"} {
		if err := os.RemoveAll(s.Path(folder)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// neverFailedWith are the codes of jobs that no test can provoke, and why they
// are in the document all the same.
var neverFailedWith = map[string]string{
	"insufficient_storage": "a job that was answered 202 waits for space; only one that is answered 202 at the very moment when it fails has this",
	"unavailable":          "a job waits for a bucket that is away; only one that is answered 202 at the very moment when it fails has this",
}

// originOfFaults has an image for each way in which a job can fail. A request
// with ?held closes asked, and is answered when release is closed.
func originOfFaults(t *testing.T, asked chan<- struct{}, release <-chan struct{}) *httptest.Server {
	t.Helper()
	half := daemontest.BimgImage(t, "test.jpg")
	images := map[string][]byte{
		"/small": daemontest.SmallJPEG(t, 80), "/empty": nil, "/large": append(daemontest.SmallJPEG(t, 85), make([]byte, 9<<20)...), "/text": []byte("text"), "/half": half[:len(half)/2],
		"/pixels": withJPEGSize(t, half, 20000, 14000), "/frames": daemontest.GIF(t, 8, 8, 31),
		"/long": daemontest.JPEG(t, image.NewGray(image.Rect(0, 0, 17000, 4)), 80), "/slow": daemontest.JPEG(t, daemontest.Noise(81, 1500, 1500), 90),
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, there := images[r.URL.Path]
		switch {
		case r.URL.Path == "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
		case !there:
			http.NotFound(w, r)
		case r.URL.RawQuery == "held":
			close(asked)
			<-release
			fallthrough
		default:
			_, _ = w.Write(b) // the daemon may have heard enough
		}
	}))
	t.Cleanup(origin.Close)
	return origin
}

// freezeAfterFaults freezes the one codec of a server whose last job may have
// ended it: the next image, one that the server does not have yet, starts
// another.
func freezeAfterFaults(s *daemontest.Server, image []byte) (thaw func()) {
	s.T.Helper()
	s.Upload(image).Manifest(s.T, http.StatusCreated)
	_, thaw = s.Freeze()
	return thaw
}

// canceledJob cancels a job that waits for another one.
func canceledJob(s *daemontest.Server) daemontest.Job {
	thaw := freezeAfterFaults(s, daemontest.SmallJPEG(s.T, 85))
	running := s.Submit(daemontest.SmallJPEG(s.T, 86))
	s.AwaitJobs(1, 0)
	j := s.Submit(daemontest.SmallJPEG(s.T, 87))
	s.Request(http.MethodDelete, "/jobs/"+j.ID, nil)
	thaw()
	s.AwaitJob(running.ID)
	return s.AwaitJob(j.ID)
}

func TestFailedJobsCanHaveEachDocumentedCode(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	origin := originOfFaults(t, asked, release)
	fetches := func(c *config.Config) {
		c.Storage.KeepOriginals = true
		c.Fetch.AllowPrivate, c.Fetch.AllowHosts, c.Fetch.Concurrency = true, []string{"127.0.0.1"}, 1
		c.Limits.MaxFrames = 30
	}
	s := daemontest.Start(t, daemontest.OneCodec, limitBytes(8<<20), fetches)
	impatient := daemontest.Start(t, daemontest.OneCodec, fetches, func(c *config.Config) { c.Codec.Timeout, c.Ladder.Effort.AVIF = time.Second, 8 })
	order := func(s *daemontest.Server, input, options string) daemontest.Job {
		t.Helper()
		body := fmt.Sprintf(`{"input": %q, "options": %s}`, input, options)
		return s.PostJob(body).Job(t, http.StatusAccepted)
	}
	end := func(s *daemontest.Server, input, options string) func() daemontest.Job {
		return func() daemontest.Job { return s.AwaitJob(order(s, input, options).ID) }
	}
	provoked := map[string]func() daemontest.Job{
		"input_forbidden":    end(s, "https://cdn.example.com/cat.jpg", "{}"),
		"input_not_found":    end(s, origin.URL+"/nothing", "{}"),
		"input_refused":      end(s, origin.URL+"/empty", "{}"),
		"input_unavailable":  end(s, origin.URL+"/down", "{}"),
		"too_large":          end(s, origin.URL+"/large", "{}"),
		"unsupported_format": end(s, origin.URL+"/text", "{}"),
		"corrupt_image":      end(s, origin.URL+"/half", "{}"),
		"too_many_pixels":    end(s, origin.URL+"/pixels", "{}"),
		"too_many_frames":    end(s, origin.URL+"/frames", "{}"),
		"invalid_options":    end(s, origin.URL+"/long", `{"format": "webp"}`),
		"processing_failed":  end(impatient, origin.URL+"/slow", `{"format": "avif"}`),
		"not_found": func() daemontest.Job { // deleted while the job waits for its turn
			m := s.Upload(daemontest.SmallJPEG(t, 82)).Manifest(t, http.StatusCreated)
			held := order(s, origin.URL+"/small?held", "{}")
			<-asked
			j := order(s, "image:"+m.ID, `{"width": 10}`)
			s.Request(http.MethodDelete, "/v1/images/"+m.ID, nil)
			close(release)
			s.AwaitJob(held.ID)
			return s.AwaitJob(j.ID)
		},
		"canceled": func() daemontest.Job { return canceledJob(s) },
		"internal": func() daemontest.Job { // its source is removed by somebody else
			thaw := freezeAfterFaults(s, daemontest.SmallJPEG(t, 88))
			s.Submit(daemontest.SmallJPEG(t, 83))
			s.AwaitJobs(1, 0)
			j := s.Submit(daemontest.SmallJPEG(t, 84))
			if err := os.Remove(s.Path("spool", strings.TrimPrefix(j.Input, "upload:"))); err != nil {
				t.Fatal(err)
			}
			thaw()
			return s.AwaitJob(j.ID)
		},
	}
	known := slices.Concat(slices.Collect(maps.Keys(provoked)), slices.Collect(maps.Keys(neverFailedWith)))
	slices.Sort(known)
	var documented []string
	for _, code := range s.Contract.Doc.Components.Schemas["JobError"].Value.Properties["code"].Value.Enum {
		documented = append(documented, code.(string))
	}
	slices.Sort(documented)
	if !slices.Equal(documented, known) {
		t.Errorf("the document has the codes\n%q, this test knows\n%q", documented, known)
	}
	for _, code := range slices.Sorted(maps.Keys(provoked)) {
		t.Run(code, func(t *testing.T) {
			if j := provoked[code](); j.Status != "failed" || j.Error == nil || j.Error.Code != code {
				t.Errorf("got %s %+v", j.Status, j.Error)
			}
		})
	}
}
