//go:build fleet

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
	"github.com/optimizerd/optimizerd/pkg/servertest"
)

// fleetSettings are those of all nodes, and of the commands.
func fleetSettings(t *testing.T, servers *fleettest.Cluster, store *s3test.Server) []string {
	t.Helper()
	replicas := 1
	if len(servers.Servers) == 3 {
		replicas = 3
	}
	return []string{
		"ladder.widths=64,128", "codec.processes=1", "storage.min_free=1", "storage.s3.endpoint=" + store.URL, "storage.s3.bucket=" + s3test.BucketName,
		"storage.s3.region=us-east-1", "storage.s3.key_file=" + s3test.KeyFile(t),
		"fleet.servers=" + strings.Join(servers.URLs(), ","), fmt.Sprintf("fleet.replicas=%d", replicas), "fleet.lease=10s",
	}
}

// runWith runs a command with settings.
func runWith(t *testing.T, settings []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	args = append(args, "--config", "")
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	return run(t, args...)
}

func look(t *testing.T, settings []string) (r fleet.Report, status int) {
	t.Helper()
	out, stderr, status := runWith(t, settings, "fleet", "status", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr)
	}
	return r, status
}

func names(r fleet.Report) (names []string) {
	for _, n := range r.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// checkNodes checks that there are two nodes: "one" takes jobs, and "two" only serves.
func checkNodes(t *testing.T, r fleet.Report) {
	t.Helper()
	if got := names(r); !slices.Equal(got, []string{"one", "two"}) {
		t.Fatalf("nodes %v, want one and two", got)
	}
	n := r.Nodes[0]
	if !n.Work || r.Nodes[1].Work || n.Abilities == nil || len(n.Abilities.Outputs) < 2 || n.Abilities.Store == "" || n.Version == "" || time.Since(n.Started) > time.Hour {
		t.Errorf("node: %+v, %+v", n, n.Abilities)
	}
}

func TestFleetStatusSaysWhoIsThere(t *testing.T) {
	t.Parallel()
	settings := fleetSettings(t, fleettest.Start(t, 3), s3test.Start(t))
	if _, stderr, status := runWith(t, settings, "fleet", "status"); status != 1 || !strings.Contains(stderr, "no node of fleet main has been started") {
		t.Errorf("without a node: %d, %s", status, stderr)
	}
	one := serve(t, t.TempDir(), append(settings, "fleet.node=one")...)
	two := serve(t, t.TempDir(), append(settings, "fleet.node=two", "fleet.work=false")...)
	two.optimize(t, smallPhoto(t, 1))
	var r fleet.Report
	await(t, "all copies are up to date", func() bool {
		var status int
		r, status = look(t, settings)
		return status == 0
	})
	checkNodes(t, r)
	if r.Index.Sets != 1 || r.Index.Bytes == 0 {
		t.Errorf("index: %+v, want one set", r.Index)
	}
	for _, s := range r.Streams {
		if s.Healthy() != 3 || s.Leader == "" || len(s.Replicas) != 2 {
			t.Errorf("stream: %+v, want three copies", s)
		}
	}
	var out string
	await(t, "that is said", func() bool {
		out, _, _ = runWith(t, settings, "fleet", "status")
		return strings.Contains(out, "3 of 3")
	})
	for _, want := range []string{"one", "serves only", "webp,", "uploads", "index: 1 sets"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	_ = one.Process.Kill()
	_ = one.Wait()
	await(t, "a node that was killed is gone", func() bool { r, _ := look(t, settings); return slices.Equal(names(r), []string{"two"}) })
	if r, status := look(t, settings); status != 1 {
		t.Errorf("status %d while nobody takes jobs: %+v", status, r.Nodes)
	}
}

func listed(t *testing.T, s *server) (ids []string) {
	t.Helper()
	var page struct{ Items []manifest.Manifest }
	s.do(t, http.MethodGet, "/v1/images", nil, nil, &page)
	for _, m := range page.Items {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestFleetIndexIsMadeFromTheBucket(t *testing.T) {
	t.Parallel()
	store := s3test.Start(t)
	settings := fleetSettings(t, fleettest.Start(t, 1), store)
	old := serve(t, t.TempDir(), append(settings, "fleet.node=old")...)
	images := old.optimizePhotos(t, 4)
	_ = old.Process.Kill()
	_ = old.Wait()
	settings = fleetSettings(t, fleettest.Start(t, 1), store) // the disks of all servers were lost
	for want, args := range map[string][]string{"use optimizerd fleet rebuild": {"rebuild"}, "optimizerd fleet rebuild makes": {"backup", t.TempDir()}} {
		if _, stderr, status := runWith(t, settings, args...); status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%v in a fleet: %d, %s", args, status, stderr)
		}
	}
	node := serve(t, t.TempDir(), append(settings, "fleet.node=new")...)
	if got := listed(t, node); len(got) != 0 {
		t.Fatalf("there are %v before the index is made", got)
	}
	out, stderr, status := runWith(t, settings, "fleet", "orphans", "--older-than", "1h", "--delete")
	if status != 0 || out != "" || !strings.Contains(stderr, "4 complete sets are not in the index; run: optimizerd fleet rebuild") {
		t.Errorf("orphans without an index: %d, %s%s", status, out, stderr)
	}
	rebuildIndex(t, settings, "sets: 4, added: 4, removed: 0, damaged: 0\n")
	rebuildIndex(t, settings, "sets: 4, added: 0, removed: 0, damaged: 0\n")
	await(t, "the node that runs has all sets", func() bool { return len(listed(t, node)) == 4 })
	for _, want := range images {
		var m manifest.Manifest
		if r := node.do(t, http.MethodGet, "/v1/images/"+want.ID, nil, nil, &m); r.StatusCode != http.StatusOK || m.ID != want.ID {
			t.Errorf("%s: %s", want.ID, r.Status)
		}
	}
	lost := images[0].ID
	if err := os.RemoveAll(filepath.Join(store.Dir, s3test.BucketName, lost)); err != nil {
		t.Fatal(err)
	}
	rebuildIndex(t, settings, "sets: 3, added: 0, removed: 1, damaged: 0\n")
	await(t, "the lost set is gone", func() bool { return !slices.Contains(listed(t, node), lost) })
}

// rebuildIndex makes the index from the bucket, and checks what the command prints.
func rebuildIndex(t *testing.T, settings []string, want string) {
	t.Helper()
	if out, stderr, status := runWith(t, settings, "fleet", "rebuild"); out != want || status != 0 {
		t.Errorf("rebuild: %d, %s%s, want %s", status, out, stderr, want)
	}
}

func deleteSet(t *testing.T, s *server, id string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.url+"/v1/images/"+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _ = answer.Body.Close(); answer.StatusCode != http.StatusNoContent {
		t.Fatalf("delete %s: %s", id, answer.Status)
	}
}

// putObject puts an object into the bucket as something else would, and makes it
// older.
func putObject(t *testing.T, store *s3test.Server, key string, age time.Duration) {
	t.Helper()
	path := filepath.Join(store.Dir, s3test.BucketName, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("orphan"), 0o644); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestFleetOrphansAreFoundAndDeleted(t *testing.T) {
	t.Parallel()
	store := s3test.Start(t)
	settings := fleetSettings(t, fleettest.Start(t, 1), store)
	node := serve(t, t.TempDir(), append(settings, "fleet.node=one")...)
	made := node.optimize(t, smallPhoto(t, 1)).ID
	lost := node.optimize(t, smallPhoto(t, 2)).ID
	deleteSet(t, node, lost)
	putObject(t, store, lost+"/64.webp", 48*time.Hour)
	putObject(t, store, "originals/"+lost, 48*time.Hour)
	putObject(t, store, made+"/stray", 48*time.Hour)
	putObject(t, store, "state/of/the-worker", 48*time.Hour)
	young := node.optimize(t, smallPhoto(t, 3)).ID
	deleteSet(t, node, young)
	putObject(t, store, young+"/64.webp", 48*time.Hour)
	putObject(t, store, young+"/128.webp", 2*time.Hour)

	out, stderr, status := runWith(t, settings, "fleet", "orphans", "--json")
	var orphan bucket.Orphan
	if err := json.Unmarshal([]byte(out), &orphan); err != nil || status != 0 {
		t.Fatalf("%v, %d: %s%s", err, status, out, stderr)
	}
	if orphan.ID != lost || orphan.Objects != 2 || orphan.Bytes != 12 {
		t.Errorf("found %+v, want two objects of %s", orphan, lost)
	}
	if _, stderr, _ := runWith(t, settings, "fleet", "orphans", "--delete"); !strings.Contains(stderr, "orphans: 1 with 2 objects, 12 B; deleted: 1; too young: 1") {
		t.Errorf("deleted: %s", stderr)
	}
	if _, stderr, _ := runWith(t, settings, "fleet", "orphans", "--older-than", "1m"); !strings.Contains(stderr, "--older-than must be at least 1h") {
		t.Errorf("an age that is not safe: %s", stderr)
	}
	for key, want := range map[string]bool{lost + "/64.webp": false, "originals/" + lost: false, made + "/64.webp": true, young + "/64.webp": true, "state/of/the-worker": true} {
		if _, err := os.Stat(filepath.Join(store.Dir, s3test.BucketName, key)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", key, err == nil, want)
		}
	}
	if again := node.optimize(t, smallPhoto(t, 2)); again.ID != lost {
		t.Errorf("the set cannot be made again: %s", again.ID)
	}
}

func TestFleetDrainLeavesTheJobsToOthers(t *testing.T) {
	t.Parallel()
	settings := fleetSettings(t, fleettest.Start(t, 1), s3test.Start(t))
	address := servertest.FreeAddress(t)
	node := serve(t, t.TempDir(), append(settings, "fleet.node=old", "admin.listen="+address)...)
	node.optimize(t, smallPhoto(t, 1))
	drain := func(args ...string) string {
		out, stderr, status := runWith(t, settings, append([]string{"fleet", "drain", "--address", address}, args...)...)
		if status != 0 {
			t.Fatalf("drain: %d, %s", status, stderr)
		}
		return out
	}
	if out := drain(); !strings.HasPrefix(out, "drained") {
		t.Errorf("drain says %s", out)
	}
	r, _ := look(t, settings)
	if !r.Nodes[0].Draining {
		t.Errorf("the node that drains: %+v", r.Nodes[0])
	}
	var accepted jobAnswer
	node.do(t, http.MethodPost, "/v1/images", smallPhoto(t, 2), map[string]string{"Prefer": "respond-async"}, &accepted)
	serve(t, t.TempDir(), append(settings, "fleet.node=new")...)
	if j := node.end(t, accepted.ID); j.Status != "completed" {
		t.Errorf("a job that a draining node accepted: %s", j.Status)
	}
	if out := drain("--end"); !strings.Contains(out, "takes jobs again") {
		t.Errorf("drain --end says %s", out)
	}
	if r, _ := look(t, settings); slices.ContainsFunc(r.Nodes, func(n fleet.Node) bool { return n.Draining }) {
		t.Errorf("a node still drains: %+v", r.Nodes)
	}
}

func TestFleetCommandsWithoutAFleetSaySo(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"status", "rebuild", "orphans", "drain"} {
		if _, stderr, status := runWith(t, nil, "fleet", command); status != 1 || !strings.Contains(stderr, "fleet.servers is empty") {
			t.Errorf("fleet %s: %d, %s", command, status, stderr)
		}
	}
}

func TestFleetDoctorSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	settings := fleetSettings(t, fleettest.Start(t, 1), s3test.Start(t))
	serve(t, t.TempDir(), append(settings, "fleet.node=one")...)
	out, stderr, _ := runWith(t, settings, "doctor", "--json")
	for _, want := range []string{"1 of 1 answer, nats-server 2.", "one copy of everything in NATS", "all within 5s", "1: one"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %s%s", want, out, stderr)
		}
	}
	out, _, status := runWith(t, append(settings, "fleet.servers=nats://127.0.0.1:1"), "doctor", "--json")
	if status != 1 || !strings.Contains(out, "nats://127.0.0.1:1: nats: no servers available for connection: nothing answers") {
		t.Errorf("a server that is away: %d, %s", status, out)
	}
	out, _, _ = runWith(t, append(settings, "fleet.credentials_file=/does/not/exist"), "doctor", "--json")
	if !strings.Contains(out, "must be able to read fleet.credentials_file") {
		t.Errorf("credentials that cannot be read: %s", out)
	}
}
