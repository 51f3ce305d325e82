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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/optimizerd/optimizerd/pkg/access"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

// tunnelled is a daemon as a process, and an edge that a connector has joined
// to it.
type tunnelled struct {
	*program
	edge *edgetest.Edge
	stop func() // ends the connector, if it is not in the daemon
}

// connector is a way to join a daemon to an edge.
type connector struct {
	settings func(*testing.T, *edgetest.Edge) []string
	join     func(*program, *edgetest.Edge) (stop func())
}

// embedded is the daemon's own.
var embedded = connector{
	settings: func(_ *testing.T, e *edgetest.Edge) []string {
		return []string{
			"tunnel.mode=embedded", "tunnel.token_file=" + e.TokenFile, "tunnel.edge_roots=" + e.RootsFile,
			"tunnel.edge_addresses=" + strings.Join(e.Addresses, ","),
		}
	},
	join: func(*program, *edgetest.Edge) func() { return func() {} },
}

// through joins a daemon in this process to an edge.
func through(t *testing.T, e *edgetest.Edge) func(*config.Config) {
	return func(c *config.Config) {
		c.Tunnel.Mode, c.Tunnel.EdgeAddresses, c.Tunnel.EdgeRoots = tunnel.Embedded, e.Addresses, e.RootsFile
		token, err := tunnel.ParseToken(string(readFile(t, e.TokenFile)))
		if err != nil {
			t.Fatal(err)
		}
		c.Tunnel.Token = &token
	}
}

// behindAccess is a daemon that takes through the tunnel what Cloudflare Access
// has let in, and the edge to come by.
func behindAccess(t *testing.T) (*server, *edgetest.Edge) {
	t.Helper()
	e := edgetest.Start(t)
	s := start(t, withToken, through(t, e), func(c *config.Config) {
		c.Tunnel.Access = access.Config{TeamDomain: "http://127.0.0.1:1", Audiences: []string{"app"}} // it has no keys
	})
	e.AwaitConnections(2)
	return s, e
}

func TestWithoutAccessNothingComesThroughTheTunnel(t *testing.T) {
	t.Parallel()
	s, e := behindAccess(t)
	secret := header("Authorization", "Bearer secret")
	for _, path := range []string{"/v1/images", "/healthz", "/readyz", "/files/x/manifest.json"} {
		s.get(e.URL+path, secret).is(t, "forbidden")
		s.get(e.URL+path, secret, header("Cf-Access-Jwt-Assertion", "junk")).is(t, "forbidden")
	}
	s.request(http.MethodPost, e.URL+"/v1/images", bytes.NewReader(small(t, 95)), secret).is(t, "forbidden")
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	s.upload(small(t, 95), secret).manifestOf(t, http.StatusCreated) // beside the tunnel the token is enough
}

// Over HTTP/2 a read deadline that has passed ends a body for good, whatever is
// set afterwards.
func TestAnUploadOutlivesSlowKeysOfAccess(t *testing.T) {
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
	s := start(t, withToken, through(t, e), func(c *config.Config) {
		c.Tunnel.Access = access.Config{TeamDomain: team.URL, Audiences: []string{"app"}}
	})
	e.AwaitConnections(2)
	s.request(http.MethodPost, e.URL+"/v1/images", bytes.NewReader(uncompressed(1, 3_000_000)),
		header("Authorization", "Bearer secret"), header("Cf-Access-Jwt-Assertion", token)).manifestOf(t, http.StatusCreated)
}

func TestTheTunnelIsSeenInReadinessAndMetrics(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	s := start(t, withToken, through(t, e))
	tunnelIs := func(status, detail string) func() bool {
		return func() bool {
			var r readiness
			a := s.get("/readyz")
			return json.Unmarshal(a.body, &r) == nil && r.Parts["tunnel"].Status == status && strings.Contains(r.Parts["tunnel"].Detail, detail)
		}
	}
	eventually(t, "the tunnel is ready", tunnelIs("ready", "tst01, tst02"))
	for series, want := range map[string]float64{
		"optimizerd_tunnel_connections":                        2,
		"optimizerd_tunnel_registrations_total":                2,
		"optimizerd_tunnel_lost_total":                         0,
		`optimizerd_tunnel_edge_connections{location="tst01"}`: 1,
		`optimizerd_tunnel_edge_connections{location="tst02"}`: 1,
	} {
		if got := s.metric(series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	e.Refuse(edgetest.Unauthorized)
	e.Drop()
	eventually(t, "the tunnel is down", tunnelIs("not_ready", "rejected the tunnel's token"))
	if got := s.metric("optimizerd_tunnel_lost_total"); got != 2 {
		t.Errorf("%v connections were lost, want 2", got)
	}
}

func TestTheEmbeddedTunnel(t *testing.T) {
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
		"visitors' addresses, and no more": {test: (*tunnelled).visitorsAddresses},
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
			p := run(t, append(append(c.settings(t, e), "auth.tokens=secret", "ladder.widths=64,128"), tc.settings...)...)
			p.client.Transport = withSecret{p.client.Transport}
			u := &tunnelled{program: p, edge: e, stop: c.join(p, e)}
			if tc.before == nil {
				e.AwaitConnections(2)
			}
			tc.test(u)
		})
	}
}

// over sends a visitor's request with a token.
func (u *tunnelled) over(method, path string, body io.Reader, options ...option) answer {
	u.t.Helper()
	a, err := u.tryOver(method, path, body, options...)
	if err != nil {
		u.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (u *tunnelled) tryOver(method, path string, body io.Reader, options ...option) (answer, error) {
	return u.try(method, u.edge.URL+path, body, options...)
}

// withSecret sends the token with each request that has no other.
type withSecret struct{ http.RoundTripper }

func (b withSecret) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer secret")
	}
	return b.RoundTripper.RoundTrip(r)
}

func ofLength(n int64) option { return func(r *http.Request) { r.ContentLength = n } }

func (u *tunnelled) everyRoute() {
	t := u.t
	source := picture(t, "test.jpg")
	m := u.over(http.MethodPost, "/v1/images?filename=cat.jpg", bytes.NewReader(source)).manifestOf(t, http.StatusCreated)
	host := strings.TrimPrefix(u.edge.URL, "http://")
	for _, v := range m.Variants {
		if want := "https://" + host + "/files/" + v.Key; v.URL != want {
			t.Errorf("the URL of a file is %s, want %s", v.URL, want)
		}
		file := u.over(http.MethodGet, "/files/"+v.Key, nil)
		if digest := sha256.Sum256(file.body); hex.EncodeToString(digest[:]) != v.SHA256 || file.Header.Get("ETag") != `"`+v.SHA256+`"` {
			t.Errorf("%s: got %s with ETag %s", v.Key, file.Status, file.Header.Get("ETag"))
		}
		part := u.over(http.MethodGet, "/files/"+v.Key, nil, header("Range", "bytes=10-19"))
		if part.StatusCode != http.StatusPartialContent || !bytes.Equal(part.body, file.body[10:20]) {
			t.Errorf("%s: a range is answered %s with %d bytes", v.Key, part.Status, len(part.body))
		}
		parts := u.over(http.MethodGet, "/files/"+v.Key, nil, header("Range", "bytes=0-1,10-19"))
		if parts.StatusCode != http.StatusPartialContent || !bytes.Contains(parts.body, file.body[10:20]) {
			t.Errorf("%s: two ranges are answered %s", v.Key, parts.Status)
		}
		if a := u.over(http.MethodGet, "/files/"+v.Key, nil, header("If-None-Match", `"`+v.SHA256+`"`)); a.StatusCode != http.StatusNotModified {
			t.Errorf("%s: If-None-Match is answered %s", v.Key, a.Status)
		}
		head := u.over(http.MethodHead, "/files/"+v.Key, nil)
		if head.ContentLength != v.Bytes || len(head.body) != 0 {
			t.Errorf("%s: HEAD says %d bytes, want %d", v.Key, head.ContentLength, v.Bytes)
		}
	}
	u.over(http.MethodGet, "/files/"+m.ID+"/manifest.json", nil).manifestOf(t, http.StatusOK)
	u.over(http.MethodGet, "/files/"+m.Variants[0].Key, nil, header("Range", "bytes=99999999-")).is(t, "range_not_satisfiable")
	u.over(http.MethodPost, "/v1/images", bytes.NewReader(source)).manifestOf(t, http.StatusOK)
	u.over(http.MethodGet, "/v1/images/"+m.ID, nil).manifestOf(t, http.StatusOK)
	if a := u.over(http.MethodGet, "/v1/images?limit=1", nil); a.StatusCode != http.StatusOK || !bytes.Contains(a.body, []byte(m.ID)) {
		t.Errorf("the list is %s %s", a.Status, a.body)
	}
	accepted := u.over(http.MethodPost, "/v1/images", bytes.NewReader(small(t, 90)), header("Prefer", "respond-async"))
	if accepted.StatusCode != http.StatusAccepted {
		t.Fatalf("an asynchronous upload is answered %s", accepted.Status)
	}
	if a := u.over(http.MethodGet, accepted.Header.Get("Location"), nil, header("Prefer", "wait=20")); !bytes.Contains(a.body, []byte(`"completed"`)) {
		t.Errorf("its job is %s %s", a.Status, a.body)
	}
	u.over(http.MethodPost, "/jobs", strings.NewReader(`{"input":"https://127.0.0.1/x.jpg"}`))
	u.over(http.MethodGet, "/openapi.json", nil)
	u.over(http.MethodGet, "/healthz", nil)
	if r := u.over(http.MethodGet, "/readyz", nil).readiness(t, http.StatusOK); r.Parts["tunnel"].Status != "ready" {
		t.Errorf("the tunnel is %+v", r.Parts["tunnel"])
	}
	if a := u.over(http.MethodDelete, "/v1/images/"+m.ID, nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE is answered %s", a.Status)
	}
	u.over(http.MethodGet, "/v1/images/"+m.ID, nil).is(t, "not_found")
	u.over(http.MethodPut, "/v1/images", strings.NewReader("x")).is(t, "method_not_allowed")
	u.over(http.MethodGet, "/metrics", nil).is(t, "not_found")
	u.over(http.MethodGet, "/v1/images", nil, header("Authorization", "Bearer another")).is(t, "unauthorized")
}

// An idle daemon's memory is what a small machine has less for the rest of its
// day.
func TestAnIdleTunnelTakesLittleMemory(t *testing.T) {
	e := edgetest.Start(t)
	idle := func(settings ...string) (resident, private int64) {
		p := run(t, append(settings, "auth.tokens=secret")...)
		if len(settings) > 0 {
			e.AwaitConnections(2)
		}
		defer p.terminate()
		return memory(p.cmd.Process.Pid, "VmRSS"), memory(p.cmd.Process.Pid, "RssAnon")
	}
	var off, on, offPrivate, onPrivate []int64
	for range 5 {
		r, p := idle()
		off, offPrivate = append(off, r), append(offPrivate, p)
		r, p = idle(embedded.settings(t, e)...)
		on, onPrivate = append(on, r), append(onPrivate, p)
	}
	median := func(n []int64) float64 { return mib(slices.Sorted(slices.Values(n))[len(n)/2]) }
	figure(t, "idle daemon, tunnel off and embedded", "%.1f and %.1f MiB resident, %.1f and %.1f of it its own", median(off), median(on), median(offPrivate), median(onPrivate))
	if grown := median(on) - median(off); grown > 8 {
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
	t := u.t
	u.makes(small(t, 91)) // whatever is made once, is made
	var peaks []int64
	for i, size := range []int{20_000_000, 95_000_000} {
		source := uncompressed(uint64(i), size)
		measured := u.watch()
		a, ok := <-u.inHalves(source)()
		if !ok {
			return
		}
		m, err := u.whole(a, source)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if m.Source.Bytes != int64(len(source)) {
			t.Errorf("the source has %d bytes, want %d", m.Source.Bytes, len(source))
		}
		peaks = append(peaks, measured().daemon)
	}
	figure(t, "memory of the daemon through a tunnel: 20 MB, 95 MB", "%.0f MiB, %.0f MiB", mib(peaks[0]), mib(peaks[1]))
	if peaks[1] > peaks[0]+16<<20 {
		t.Errorf("95 MB took %.0f MiB, 20 MB %.0f: the upload is held in memory", mib(peaks[1]), mib(peaks[0]))
	}
}

// inHalves sends the first half of an upload, waits until the daemon has most of
// it, and returns what sends the rest. The channel is closed without an answer if
// there is none, which fails the test.
func (u *tunnelled) inHalves(source []byte) (rest func() <-chan answer) {
	body, w := io.Pipe()
	answered := make(chan answer, 1)
	go func() {
		defer close(answered)
		a, err := u.tryOver(http.MethodPost, "/v1/images", body, ofLength(int64(len(source))))
		if err != nil {
			u.t.Errorf("an upload of %d bytes: %v", len(source), err)
			return
		}
		answered <- a
	}()
	half := len(source) / 2
	feed(u.t, w, source[:half])
	eventually(u.t, "the first half is in the spool", func() bool { return u.spooled() > int64(half)*3/4 })
	return func() <-chan answer {
		feed(u.t, w, source[half:])
		w.Close()
		return answered
	}
}

func feed(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Errorf("the body is not taken: %v", err)
	}
}

// spooled is how many bytes lie in the spool.
func (u *tunnelled) spooled() (n int64) {
	for _, name := range u.names("spool") {
		if info, err := os.Stat(u.path("spool", name)); err == nil {
			n += info.Size()
		}
	}
	return n
}

func (u *tunnelled) uploadsWithoutALength() {
	source := picture(u.t, "test.jpg")
	a := u.over(http.MethodPost, "/v1/images", io.MultiReader(bytes.NewReader(source)), ofLength(-1))
	if m := a.manifestOf(u.t, http.StatusCreated); m.Source.Bytes != int64(len(source)) {
		u.t.Errorf("the source has %d bytes, want %d", m.Source.Bytes, len(source))
	}
}

func (u *tunnelled) refusalsComeEarly() {
	source := uncompressed(1, 8<<20)
	for name, length := range map[string]int64{"declared": int64(len(source)), "not declared": -1} {
		u.over(http.MethodPost, "/v1/images", io.MultiReader(bytes.NewReader(source)), ofLength(length)).is(u.t, "too_large")
		if left := u.names("spool"); len(left) > 0 {
			u.t.Errorf("%s: the spool keeps %v", name, left)
		}
	}
	u.over(http.MethodPost, "/v1/images", bytes.NewReader(small(u.t, 92))).manifestOf(u.t, http.StatusCreated)
}

func (u *tunnelled) manyUploadsAtOnce() {
	var all sync.WaitGroup
	for i := range 20 {
		source := small(u.t, uint64(100+i))
		all.Go(func() {
			a, err := u.tryOver(http.MethodPost, "/v1/images", bytes.NewReader(source))
			if err != nil {
				u.t.Errorf("upload %d: %v", i, err)
			} else if _, err := u.whole(a, source); err != nil {
				u.t.Errorf("upload %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

func (u *tunnelled) droppedConnections() {
	t := u.t
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
	eventually(t, "six uploads are coming in", func() bool { return len(u.names("spool")) == 6 && u.spooled() > 2_000_000 })
	u.edge.Drop()
	for range halves {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	for _, w := range halves {
		w.Close()
	}
	eventually(t, "nothing of them is left", func() bool { return len(u.leftovers()) == 0 })
	u.edge.AwaitConnections(2)
	for i, source := range sources {
		a := u.over(http.MethodPost, "/v1/images", bytes.NewReader(source))
		if _, err := u.whole(a, source); err != nil {
			t.Errorf("upload %d again: %v", i, err)
		}
	}
}

// uploadOf is a visitor's upload as a request.
func (u *tunnelled) uploadOf(body io.Reader, length int) *http.Request {
	r, err := http.NewRequest(http.MethodPost, u.edge.URL+"/v1/images", body)
	if err != nil {
		u.t.Fatal(err)
	}
	r.ContentLength = int64(length)
	r.Header.Set("Authorization", "Bearer secret")
	return r
}

func (u *tunnelled) aStopLetsUploadsEnd() {
	t := u.t
	rest := u.inHalves(uncompressed(1, 2_000_000))
	u.tell()
	eventually(t, "the daemon is stopping", func() bool { return bytes.Contains(readFile(t, u.log), []byte(`"stopping"`)) })
	if a, ok := <-rest(); ok && a.StatusCode != http.StatusAccepted && a.StatusCode != http.StatusCreated {
		t.Errorf("the upload at the stop is answered %s %s", a.Status, a.body)
	}
	<-u.ended
	if !u.cmd.ProcessState.Success() {
		t.Errorf("the daemon ended with %v, want 0", u.cmd.ProcessState)
	}
	u.stop()
	if n := u.edge.Unregistered(); n != 2 {
		t.Errorf("%d of 2 connections were unregistered", n)
	}
}

func (u *tunnelled) aRefusedToken() {
	u.edge.AwaitRefusals(2)
	u.makes(small(u.t, 96)) // for its own network it works
	u.edge.Refuse(nil)
	u.edge.AwaitConnections(2)
	u.over(http.MethodPost, "/v1/images", bytes.NewReader(small(u.t, 97))).manifestOf(u.t, http.StatusCreated)
}

func (u *tunnelled) aWrongAuthority() {
	u.edge.AwaitFailedHandshakes(2)
	u.stop() // some connectors try again without a pause
	u.makes(small(u.t, 98))
	if n := len(u.edge.Registrations()) + u.edge.Refusals(); n != 0 {
		u.t.Errorf("%d registrations were sent to it", n)
	}
}

func (u *tunnelled) visitorsAddresses() {
	t := u.t
	forged := []option{header("Cf-Connecting-Ip", "198.51.100.1"), header("X-Forwarded-Host", "evil.example"), header("X-Request-Id", "over")}
	m := u.over(http.MethodPost, "/v1/images", bytes.NewReader(small(t, 93)), forged...).manifestOf(t, http.StatusCreated)
	if host := strings.TrimPrefix(u.edge.URL, "http://"); !strings.HasPrefix(m.Variants[0].URL, "https://"+host+"/") {
		t.Errorf("through the tunnel the URL of a file is %s", m.Variants[0].URL)
	}
	if got := u.clientOf("over"); got != edgetest.VisitorIP {
		t.Errorf("through the tunnel the client is %q, want %s", got, edgetest.VisitorIP)
	}
	a, err := u.send(small(t, 94), header("X-Forwarded-Proto", "https"), header("Cf-Connecting-Ip", "198.51.100.1"), header("X-Request-Id", "beside"))
	if err != nil {
		t.Fatal(err)
	}
	var beside manifest.Manifest
	a.into(t, &beside, http.StatusCreated)
	if !strings.HasPrefix(beside.Variants[0].URL, u.url+"/") {
		t.Errorf("beside the tunnel the URL of a file is %s", beside.Variants[0].URL)
	}
	if got := u.clientOf("beside"); got != "127.0.0.1" {
		t.Errorf("beside the tunnel the client is %q, want 127.0.0.1", got)
	}
}

// clientOf is the client's address in the log's line about a request.
func (u *tunnelled) clientOf(requestID string) (client string) {
	u.t.Helper()
	eventually(u.t, "a line about the request "+requestID, func() bool {
		for line := range bytes.Lines(readFile(u.t, u.log)) {
			var entry struct {
				Client    string
				RequestID string `json:"request_id"`
			}
			if json.Unmarshal(line, &entry) == nil && entry.RequestID == requestID {
				client = entry.Client
				return true
			}
		}
		return false
	})
	return client
}
