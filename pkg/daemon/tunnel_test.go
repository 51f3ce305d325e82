package daemon_test

import (
	"bytes"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
	"github.com/optimizerd/optimizerd/pkg/tunnel/access"
	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

// tunnelled is a daemon as a process, and an edge that a connector has joined
// to it.
type tunnelled struct {
	*daemontest.Process
	edge *edgetest.Edge
	stop func() // ends the connector, if it is not in the daemon
}

// connector is a way to join a daemon to an edge.
type connector struct {
	settings func(*testing.T, *edgetest.Edge) []string
	join     func(*daemontest.Process, *edgetest.Edge) (stop func())
}

// embedded is the daemon's own.
var embedded = connector{
	settings: func(_ *testing.T, e *edgetest.Edge) []string {
		return []string{
			"tunnel.mode=embedded", "tunnel.token_file=" + e.TokenFile, "tunnel.edge_roots=" + e.RootsFile,
			"tunnel.edge_addresses=" + strings.Join(e.Addresses, ","),
		}
	},
	join: func(*daemontest.Process, *edgetest.Edge) func() { return func() {} },
}

// through joins a daemon in this process to an edge.
func through(t *testing.T, e *edgetest.Edge) func(*config.Config) {
	return func(c *config.Config) {
		c.Tunnel.Mode, c.Tunnel.EdgeAddresses, c.Tunnel.EdgeRoots = tunnel.Embedded, e.Addresses, e.RootsFile
		token, err := tunnel.ParseToken(string(daemontest.ReadFile(t, e.TokenFile)))
		if err != nil {
			t.Fatal(err)
		}
		c.Tunnel.Token = &token
	}
}

// behindAccess is a daemon that takes through the tunnel what Cloudflare Access
// has let in, and the edge to come by.
func behindAccess(t *testing.T) (*daemontest.Server, *edgetest.Edge) {
	t.Helper()
	e := edgetest.Start(t)
	s := daemontest.Start(t, withToken, through(t, e), func(c *config.Config) {
		c.Tunnel.Access = access.Config{TeamDomain: "http://127.0.0.1:1", Audiences: []string{"app"}} // it has no keys
	})
	e.AwaitConnections(2)
	return s, e
}

func TestTunnelLetsNothingThroughWithoutAccess(t *testing.T) {
	t.Parallel()
	s, e := behindAccess(t)
	secret := daemontest.Header("Authorization", "Bearer secret")
	for _, path := range []string{"/v1/images", "/healthz", "/readyz", "/files/x/manifest.json"} {
		s.Get(e.URL+path, secret).CheckProblem(t, "forbidden")
		s.Get(e.URL+path, secret, daemontest.Header("Cf-Access-Jwt-Assertion", "junk")).CheckProblem(t, "forbidden")
	}
	s.Request(http.MethodPost, e.URL+"/v1/images", bytes.NewReader(daemontest.SmallJPEG(t, 95)), secret).CheckProblem(t, "forbidden")
	s.CheckNothingLeft()
	s.Upload(daemontest.SmallJPEG(t, 95), secret).Manifest(t, http.StatusCreated) // beside the tunnel the token is enough
}

// Over HTTP/2 a read deadline that has passed ends a body for good, whatever is
// set afterwards.
func TestUploadOutlivesSlowKeysOfAccess(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	key, err := rsa.GenerateKey(crand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	team := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(6 * time.Second) // longer than a body may lie about that nobody reads
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256"}}})
	}))
	defer team.Close()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(fmt.Appendf(nil, `{"iss":%q,"aud":["app"],"exp":%d}`, team.URL, time.Now().Add(time.Hour).Unix()))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	s := daemontest.Start(t, withToken, through(t, e), func(c *config.Config) {
		c.Tunnel.Access = access.Config{TeamDomain: team.URL, Audiences: []string{"app"}}
	})
	e.AwaitConnections(2)
	s.Request(http.MethodPost, e.URL+"/v1/images", bytes.NewReader(uncompressed(1, 3_000_000)),
		daemontest.Header("Authorization", "Bearer secret"), daemontest.Header("Cf-Access-Jwt-Assertion", token)).Manifest(t, http.StatusCreated)
}

func TestTunnelIsSeenInReadinessAndMetrics(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	s := daemontest.Start(t, withToken, through(t, e))
	tunnelIs := func(status, detail string) func() bool {
		return func() bool {
			var r readiness
			a := s.Get("/readyz", daemontest.Bearer(s.Config))
			return json.Unmarshal(a.Body, &r) == nil && r.Parts["tunnel"].Status == status && strings.Contains(r.Parts["tunnel"].Detail, detail)
		}
	}
	daemontest.Eventually(t, "the tunnel is ready", tunnelIs("ready", "tst01, tst02"))
	for series, want := range map[string]float64{
		"optimizerd_tunnel_connections":                        2,
		"optimizerd_tunnel_registrations_total":                2,
		"optimizerd_tunnel_lost_total":                         0,
		`optimizerd_tunnel_edge_connections{location="tst01"}`: 1,
		`optimizerd_tunnel_edge_connections{location="tst02"}`: 1,
	} {
		daemontest.Eventually(t, fmt.Sprint(series, " is ", want), func() bool { return s.Metric(series) == want })
	}
	e.Refuse(edgetest.Unauthorized)
	e.Drop()
	daemontest.Eventually(t, "the tunnel is down", tunnelIs("not_ready", "rejected the tunnel's token"))
	daemontest.Eventually(t, "two connections count as lost", func() bool { return s.Metric("optimizerd_tunnel_lost_total") == 2 })
}

func TestEmbeddedTunnel(t *testing.T) {
	t.Parallel()
	embedded.test(t)
}

// test runs all that has to go through any tunnel.
func (c connector) test(t *testing.T) {
	for name, tc := range map[string]struct {
		test     func(*tunnelled)
		settings []string
		before   func(*testing.T, *edgetest.Edge)
	}{
		"every route":                      {test: (*tunnelled).everyRoute},
		"large uploads stream":             {test: (*tunnelled).largeUploadsStream},
		"uploads without a length":         {test: (*tunnelled).uploadsWithoutALength},
		"refusals come early":              {test: (*tunnelled).refusalsComeEarly, settings: []string{"limits.max_bytes=1MiB"}},
		"many uploads at once":             {test: (*tunnelled).manyUploadsAtOnce},
		"dropped connections":              {test: (*tunnelled).droppedConnections},
		"a stop lets uploads end":          {test: (*tunnelled).aStopLetsUploadsEnd},
		"visitors' addresses, and no more": {test: (*tunnelled).visitorsAddresses, settings: []string{"log.level=debug"}},
		"a refused token": {test: (*tunnelled).aRefusedToken, before: func(_ *testing.T, e *edgetest.Edge) {
			e.Refuse(edgetest.Unauthorized)
		}},
		"a wrong authority": {test: (*tunnelled).aWrongAuthority, before: func(t *testing.T, e *edgetest.Edge) {
			e.RootsFile = edgetest.Start(t).RootsFile
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := edgetest.Start(t)
			if tc.before != nil {
				tc.before(t, e)
			}
			p := daemontest.StartProcess(t, append(append(c.settings(t, e), "auth.tokens_file="+longSecret(t), "ladder.widths=64,128"), tc.settings...)...)
			p.HTTP.Transport = withSecret{p.HTTP.Transport}
			u := &tunnelled{Process: p, edge: e, stop: c.join(p, e)}
			if tc.before == nil {
				e.AwaitConnections(2)
			}
			tc.test(u)
		})
	}
}

// over sends a visitor's request with a token.
func (u *tunnelled) over(method, path string, body io.Reader, options ...daemontest.Option) daemontest.Answer {
	u.T.Helper()
	a, err := u.tryOver(method, path, body, options...)
	if err != nil {
		u.T.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (u *tunnelled) tryOver(method, path string, body io.Reader, options ...daemontest.Option) (daemontest.Answer, error) {
	return u.Try(method, u.edge.URL+path, body, options...)
}

// longSecret returns a file with the token that withSecret sends.
func longSecret(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte("secret-of-16-characters\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// withSecret sends the token with each request that has no other.
type withSecret struct{ http.RoundTripper }

func (b withSecret) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer secret-of-16-characters")
	}
	return b.RoundTripper.RoundTrip(r)
}

func ofLength(n int64) daemontest.Option { return func(r *http.Request) { r.ContentLength = n } }

func (u *tunnelled) everyRoute() {
	t := u.T
	source := daemontest.BimgImage(t, "test.jpg")
	m := u.over(http.MethodPost, "/v1/images?filename=cat.jpg", bytes.NewReader(source)).Manifest(t, http.StatusCreated)
	for _, v := range m.Variants {
		u.fileOver(v)
	}
	u.over(http.MethodGet, "/files/"+m.ID+"/manifest.json", nil).Manifest(t, http.StatusOK)
	u.over(http.MethodGet, "/files/"+m.Variants[0].Key, nil, daemontest.Header("Range", "bytes=99999999-")).CheckProblem(t, "range_not_satisfiable")
	u.over(http.MethodPost, "/v1/images", bytes.NewReader(source)).Manifest(t, http.StatusOK)
	u.over(http.MethodGet, "/v1/images/"+m.ID, nil).Manifest(t, http.StatusOK)
	if a := u.over(http.MethodGet, "/v1/images?limit=1", nil); a.StatusCode != http.StatusOK || !bytes.Contains(a.Body, []byte(m.ID)) {
		t.Errorf("the list is %s %s", a.Status, a.Body)
	}
	accepted := u.over(http.MethodPost, "/v1/images", bytes.NewReader(daemontest.SmallJPEG(t, 90)), daemontest.Header("Prefer", "respond-async"))
	if accepted.StatusCode != http.StatusAccepted {
		t.Fatalf("an asynchronous upload got %s", accepted.Status)
	}
	if a := u.over(http.MethodGet, accepted.Header.Get("Location"), nil, daemontest.Header("Prefer", "wait=90")); !bytes.Contains(a.Body, []byte(`"completed"`)) {
		t.Errorf("its job is %s %s", a.Status, a.Body)
	}
	u.over(http.MethodPost, "/jobs", strings.NewReader(`{"input":"https://127.0.0.1/x.jpg"}`), daemontest.JSON)
	u.over(http.MethodGet, "/openapi.json", nil)
	u.over(http.MethodGet, "/healthz", nil)
	if r := readinessOf(t, u.over(http.MethodGet, "/readyz", nil), http.StatusOK); r.Parts["tunnel"].Status != "ready" {
		t.Errorf("the tunnel is %+v", r.Parts["tunnel"])
	}
	if a := u.over(http.MethodDelete, "/v1/images/"+m.ID, nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE is answered %s", a.Status)
	}
	u.over(http.MethodGet, "/v1/images/"+m.ID, nil).CheckProblem(t, "not_found")
	u.over(http.MethodPut, "/v1/images", strings.NewReader("x")).CheckProblem(t, "method_not_allowed")
	u.over(http.MethodGet, "/metrics", nil).CheckProblem(t, "not_found")
	u.over(http.MethodGet, "/v1/images", nil, daemontest.Header("Authorization", "Bearer another")).CheckProblem(t, "unauthorized")
}

// fileOver requests a file in each way that the contract has.
func (u *tunnelled) fileOver(v manifest.Variant) {
	t, path := u.T, "/files/"+v.Key
	if want := "https://" + strings.TrimPrefix(u.edge.URL, "http://") + path; v.URL != want {
		t.Errorf("the URL of a file is %s, want %s", v.URL, want)
	}
	file := u.over(http.MethodGet, path, nil)
	if digest := sha256.Sum256(file.Body); hex.EncodeToString(digest[:]) != v.SHA256 || file.Header.Get("ETag") != `"`+v.SHA256+`"` {
		t.Errorf("%s: got %s with ETag %s", v.Key, file.Status, file.Header.Get("ETag"))
	}
	part := u.over(http.MethodGet, path, nil, daemontest.Header("Range", "bytes=10-19"))
	if part.StatusCode != http.StatusPartialContent || !bytes.Equal(part.Body, file.Body[10:20]) {
		t.Errorf("%s: a range is answered %s with %d bytes", v.Key, part.Status, len(part.Body))
	}
	parts := u.over(http.MethodGet, path, nil, daemontest.Header("Range", "bytes=0-1,10-19"))
	if parts.StatusCode != http.StatusPartialContent || !bytes.Contains(parts.Body, file.Body[10:20]) {
		t.Errorf("%s: two ranges are answered %s", v.Key, parts.Status)
	}
	if a := u.over(http.MethodGet, path, nil, daemontest.Header("If-None-Match", `"`+v.SHA256+`"`)); a.StatusCode != http.StatusNotModified {
		t.Errorf("%s: If-None-Match is answered %s", v.Key, a.Status)
	}
	head := u.over(http.MethodHead, path, nil)
	if head.ContentLength != v.Bytes || len(head.Body) != 0 {
		t.Errorf("%s: HEAD says %d bytes, want %d", v.Key, head.ContentLength, v.Bytes)
	}
}

// An idle daemon's memory is what a small machine has less for the rest of its
// day.
func TestIdleTunnelTakesLittleMemory(t *testing.T) {
	e := edgetest.Start(t)
	idle := func(settings ...string) (resident, private int64) {
		p := daemontest.StartProcess(t, append(settings, "auth.tokens_file="+longSecret(t))...)
		if len(settings) > 0 {
			e.AwaitConnections(2)
		}
		defer p.Stop()
		return daemontest.Memory(p.Cmd.Process.Pid, "VmRSS"), daemontest.Memory(p.Cmd.Process.Pid, "RssAnon")
	}
	var off, on, offPrivate, onPrivate []int64
	for range 3 {
		r, p := idle()
		off, offPrivate = append(off, r), append(offPrivate, p)
		r, p = idle(embedded.settings(t, e)...)
		on, onPrivate = append(on, r), append(onPrivate, p)
	}
	median := func(n []int64) float64 { return daemontest.MiB(slices.Sorted(slices.Values(n))[len(n)/2]) }
	figure(t, "idle daemon, tunnel off and embedded", "%.1f and %.1f MiB resident, %.1f and %.1f of it its own", median(off), median(on), median(offPrivate), median(onPrivate))
	// Of the program's pages, those are resident that were needed since the start.
	if grown := median(onPrivate) - median(offPrivate); grown > 8 {
		t.Errorf("the tunnel takes %.1f MiB", grown)
	}
}

// uncompressed is a TIFF of about so many bytes: noise, and the same for the
// same seed.
func uncompressed(seed uint64, bytes int) []byte {
	const width, samples, tags = 6000, 3, 10
	height := bytes / (width * samples)
	const pixels = 8 + 2 + tags*12 + 4 + 6 + 2
	b := make([]byte, pixels+height*width*samples)
	le := binary.LittleEndian
	copy(b, "II*\x00\x08\x00\x00\x00")
	le.PutUint16(b[8:], tags)
	bits := uint32(pixels - 8)
	for i, tag := range [tags][4]uint32{ // number, type, count, value
		{256, 4, 1, width},
		{257, 4, 1, uint32(height)},
		{258, 3, 3, bits},
		{259, 3, 1, 1},
		{262, 3, 1, 2},
		{273, 4, 1, pixels},
		{277, 3, 1, samples},
		{278, 4, 1, uint32(height)},
		{279, 4, 1, uint32(height * width * samples)},
		{284, 3, 1, 1},
	} {
		at := b[10+12*i:]
		le.PutUint16(at, uint16(tag[0]))
		le.PutUint16(at[2:], uint16(tag[1]))
		le.PutUint32(at[4:], tag[2])
		le.PutUint32(at[8:], tag[3])
	}
	for i := range samples {
		le.PutUint16(b[int(bits)+2*i:], 8)
	}
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b[pixels:]) // it has no errors
	return b
}

func (u *tunnelled) largeUploadsStream() {
	t := u.T
	u.CheckMakes(daemontest.SmallJPEG(t, 91)) // whatever is made once, is made
	var peaks []int64
	for i, size := range []int{10_000_000, 60_000_000} {
		source := uncompressed(uint64(i), size)
		measured := u.Watch()
		a, ok := <-u.inHalves(source)()
		if !ok {
			return
		}
		m, err := u.CheckSet(a, source)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if m.Source.Bytes != int64(len(source)) {
			t.Errorf("the source has %d bytes, want %d", m.Source.Bytes, len(source))
		}
		peaks = append(peaks, measured().Daemon)
	}
	figure(t, "memory of the daemon through a tunnel: 10 MB, 60 MB", "%.0f MiB, %.0f MiB", daemontest.MiB(peaks[0]), daemontest.MiB(peaks[1]))
	if peaks[1] > peaks[0]+16<<20 {
		t.Errorf("60 MB took %.0f MiB, 10 MB %.0f: the upload is held in memory", daemontest.MiB(peaks[1]), daemontest.MiB(peaks[0]))
	}
}

// inHalves sends the first half of an upload, waits until the daemon has most of
// it, and returns what sends the rest. The channel is closed without an answer if
// there is none, which fails the test.
func (u *tunnelled) inHalves(source []byte) (rest func() <-chan daemontest.Answer) {
	body, w := io.Pipe()
	answered := make(chan daemontest.Answer, 1)
	go func() {
		defer close(answered)
		a, err := u.tryOver(http.MethodPost, "/v1/images", body, ofLength(int64(len(source))))
		if err != nil {
			u.T.Errorf("an upload of %d bytes: %v", len(source), err)
			return
		}
		answered <- a
	}()
	half := len(source) / 2
	feed(u.T, w, source[:half])
	daemontest.Eventually(u.T, "the first half is in the spool", func() bool { return u.spooled() > int64(half)*3/4 })
	return func() <-chan daemontest.Answer {
		feed(u.T, w, source[half:])
		w.Close()
		return answered
	}
}

func feed(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Errorf("the body is not accepted: %v", err)
	}
}

// spooled is how many bytes lie in the spool.
func (u *tunnelled) spooled() (n int64) {
	for _, name := range u.Names("spool") {
		if info, err := os.Stat(u.Path("spool", name)); err == nil {
			n += info.Size()
		}
	}
	return n
}

func (u *tunnelled) uploadsWithoutALength() {
	source := daemontest.BimgImage(u.T, "test.jpg")
	a := u.over(http.MethodPost, "/v1/images", io.MultiReader(bytes.NewReader(source)), ofLength(-1))
	if m := a.Manifest(u.T, http.StatusCreated); m.Source.Bytes != int64(len(source)) {
		u.T.Errorf("the source has %d bytes, want %d", m.Source.Bytes, len(source))
	}
}

func (u *tunnelled) refusalsComeEarly() {
	source := uncompressed(1, 8<<20)
	for _, length := range map[string]int64{"declared": int64(len(source)), "not declared": -1} {
		u.over(http.MethodPost, "/v1/images", io.MultiReader(bytes.NewReader(source)), ofLength(length)).CheckProblem(u.T, "too_large")
		u.CheckEmpty("spool")
	}
	u.over(http.MethodPost, "/v1/images", bytes.NewReader(daemontest.SmallJPEG(u.T, 92))).Manifest(u.T, http.StatusCreated)
}

func (u *tunnelled) manyUploadsAtOnce() {
	var all sync.WaitGroup
	for i := range 20 {
		source := daemontest.SmallJPEG(u.T, uint64(100+i))
		all.Go(func() {
			a, err := u.tryOver(http.MethodPost, "/v1/images", bytes.NewReader(source))
			if err != nil {
				u.T.Errorf("upload %d: %v", i, err)
			} else if _, err := u.CheckSet(a, source); err != nil {
				u.T.Errorf("upload %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

func (u *tunnelled) droppedConnections() {
	t := u.T
	var sources [][]byte
	var halves []*io.PipeWriter
	failed := make(chan error)
	visitor := &http.Transport{DisableKeepAlives: true} // its answer is the edge's: the contract has nothing of it
	for i := range 6 {
		source := uncompressed(uint64(i), 1_000_000)
		body, w := io.Pipe()
		sources, halves = append(sources, source), append(halves, w)
		go func() {
			res, err := visitor.RoundTrip(u.uploadOf(body, len(source)))
			if err != nil {
				failed <- nil
				return
			}
			defer res.Body.Close()
			if err = nil; res.StatusCode < 500 {
				err = fmt.Errorf("upload %d is answered %s", i, res.Status)
			}
			failed <- err
		}()
		feed(t, w, source[:500_000])
	}
	daemontest.Eventually(t, "six uploads are coming in", func() bool { return len(u.Names("spool")) == 6 && u.spooled() > 2_000_000 })
	u.edge.Drop()
	for range halves {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	for _, w := range halves {
		w.Close()
	}
	u.CheckNothingLeft()
	u.edge.AwaitConnections(2)
	for i, source := range sources {
		a := u.over(http.MethodPost, "/v1/images", bytes.NewReader(source))
		if _, err := u.CheckSet(a, source); err != nil {
			t.Errorf("upload %d again: %v", i, err)
		}
	}
}

// uploadOf is a visitor's upload as a request.
func (u *tunnelled) uploadOf(body io.Reader, length int) *http.Request {
	r, err := http.NewRequest(http.MethodPost, u.edge.URL+"/v1/images", body)
	if err != nil {
		u.T.Fatal(err)
	}
	r.ContentLength = int64(length)
	r.Header.Set("Authorization", "Bearer secret-of-16-characters")
	return r
}

func (u *tunnelled) aStopLetsUploadsEnd() {
	t := u.T
	rest := u.inHalves(uncompressed(1, 2_000_000))
	u.Interrupt()
	daemontest.Eventually(t, "the daemon is stopping", func() bool { return bytes.Contains(daemontest.ReadFile(t, u.LogFile), []byte(`"stopping"`)) })
	if a, ok := <-rest(); ok && a.StatusCode != http.StatusAccepted && a.StatusCode != http.StatusCreated {
		t.Errorf("the upload at the stop is answered %s %s", a.Status, a.Body)
	}
	<-u.Ended
	if !u.Cmd.ProcessState.Success() {
		t.Errorf("the daemon ended with %v, want 0", u.Cmd.ProcessState)
	}
	u.stop()
	if n := u.edge.Unregistered(); n != 2 {
		t.Errorf("%d of 2 connections were unregistered", n)
	}
}

func (u *tunnelled) aRefusedToken() {
	u.edge.AwaitRefusals(2)
	u.CheckMakes(daemontest.SmallJPEG(u.T, 96)) // for its own network it works
	u.edge.Refuse(nil)
	u.edge.AwaitConnections(2)
	u.over(http.MethodPost, "/v1/images", bytes.NewReader(daemontest.SmallJPEG(u.T, 97))).Manifest(u.T, http.StatusCreated)
}

func (u *tunnelled) aWrongAuthority() {
	u.edge.AwaitFailedHandshakes(2)
	u.stop() // some connectors try again without a pause
	u.CheckMakes(daemontest.SmallJPEG(u.T, 98))
	if n := len(u.edge.Registrations()) + u.edge.Refusals(); n != 0 {
		u.T.Errorf("%d registrations were sent to it", n)
	}
}

func (u *tunnelled) visitorsAddresses() {
	t := u.T
	forged := []daemontest.Option{daemontest.Header("Cf-Connecting-Ip", "198.51.100.1"), daemontest.Header("X-Forwarded-Host", "evil.example"), daemontest.Header("X-Request-Id", "over")}
	m := u.over(http.MethodPost, "/v1/images", bytes.NewReader(daemontest.SmallJPEG(t, 93)), forged...).Manifest(t, http.StatusCreated)
	if host := strings.TrimPrefix(u.edge.URL, "http://"); !strings.HasPrefix(m.Variants[0].URL, "https://"+host+"/") {
		t.Errorf("through the tunnel the URL of a file is %s", m.Variants[0].URL)
	}
	if got := u.clientOf("over"); got != edgetest.VisitorIP {
		t.Errorf("through the tunnel the client is %q, want %s", got, edgetest.VisitorIP)
	}
	a, err := u.TryUpload(daemontest.SmallJPEG(t, 94), daemontest.Header("X-Forwarded-Proto", "https"), daemontest.Header("Cf-Connecting-Ip", "198.51.100.1"), daemontest.Header("X-Request-Id", "beside"))
	if err != nil {
		t.Fatal(err)
	}
	var beside manifest.Manifest
	a.Decode(t, &beside, http.StatusCreated)
	if !strings.HasPrefix(beside.Variants[0].URL, u.URL+"/") {
		t.Errorf("without the tunnel the URL of a file is %s", beside.Variants[0].URL)
	}
	if got := u.clientOf("beside"); got != "127.0.0.1" {
		t.Errorf("without the tunnel the client is %q, want 127.0.0.1", got)
	}
}

// clientOf is the client's address in the log's line about a request, beside that of
// its job.
func (u *tunnelled) clientOf(requestID string) (client string) {
	u.T.Helper()
	daemontest.Eventually(u.T, "a line about the request "+requestID, func() bool {
		for line := range bytes.Lines(daemontest.ReadFile(u.T, u.LogFile)) {
			var entry struct {
				Client    string
				RequestID string `json:"request_id"`
			}
			if json.Unmarshal(line, &entry) == nil && entry.RequestID == requestID && entry.Client != "" {
				client = entry.Client
				return true
			}
		}
		return false
	})
	return client
}
