package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

// Gather collects the facts. Missing facts are facts too, so it returns no
// error. rootDir is the directory that contains proc and sys, "/" except in tests.
func Gather(ctx context.Context, c Configuration, rootDir string) Facts {
	r := root(rootDir)
	f := Facts{Configuration: c, Machine: machine(r)}
	s := c.Settings
	if s == nil {
		return f
	}
	f.Codec = probeCodec(ctx, s.Codec)
	f.Data = data(r, s.DataDir, f.Codec.About.Libvips)
	f.Port = probePort(ctx, s.Listen, s.Tokens)
	if s.Store != nil {
		f.Store = probeStore(ctx, *s.Store)
	}
	if s.Fleet != nil {
		f.Fleet = probeFleet(ctx, *s.Fleet)
	}
	if s.Tunnel.Mode == tunnel.Embedded {
		info, err := os.Stat(s.Tunnel.TokenFile) // missing if systemd provides the token
		f.Tunnel.OpenToken = err == nil && info.Mode().Perm()&0o004 != 0
		if !f.Port.Running {
			f.Tunnel.Edge = probeEdge(ctx, s.Tunnel)
		}
	}
	return f
}

// storeTimeout limits the probe of the object store.
const storeTimeout = 30 * time.Second

func probeStore(ctx context.Context, store Store) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	b, err := s3.Open(store.Config, store.Key, nil)
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Probe(ctx, store.KeepOriginals)
}

// edgeTimeout limits the lookup of the edge and a connection to it.
const edgeTimeout = 15 * time.Second

func probeEdge(ctx context.Context, c tunnel.Config) error {
	ctx, cancel := context.WithTimeout(ctx, edgeTimeout)
	defer cancel()
	return tunnel.Probe(ctx, c)
}

// MemoryCgroup returns the finding about the memory cgroup alone, for the log
// of a starting daemon: systemd silently accepts a limit that the kernel does
// not enforce.
func MemoryCgroup(rootDir string) Finding {
	r := root(rootDir)
	return checkCgroup(Facts{Machine: Machine{Model: r.model(), Cgroup: r.cgroup()}})[0]
}

// probeCodec starts one child for its greeting.
func probeCodec(ctx context.Context, c codec.Config) Codec {
	path, err := codec.Find(c.Path)
	if err != nil {
		return Codec{Problem: err}
	}
	c.Path = path
	pool, err := codec.NewPool(ctx, c, zap.NewNop())
	if err != nil {
		return Codec{Path: path, Problem: err}
	}
	defer pool.Close()
	return Codec{Path: path, About: pool.About(), Processes: pool.Most()}
}

// data examines a directory, or the existing one in which it would be created.
func data(r root, dir, libvips string) Data {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	d := Data{Dir: dir, User: os.Geteuid()}
	base := dir
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		d.Exists, d.Mode = true, info.Mode()
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			d.Owner = int(s.Uid)
		}
		d.Problem = probe(dir)
	case err == nil:
		d.Problem = syscall.ENOTDIR
	case errors.Is(err, fs.ErrNotExist):
		base = existingParent(dir)
		if err := unix.Access(base, unix.W_OK|unix.X_OK); err != nil {
			d.Problem = fmt.Errorf("does not exist, and cannot be created in %s: %w", base, err)
		}
	default:
		d.Problem, base = err, existingParent(dir)
	}
	if real, err := filepath.EvalSymlinks(base); err == nil {
		base = real
	}
	var s unix.Statfs_t
	if err := unix.Statfs(base, &s); err == nil {
		d.Free, d.Total = int64(s.Bavail)*int64(s.Bsize), int64(s.Blocks)*int64(s.Bsize)
		d.FreeFiles, d.MaxFiles = s.Ffree, s.Files
	}
	if m := r.mountOf(base); m != nil {
		d.FileSystem, d.Device = m.FSType, r.device(m)
	}
	d.Quarantine = countQuarantine(filepath.Join(dir, quarantine.Folder), libvips)
	d.SetAside = listAside(dir)
	w := &d.Webhooks
	w.Pending, w.GivenUp, w.Problem = notify.Count(filepath.Join(dir, notify.Folder))
	return d
}

// listAside returns the names of the records that a daemon has set aside, relative to the
// data folder.
func listAside(dir string) (names []string) {
	for _, folder := range []string{"queue/pending", "queue/running", notify.Folder} {
		found, _ := fs.Glob(os.DirFS(dir), path.Join(folder, durable.AsidePattern)) // the pattern is correct
		names = append(names, found...)
	}
	return names
}

// existingParent returns the nearest existing directory above dir.
func existingParent(dir string) string {
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	return dir
}

// probe creates a file in dir, writes to it and deletes it.
func probe(dir string) error {
	file, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString("This file can be deleted.\n")
	return errors.Join(err, file.Close(), os.Remove(file.Name()))
}

func countQuarantine(dir, libvips string) (q Quarantine) {
	store, err := quarantine.Open(dir, libvips)
	if err != nil {
		return Quarantine{Problem: err}
	}
	entries, err := store.List()
	if err != nil {
		return Quarantine{Problem: err}
	}
	for _, e := range entries {
		switch {
		case e.Unreadable != "":
			q.Unreadable++
		case libvips == "" || store.Counts(e): // without a codec, count all of them
			q.Counting++
		default:
			q.Old++
		}
	}
	return q
}

// probePort listens on the address for a moment, or queries the daemon that
// listens there.
func probePort(ctx context.Context, address string, tokens []string) Port {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		_ = listener.Close() // nothing was accepted
		return Port{}
	}
	if errors.Is(err, syscall.EADDRINUSE) && answers(ctx, address) {
		return queryDaemon(ctx, address, tokens)
	}
	return Port{Problem: err}
}

// queryTimeout limits a query of a running daemon.
const queryTimeout = 3 * time.Second

// answers reports whether an optimizerd is alive at the address.
func answers(ctx context.Context, address string) bool {
	var health struct{ Status string }
	return get(ctx, address, "/healthz", nil, &health) == nil && health.Status == "ok"
}

// queryDaemon asks a running daemon for its readiness. It shows details only to
// clients with one of its tokens.
func queryDaemon(ctx context.Context, address string, tokens []string) Port {
	p := Port{Running: true}
	var ready struct {
		Parts map[string]struct{ Status, Detail string }
	}
	if err := get(ctx, address, "/readyz", tokens, &ready); err != nil {
		p.NotReady = []string{err.Error()}
		return p
	}
	for name, part := range ready.Parts {
		switch {
		case name == "tunnel":
			p.Tunnel = TunnelState{Down: part.Status == "not_ready", Detail: part.Detail}
		case part.Status == "not_ready":
			p.NotReady = append(p.NotReady, strings.TrimSuffix(name+": "+part.Detail, ": "))
		}
	}
	slices.Sort(p.NotReady)
	return p
}

// maxAnswer limits the size of a response, in bytes.
const maxAnswer = 64 << 10

func get(ctx context.Context, address, path string, tokens []string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	address, err := httpapi.LocalAddress(address)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	if len(tokens) > 0 {
		r.Header.Set("Authorization", "Bearer "+tokens[0])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // without a proxy from the environment
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(v)
}
