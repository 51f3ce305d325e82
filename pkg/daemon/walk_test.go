package daemon_test

import (
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

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

// neverAnswered are the answers of the document that no test can provoke, and
// why they are in it all the same.
var neverAnswered = map[string]string{
	"GET /v1/images 500":    "a set that cannot be read is left out of the list; only a mistake in the code is left",
	"GET /openapi.json 500": "the document is in the program; only a mistake in the code is left",
	"POST /v1/images 503":   "no request is read any more microseconds after the daemon begins to stop; pkg/httpapi has the test",
	"POST /jobs 503":        "the same",
}

// The suite fails on an answer that the document has not. Here is the other
// half: the document has no answer that cannot be had.
func TestEveryAnswerOfTheDocumentCanBeHad(t *testing.T) {
	t.Parallel()
	const token = "the-token"
	const noID = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
	with := daemontest.Header("Authorization", "Bearer "+token)
	s := daemontest.Start(t, func(c *config.Config) {
		c.Auth.Tokens = []config.Secret{token}
		c.Storage.KeepOriginals = true
	}, limitBytes(1<<20))
	cutsOff := daemontest.Start(t, func(c *config.Config) { c.HTTP.BodyIdle = time.Second })
	full, noSpace, damaged := fullDaemon(t), daemontest.Start(t, noSpaceLeft), damagedDaemon(t)
	m := s.Upload(daemontest.SmallJPEG(t, 70), with).Manifest(t, http.StatusCreated)
	file := "/files/" + m.Variants[0].Key
	imageJob := `{"input": "image:` + m.ID + `", "options": {"width": 10}}`

	get := func(s *daemontest.Server, path string, options ...daemontest.Option) func() daemontest.Answer {
		return func() daemontest.Answer { return s.Get(path, append(options, with)...) }
	}
	anonymous := func(method, path string) func() daemontest.Answer {
		return func() daemontest.Answer { return s.Request(method, path, nil) }
	}
	upload := func(s *daemontest.Server, body []byte, options ...daemontest.Option) func() daemontest.Answer {
		return func() daemontest.Answer { return s.Upload(body, append(options, with)...) }
	}
	order := func(s *daemontest.Server, body string) func() daemontest.Answer {
		return func() daemontest.Answer { return s.PostJob(body, with) }
	}
	stalled := func(path string) func() daemontest.Answer {
		return func() daemontest.Answer {
			w := cutsOff.Dial(t)
			w.Begin(http.MethodPost, path, daemontest.ContentLength(1000), "Content-Type: application/json")
			return w.Answer()
		}
	}

	provoked := map[string]func() daemontest.Answer{
		"POST /v1/images 200": upload(s, daemontest.SmallJPEG(t, 70)),
		"POST /v1/images 201": upload(s, daemontest.SmallJPEG(t, 71)),
		"POST /v1/images 202": upload(s, daemontest.SmallJPEG(t, 72), daemontest.Header("Prefer", "respond-async")),
		"POST /v1/images 400": upload(s, nil),
		"POST /v1/images 401": anonymous(http.MethodPost, "/v1/images"),
		"POST /v1/images 408": stalled("/v1/images"),
		"POST /v1/images 413": upload(s, make([]byte, 2<<20)),
		"POST /v1/images 415": upload(s, []byte("text")),
		"POST /v1/images 422": upload(s, jpegHeader(t, daemontest.SmallJPEG(t, 73))),
		"POST /v1/images 429": upload(full, daemontest.SmallJPEG(t, 74)),
		"POST /v1/images 500": upload(damaged, daemontest.SmallJPEG(t, 74)),
		"POST /v1/images 507": upload(noSpace, daemontest.SmallJPEG(t, 74)),

		"GET /v1/images 200": get(s, "/v1/images?limit=1"),
		"GET /v1/images 400": get(s, "/v1/images?limit=0"),
		"GET /v1/images 401": anonymous(http.MethodGet, "/v1/images"),

		"GET /v1/images/{id} 200": get(s, "/v1/images/"+m.ID),
		"GET /v1/images/{id} 401": anonymous(http.MethodGet, "/v1/images/"+m.ID),
		"GET /v1/images/{id} 404": get(s, "/v1/images/"+noID),
		"GET /v1/images/{id} 500": get(damaged, "/v1/images/"+noID),

		"DELETE /v1/images/{id} 204": func() daemontest.Answer { return s.Request(http.MethodDelete, "/v1/images/"+noID, nil, with) },
		"DELETE /v1/images/{id} 401": anonymous(http.MethodDelete, "/v1/images/"+noID),
		"DELETE /v1/images/{id} 500": func() daemontest.Answer { return damaged.Request(http.MethodDelete, "/v1/images/"+noID, nil) },

		"POST /jobs 202": order(s, imageJob),
		"POST /jobs 400": order(s, `{"input": ""}`),
		"POST /jobs 401": anonymous(http.MethodPost, "/jobs"),
		"POST /jobs 404": order(s, `{"input": "image:`+noID+`"}`),
		"POST /jobs 408": stalled("/jobs"),
		"POST /jobs 415": func() daemontest.Answer { return s.Request(http.MethodPost, "/jobs", strings.NewReader("{}"), with) },
		"POST /jobs 413": order(s, strings.Repeat(" ", 65<<10)),
		"POST /jobs 422": order(s, `{"input": "https://cdn.example.com/cat.jpg", "options": {"width": 100000}}`),
		"POST /jobs 429": order(full, `{"input": "https://cdn.example.com/cat.jpg"}`),
		"POST /jobs 500": order(damaged, `{"input": "https://cdn.example.com/cat.jpg"}`),
		"POST /jobs 507": order(noSpace, `{"input": "https://cdn.example.com/cat.jpg"}`),

		"GET /jobs/{id} 200": func() daemontest.Answer {
			return s.Get(order(s, imageJob)().Header.Get("Location"), daemontest.Header("Prefer", "wait=60"), with)
		},
		"GET /jobs/{id} 401": anonymous(http.MethodGet, "/jobs/"+damagedJob),
		"GET /jobs/{id} 404": get(s, "/jobs/"+damagedJob),
		"GET /jobs/{id} 500": get(damaged, "/jobs/"+damagedJob),

		"GET /files/{id}/{name} 200": get(s, file),
		"GET /files/{id}/{name} 206": get(s, file, daemontest.Header("Range", "bytes=0-9")),
		"GET /files/{id}/{name} 304": get(s, file, daemontest.Header("If-None-Match", "*")),
		"GET /files/{id}/{name} 401": anonymous(http.MethodGet, file),
		"GET /files/{id}/{name} 404": get(s, "/files/"+m.ID+"/1.webp"),
		"GET /files/{id}/{name} 412": get(s, file, daemontest.Header("If-Match", `"x"`)),
		"GET /files/{id}/{name} 416": get(s, file, daemontest.Header("Range", "bytes=1000000-")),
		"GET /files/{id}/{name} 500": get(damaged, "/files/"+noID+"/manifest.json"),

		"GET /openapi.json 200": get(s, "/openapi.json"),
		"GET /openapi.json 401": anonymous(http.MethodGet, "/openapi.json"),
		"GET /healthz 200":      anonymous(http.MethodGet, "/healthz"),
		"GET /readyz 200":       anonymous(http.MethodGet, "/readyz"),
		"GET /readyz 503":       get(noSpace, "/readyz"),
	}

	guarded, e := behindAccess(t)
	open := daemontest.Start(t)
	rebound := func(r *http.Request) { r.Host = "rebind.example.com" }
	for route, path := range map[string]string{
		"POST /v1/images": "/v1/images", "GET /v1/images": "/v1/images", "GET /v1/images/{id}": "/v1/images/" + noID,
		"DELETE /v1/images/{id}": "/v1/images/" + noID, "POST /jobs": "/jobs", "GET /jobs/{id}": "/jobs/" + damagedJob,
		"GET /files/{id}/{name}": file, "GET /openapi.json": "/openapi.json", "GET /healthz": "/healthz", "GET /readyz": "/readyz",
	} {
		method, _, _ := strings.Cut(route, " ")
		provoked[route+" 403"] = func() daemontest.Answer { return guarded.Request(method, e.URL+path, nil) }
		provoked[route+" 421"] = func() daemontest.Answer { return open.Request(method, path, nil, rebound) }
	}

	known := slices.Concat(slices.Collect(maps.Keys(provoked)), slices.Collect(maps.Keys(neverAnswered)))
	slices.Sort(known)
	if documented := answersOf(s.Contract); !slices.Equal(documented, known) {
		t.Errorf("the document has the answers\n%q, this test knows\n%q", documented, known)
	}
	for key, provoke := range provoked {
		t.Run(key, func(t *testing.T) {
			a := provoke()
			r := a.Request
			if got := r.Method + " " + s.Contract.Find(r.Method, r.URL.Path).Path + " " + a.Status[:3]; got != key {
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
	id := strings.Repeat("a", 26)
	for _, name := range []string{"files/" + id + "/manifest.json", "queue/done/" + damagedJob + ".json"} {
		if err := os.MkdirAll(filepath.Dir(s.Path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.Path(name), []byte("{broken"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Launch(); err != nil {
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
}

func TestEveryCodeOfAFailedJobCanBeHad(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	half := daemontest.BimgImage(t, "test.jpg")
	pictures := map[string][]byte{
		"/small": daemontest.SmallJPEG(t, 80), "/empty": nil, "/large": append(daemontest.SmallJPEG(t, 85), make([]byte, 9<<20)...), "/text": []byte("text"), "/half": half[:len(half)/2],
		"/pixels": withJPEGSize(t, half, 20000, 14000), "/frames": daemontest.GIF(t, 8, 8, 31),
		"/long": daemontest.JPEG(t, image.NewGray(image.Rect(0, 0, 17000, 4)), 80), "/slow": daemontest.JPEG(t, daemontest.Noise(81, 1500, 1500), 90),
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, there := pictures[r.URL.Path]
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
		"internal": func() daemontest.Job { // its source is removed by somebody else
			_, thaw := s.Freeze()
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
	for code, provoke := range provoked {
		t.Run(code, func(t *testing.T) {
			if j := provoke(); j.Status != "failed" || j.Error == nil || j.Error.Code != code {
				t.Errorf("got %s %+v", j.Status, j.Error)
			}
		})
	}
}
