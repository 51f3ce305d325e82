//go:build versitygw || fleet

package daemon_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// inBucket has a daemon keep its sets in the bucket at url.
func inBucket(url string) func(*config.Config) {
	return func(c *config.Config) {
		key := s3test.Key()
		c.Storage.S3, c.Storage.S3Key = s3test.Config(url), &key
	}
}

// objects returns the keys in the bucket.
func objects(t *testing.T, server *s3test.Server) (keys []string) {
	t.Helper()
	root := filepath.Join(server.Dir, s3test.BucketName)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != root:
			return nil // a folder that the server has just deleted
		case err == nil && d.Type().IsRegular():
			key, _ := filepath.Rel(root, path)
			keys = append(keys, key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestS3ServesWhatItStored(t *testing.T) {
	server := s3test.Start(t)
	s := daemontest.Start(t, inBucket(server.URL))
	source := daemontest.SmallJPEG(t, 1)
	a := s.Upload(source)
	m, err := s.CheckSet(a, source)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, v := range m.Variants {
		want = append(want, v.Key)
	}
	want = append(want, m.ID+"/"+manifest.FileName)
	slices.Sort(want)
	if got := objects(t, server); !slices.Equal(got, want) {
		t.Errorf("the bucket has %v, want %v", got, want)
	}
	if _, err := os.Stat(s.Path("files")); !os.IsNotExist(err) {
		t.Errorf("the data directory has files: %v", err)
	}
	v := m.Variants[0]
	whole := s.Get("/files/" + v.Key)
	if got := whole.Header.Get("ETag"); got != `"`+v.SHA256+`"` {
		t.Errorf("ETag is %s", got)
	}
	for header, status := range map[string]int{
		"Range: bytes=0-0": 206, "Range: bytes=5-": 206, "Range: bytes=-7": 206, "Range: bytes=0-1,4-5": 206,
		"Range: bytes=9999999-": 416, "If-None-Match: \"" + v.SHA256 + "\"": 304,
	} {
		name, value, _ := strings.Cut(header, ": ")
		part := s.Get("/files/"+v.Key, daemontest.Header(name, value))
		if part.StatusCode != status {
			t.Errorf("%s: got %s %.200s", header, part.Status, part.Body)
		}
		if first, last, ok := strings.Cut(strings.TrimPrefix(part.Header.Get("Content-Range"), "bytes "), "-"); ok && status == 206 {
			from, _ := strconv.Atoi(first)
			to, _ := strconv.Atoi(last[:strings.Index(last, "/")])
			if string(part.Body) != string(whole.Body[from:to+1]) {
				t.Errorf("%s: other bytes than %d to %d", header, from, to)
			}
		}
	}
	if again := s.Upload(source); again.StatusCode != http.StatusOK {
		t.Errorf("the same upload: %s", again.Status)
	}
	if err := s.Delete(m.ID); err != nil {
		t.Fatal(err)
	}
	if got := objects(t, server); len(got) != 0 {
		t.Errorf("after the deletion there are %v", got)
	}
	s.CheckNothingLeft()
}

func TestS3StartSaysWhatIsWrong(t *testing.T) {
	server := s3test.Start(t)
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"key": {func(c *config.Config) {
			key := s3.NewKey("nobody", "nothing")
			c.Storage.S3Key = &key
		}, "storage.s3.key_file"},
		"bucket": {func(c *config.Config) { c.Storage.S3.Bucket = "elsewhere" }, "storage.s3.bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			err := daemontest.Prepare(t, inBucket(server.URL), c.change).Launch()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestS3StoreThatIsAwayAtTheStartIsWaitedFor(t *testing.T) {
	server := s3test.Start(t)
	server.Down()
	s := daemontest.Start(t, inBucket(server.URL))
	s.Upload(daemontest.SmallJPEG(t, 1)).CheckProblem(t, string(fault.Unavailable))
	if ready := s.Get("/readyz"); ready.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(ready.Body), `"store":{"status":"not_ready"`) {
		t.Errorf("readiness: %s %s", ready.Status, ready.Body)
	}
	server.Up()
	daemontest.Eventually(t, "ready", func() bool { return s.Get("/readyz").StatusCode == http.StatusOK })
	s.CheckServes()
}

// storeOutage is an object store that goes away in the middle of uploads, and comes
// back after some of them were refused.
type storeOutage struct {
	s        *daemontest.Server
	down, up func() // the second call does nothing
	back     chan struct{}

	begun, refused atomic.Int64

	mu       sync.Mutex
	promised []string // ids of jobs
}

// The store is away from one attempt until that many refusals.
const outageUploads, outageBegins, outageRefusals = 50, 16, 15

// upload sends the image i until it is not refused any more. Every second client does
// not wait for the set.
func (o *storeOutage) upload(t *testing.T, i int) {
	source := daemontest.SmallJPEG(t, uint64(i))
	var options []daemontest.Option
	if i%2 == 0 {
		options = append(options, daemontest.Header("Prefer", "respond-async"))
	}
	for {
		if o.begun.Add(1) == outageBegins {
			o.down()
		}
		a, err := o.s.TryUpload(source, options...)
		switch {
		case err != nil:
			t.Error(err)
			return
		case a.StatusCode == http.StatusServiceUnavailable:
			o.awaitStore(t, a)
		case a.StatusCode == http.StatusAccepted:
			o.mu.Lock()
			defer o.mu.Unlock()
			o.promised = append(o.promised, strings.TrimPrefix(a.Header.Get("Location"), "/jobs/"))
			return
		default:
			// 200: the store had all of an upload that was refused as it went away.
			if a.StatusCode != http.StatusCreated && a.StatusCode != http.StatusOK {
				t.Errorf("got %s %s", a.Status, a.Body)
			}
			return
		}
	}
}

// awaitStore waits after a refusal as its Retry-After says, once there were enough.
func (o *storeOutage) awaitStore(t *testing.T, refusal daemontest.Answer) {
	if refusal.Code() != string(fault.Unavailable) || refusal.Header.Get("Retry-After") == "" {
		t.Errorf("got %s, Retry-After %q", refusal.Body, refusal.Header.Get("Retry-After"))
	}
	n := o.refused.Add(1)
	if n == outageRefusals {
		o.up()
	}
	if n >= outageRefusals {
		<-o.back
		awaitReady(o.s)
	}
}

func TestS3StoreThatIsAwayLosesNothing(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	s := daemontest.Start(t, inBucket(proxy.URL), func(c *config.Config) {
		c.Storage.UploadMemory = 8 << 20
		c.HTTP.SyncWait = time.Second // an upload that was in work when the store went away is answered then
	})
	o := &storeOutage{s: s, down: sync.OnceFunc(server.Down), back: make(chan struct{})}
	o.up = sync.OnceFunc(func() {
		server.Up()
		close(o.back)
	})
	var clients sync.WaitGroup
	next := make(chan int, outageUploads)
	for i := range outageUploads {
		next <- i
	}
	close(next)
	for range 4 {
		clients.Go(func() {
			for i := range next {
				o.upload(t, i)
			}
		})
	}
	clients.Wait()
	o.up()
	for _, id := range o.promised {
		if j := s.AwaitJob(id); j.Status != "completed" {
			t.Errorf("job %s: %s, %v", id, j.Status, j.Error)
		}
	}
	for i := range outageUploads { // all are there
		source := daemontest.SmallJPEG(t, uint64(i))
		a := s.Upload(source)
		if _, err := s.CheckSet(a, source); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("upload %d: %s, %v", i, a.Status, err)
		}
	}
	if over := proxy.Overwritten(); len(over) != 0 {
		t.Errorf("overwritten: %v", over)
	}
	t.Logf("%d refused, %d promised", o.refused.Load(), len(o.promised))
}

// awaitReady returns when the daemon is ready again. It may be called from any
// goroutine.
func awaitReady(s *daemontest.Server) {
	for deadline := time.Now().Add(daemontest.Patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if a, err := s.Try(http.MethodGet, "/readyz", nil); err == nil && a.StatusCode == http.StatusOK {
			return
		}
	}
}

// A daemon is killed in the middle of each put of a set.
func TestS3DaemonKilledInAPutLosesNothing(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	keyFile := s3test.KeyFile(t)
	dir := t.TempDir()
	settings := []string{
		"storage.dir=" + dir, "ladder.widths=64,128", "storage.s3.endpoint=" + proxy.URL, "storage.s3.bucket=" + s3test.BucketName,
		"storage.s3.region=us-east-1", "storage.s3.key_file=" + keyFile,
	}
	for put := 1; put <= 5; put++ { // four files and the manifest
		source := daemontest.SmallJPEG(t, uint64(put))
		p := daemontest.StartProcess(t, settings...)
		var puts atomic.Int64
		reached := make(chan struct{})
		proxy.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || puts.Add(1) != int64(put) {
				return false
			}
			close(reached)
			<-p.Ended
			s3test.HangUp()
			return true
		})
		j := p.Submit(source)
		<-reached
		p.Kill()
		<-p.Ended
		proxy.Intercept(nil)
		again := daemontest.StartProcess(t, settings...)
		if ended := again.AwaitJob(j.ID); ended.Status != "completed" {
			t.Errorf("put %d: the job is %s: %v", put, ended.Status, ended.Error)
		}
		a := again.Upload(source)
		if _, err := again.CheckSet(a, source); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("put %d: %s, %v", put, a.Status, err)
		}
		again.Stop()
	}
	if over := proxy.Overwritten(); len(over) != 0 {
		t.Errorf("overwritten: %v", over)
	}
}

// What must survive the daemon goes to the store and not to the disk.
func TestS3UploadInMemorySurvivesInTheBucket(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	dir := t.TempDir()
	settings := []string{
		"storage.dir=" + dir, "ladder.widths=64,128", "storage.upload_memory=8MiB", "storage.keep_originals=true",
		"storage.s3.endpoint=" + proxy.URL, "storage.s3.bucket=" + s3test.BucketName,
		"storage.s3.region=us-east-1", "storage.s3.key_file=" + s3test.KeyFile(t),
	}
	p := daemontest.StartProcess(t, settings...)
	reached := make(chan struct{})
	var once sync.Once
	proxy.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || strings.Contains(r.URL.Path, "/sources/") {
			return false
		}
		once.Do(func() { close(reached) })
		<-p.Ended
		s3test.HangUp()
		return true
	})
	source := daemontest.SmallJPEG(t, 1)
	j := p.Submit(source)
	<-reached
	if got := objects(t, server); !slices.Equal(got, []string{"sources/" + j.ID}) {
		t.Errorf("the bucket has %v", got)
	}
	if names := p.Names("spool"); len(names) != 0 {
		t.Errorf("the spool has %v", names)
	}
	p.Kill()
	<-p.Ended
	proxy.Intercept(nil)
	again := daemontest.StartProcess(t, settings...)
	if ended := again.AwaitJob(j.ID); ended.Status != "completed" {
		t.Fatalf("the job is %s: %v", ended.Status, ended.Error)
	}
	var m manifest.Manifest
	again.Upload(source).Decode(t, &m, http.StatusOK)
	daemontest.Eventually(t, "the upload is deleted", func() bool {
		return !slices.ContainsFunc(objects(t, server), func(key string) bool { return strings.HasPrefix(key, "sources/") })
	})
	if !slices.Contains(objects(t, server), "originals/"+m.ID) {
		t.Errorf("no original among %v", objects(t, server))
	}
}

// Two daemons with folders of their own make the same sets in one bucket.
func TestS3FailedUploadInMemoryIsRetried(t *testing.T) {
	server := s3test.Start(t)
	inMemory := func(c *config.Config) { c.Storage.UploadMemory = 1 << 20 }
	s := daemontest.Start(t, inBucket(server.URL), inMemory)
	id := failedUpload(s).ID
	s.Stop()
	s = daemontest.Start(t, s.SameDir, inBucket(server.URL), inMemory)
	for attempt := 2; attempt <= 3; attempt++ {
		if j := retry(s, id); j.Status != "failed" || j.Error.Code != "corrupt_image" || j.Attempts != attempt {
			t.Errorf("attempt %d ends as %+v", attempt, j)
		}
	}
	if got := objects(t, server); !slices.Equal(got, []string{"sources/" + id}) {
		t.Errorf("the bucket has %v, want the source of the failed job", got)
	}
	s.CheckEmpty("spool")
}

func TestS3DaemonsMakeOneSetTogether(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	daemons := []*daemontest.Server{daemontest.Start(t, inBucket(proxy.URL)), daemontest.Start(t, inBucket(proxy.URL))}
	for i := range 5 {
		source := daemontest.SmallJPEG(t, uint64(i))
		var both sync.WaitGroup
		for _, s := range daemons {
			both.Go(func() {
				a, err := s.TryUpload(source)
				if err == nil {
					_, err = s.CheckSet(a, source)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	if over := proxy.Overwritten(); len(over) != 0 {
		t.Errorf("overwritten: %v", over)
	}
}

// A file whose store is out of reach is a problem of the contract, not half a file.
func TestS3FileOfAStoreThatIsAway(t *testing.T) {
	server := s3test.Start(t)
	s := daemontest.Start(t, inBucket(server.URL))
	source := daemontest.SmallJPEG(t, 1)
	var m manifest.Manifest
	s.Upload(source).Decode(t, &m, http.StatusCreated)
	server.Down()
	path := "/files/" + m.Variants[0].Key
	s.Get(path).CheckProblem(t, string(fault.Unavailable))
	s.Get(path, daemontest.Header("Range", "bytes=0-1")).CheckProblem(t, string(fault.Unavailable))
	if head := s.Request(http.MethodHead, path, nil); head.StatusCode != http.StatusOK || head.ContentLength != m.Variants[0].Bytes {
		t.Errorf("HEAD, which needs no store: %s, %d bytes", head.Status, head.ContentLength)
	}
	if got := s.Get("/v1/images/" + m.ID); got.StatusCode != http.StatusOK {
		t.Errorf("the manifest, which needs no store: %s", got.Status)
	}
	s.Request(http.MethodDelete, "/v1/images/"+m.ID, nil).CheckProblem(t, string(fault.Unavailable))
	if got := s.Get("/v1/images/" + m.ID); got.StatusCode != http.StatusNotFound {
		t.Errorf("a set that is being deleted: %s", got.Status)
	}
	server.Up()
	daemontest.Eventually(t, "the deletion is finished", func() bool { return len(objects(t, server)) == 0 })
}

// A store without space refuses uploads as a full disk does; what was promised waits.
func TestS3FullStore(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	s := daemontest.Start(t, inBucket(proxy.URL))
	before, waiting, refused := daemontest.SmallJPEG(t, 1), daemontest.SmallJPEG(t, 2), daemontest.SmallJPEG(t, 3)
	var m manifest.Manifest
	s.Upload(before).Decode(t, &m, http.StatusCreated)
	full := make(chan struct{})
	once := sync.OnceFunc(func() { close(full) })
	proxy.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		once()
		s3test.Refuse(w, http.StatusInsufficientStorage, "XMinioStorageFull")
		return true
	})
	j := s.Submit(waiting)
	<-full
	daemontest.Eventually(t, "not ready", func() bool {
		ready := s.Get("/readyz")
		return ready.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(ready.Body), "The object store is full.")
	})
	s.Upload(refused).CheckProblem(t, string(fault.InsufficientStorage))
	if a := s.Get("/files/" + m.Variants[0].Key); a.StatusCode != http.StatusOK {
		t.Errorf("a file while the store is full: %s", a.Status)
	}
	if err := s.Delete(m.ID); err != nil { // which makes room
		t.Error(err)
	}
	proxy.Intercept(nil)
	if ended := s.AwaitJob(j.ID); ended.Status != "completed" {
		t.Errorf("the job that waited is %s: %v", ended.Status, ended.Error)
	}
	awaitReady(s)
	for _, source := range [][]byte{waiting, refused} {
		if _, err := s.CheckSet(s.Upload(source), source); err != nil {
			t.Error(err)
		}
	}
}

// A store that takes longer than the client waits costs the client a job id, and
// nothing else.
func TestS3SlowStore(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	s := daemontest.Start(t, inBucket(proxy.URL))
	answered := make(chan struct{})
	proxy.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			<-answered
		}
		return false
	})
	source := daemontest.SmallJPEG(t, 1)
	a := s.Upload(source, daemontest.Header("Prefer", "wait=1"))
	close(answered)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("got %s %s", a.Status, a.Body)
	}
	if j := s.AwaitJob(strings.TrimPrefix(a.Header.Get("Location"), "/jobs/")); j.Status != "completed" {
		t.Errorf("the job is %s: %v", j.Status, j.Error)
	}
	if _, err := s.CheckSet(s.Upload(source), source); err != nil {
		t.Error(err)
	}
}

// Its index takes a few kilobytes of the disk, so that deleting images frees nothing there.
func TestS3DeletesNoImagesForSpaceOnTheDisk(t *testing.T) {
	server, d := s3test.Start(t), newDisk(t)
	s := daemontest.Start(t, d.use, inBucket(server.URL), bulky, func(c *config.Config) {
		c.Storage.MinFree, c.Retention.MaxBytes = 1<<20, 7<<20
	})
	photo := daemontest.BimgImage(t, "test.jpg")
	var images []manifest.Manifest
	for range 3 { // more than half of retention.max_bytes
		images = append(images, s.Upload(photo).Manifest(t, http.StatusCreated))
		photo = append(photo, 0) // another image to the daemon
	}
	d.fill(100 << 10)
	s.Upload(daemontest.SmallJPEG(t, 8)).CheckProblem(t, "insufficient_storage")
	for _, m := range images {
		s.Get("/v1/images/"+m.ID).Manifest(t, http.StatusOK)
	}
}
