package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/optimizerd/optimizerd/"

// layers is the map of docs/ARCHITECTURE.md: a package imports only from those
// above it.
var layers = []string{
	"github.com/optimizerd/optimizerd",
	"pkg/buildinfo", "pkg/fault", "pkg/strictjson", "pkg/durable", "pkg/durable/diskspace", "pkg/httpapi/signedurl", "pkg/egress", "pkg/servertest", "pkg/leaktest", "pkg/s3", "pkg/s3/s3test", "pkg/tunnel/access", "pkg/clock", "pkg/filepages", "pkg/thermal", "pkg/codec/imaging/thumbhash", "pkg/codec/imaging/jpegdc", "pkg/codec/imaging/gifanim",
	"pkg/ladder", "pkg/codec/imagefile", "pkg/manifest", "pkg/job", "pkg/status",
	"pkg/codec/imaging", "pkg/codec/sandbox", "pkg/codec", "pkg/spool", "pkg/fetch", "pkg/quarantine", "pkg/render", "pkg/publish/catalog", "pkg/publish", "pkg/publish/bucket", "pkg/verify", "pkg/publish/move", "pkg/jobs", "pkg/jobs/queuetest", "pkg/queue", "pkg/notify", "pkg/fleet", "pkg/fleet/fleettest",
	"pkg/httpapi", "pkg/tunnel", "pkg/tunnel/edgetest", "pkg/config", "pkg/tune", "pkg/doctor", "pkg/client", "pkg/client/cfimages", "pkg/backup", "pkg/daemon", "pkg/daemon/daemontest", "pkg/daemon/daemontest/hostile", "pkg/daemon/daemontest/standin",
	"cmd/optimizerd-codec", "cmd/optimizerd",
	"bench/contest", "bench/bimg", "bench/fileserver", "bench/floor", "bench",
}

// only says who alone may import what, so that a library can be replaced in
// one place (and in what stands in for it in tests).
var only = map[string]string{
	"C":                                    "pkg/codec/imaging pkg/codec/sandbox pkg/daemon/daemontest/hostile bench/floor",
	"code.dny.dev/ssrf":                    "pkg/egress",
	"github.com/seccomp/libseccomp-golang": "pkg/codec/sandbox",
	"github.com/h2non/bimg":                "pkg/codec/imaging bench/bimg",
	"github.com/spf13/viper":               "pkg/config",
	"github.com/cloudflare/cloudflared":    "pkg/tunnel pkg/tunnel/edgetest",
	"github.com/coreos/go-oidc":            "pkg/tunnel/access",
	"github.com/prometheus/client_golang":  "pkg/daemon",
	"github.com/standard-webhooks":         "pkg/notify",
	"github.com/aws":                       "pkg/s3",
	"github.com/nats-io":                   "pkg/fleet pkg/fleet/fleettest",
	module + "pkg/codec/imaging":           "cmd/optimizerd-codec pkg/codec/imaging",
	module + "pkg/codec/sandbox":           "cmd/optimizerd-codec pkg/daemon/daemontest/hostile",
	module + "pkg/daemon":                  "cmd/optimizerd pkg/daemon/daemontest",
}

type goPackage struct {
	ImportPath, Dir                               string
	Imports                                       []string
	GoFiles, CgoFiles, CFiles, HFiles, EmbedFiles []string
}

func list(t *testing.T, env []string, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Imports,GoFiles,CgoFiles,CFiles,HFiles,EmbedFiles"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range list(t, nil, module+"...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		own := slices.Index(layers, name)
		if own < 0 {
			t.Errorf("%s is not on the map: give it a place, here and in docs/ARCHITECTURE.md", name)
			continue
		}
		for _, imported := range p.Imports {
			if below, ours := strings.CutPrefix(imported, module); ours && slices.Index(layers, below) >= own {
				t.Errorf("%s imports %s, which is not above it", name, below)
			}
			for path, owner := range only {
				if (imported == path || strings.HasPrefix(imported, path+"/")) && !slices.Contains(strings.Fields(owner), name) {
					t.Errorf("%s imports %s: that is for %s alone", name, imported, owner)
				}
			}
		}
	}
}

// The bench is part of this module as long as it adds nothing to go.mod:
// docs/decisions/0029-one-module-with-the-bench.md.
func TestBenchNeedsNothingThatTheProductDoesNot(t *testing.T) {
	external := func(packages []goPackage) (paths []string) {
		for _, p := range packages {
			if first, _, _ := strings.Cut(p.ImportPath, "/"); strings.Contains(first, ".") && !strings.HasPrefix(p.ImportPath+"/", module) {
				paths = append(paths, p.ImportPath)
			}
		}
		return paths
	}
	product := external(list(t, nil, "-deps", module+"cmd/...", module+"pkg/..."))
	if len(product) == 0 {
		t.Fatal("the product imports nothing")
	}
	for _, path := range external(list(t, nil, "-deps", module+"bench/...")) {
		if !slices.Contains(product, path) {
			t.Errorf("bench imports %s, which nothing else does: make it a module of its own", path)
		}
	}
}

func TestDaemonLinksNoC(t *testing.T) {
	for _, p := range list(t, []string{"CGO_ENABLED=0"}, "-deps", module+"cmd/optimizerd") {
		if slices.Contains([]string{"github.com/h2non/bimg", "github.com/seccomp/libseccomp-golang", "runtime/cgo"}, p.ImportPath) {
			t.Errorf("the daemon links %s: no C belongs in the process that faces the net", p.ImportPath)
		}
		if slices.Contains([]string{module + "pkg/tunnel/edgetest", module + "pkg/daemon/daemontest"}, p.ImportPath) {
			t.Errorf("the daemon links %s, which is for tests", p.ImportPath)
		}
	}
}

// The image is built of what .dockerignore lets through.
func TestContainerBuildHasEveryFile(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var sent []string
	for line := range strings.Lines(string(read(t, filepath.Join(root, ".dockerignore")))) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			sent = append(sent, path)
		}
	}
	for _, p := range list(t, nil, "-deps", module+"cmd/...") {
		if !strings.HasPrefix(p.ImportPath+"/", module) {
			continue
		}
		for _, file := range slices.Concat(p.GoFiles, p.CgoFiles, p.CFiles, p.HFiles, p.EmbedFiles) {
			path, err := filepath.Rel(root, filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(sent, func(s string) bool { return path == s || strings.HasPrefix(path, s+"/") }) {
				t.Errorf("%s is needed for %s, and .dockerignore keeps it out", path, p.ImportPath)
			}
		}
	}
}
