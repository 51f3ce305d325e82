package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// servingResult is the same files, asked of our daemon and of nginx.
type servingResult struct {
	Files       int
	MeanBytes   int64
	Connections int
	Requests    int
	Servers     []serverOf
	CPURatio    spread // ours to nginx's, CPU per GB
	RateRatio   spread // ours to nginx's, requests per second
	CPUToGo     spread // ours to that of Go's file server, CPU per GB
	RateToGo    spread // ours to that of Go's file server, requests per second
}

type serverOf struct {
	Name     string
	Rate     spread // requests a second
	CPUPerGB spread // seconds
}

const (
	nginx              = "nginx"
	goFileServer       = "Go's http.FileServer"
	servingConnections = 8
	servingRequests    = 6000
)

// serving publishes the sets of some photos and has each server send them, in
// turn. The client shares the machine with them, and so holds back all.
func (b *bench) serving(ctx context.Context) error {
	d, err := b.daemon(ctx, public)
	if err != nil {
		return err
	}
	defer d.stop()
	var paths []string
	var bytes int64
	for _, name := range []string{photo24MP, photo12MP, photo8MP, photo2MP} {
		p, err := b.load(ctx, name)
		if err != nil {
			return err
		}
		m, err := d.upload(ctx, p)
		if err != nil {
			return err
		}
		for _, v := range m.Variants {
			paths = append(paths, "/files/"+v.Key)
			bytes += v.Bytes
		}
	}
	n, address, err := b.nginx(ctx, d.storage)
	if err != nil {
		return err
	}
	defer n.stop()
	g, err := start(ctx, b.folder, os.Environ(), "bin/bench/fileserver", d.storage)
	if err != nil {
		return err
	}
	defer g.stop()
	goURL, err := g.listening()
	if err != nil {
		return err
	}

	servers := []struct {
		name string
		*process
		url string
	}{{ours, d.process, d.url}, {nginx, n, "http://" + address}, {goFileServer, g, goURL}}
	rate, cpuPerGB := make(map[string][]float64), make(map[string][]float64)
	for round := -1; round < b.rounds; round++ { // the first one fills caches
		for i := range servers {
			s := servers[(max(round, 0)+i)%len(servers)]
			b.progress("serving: round %d, %s", round+1, s.name)
			var received int64
			cost, err := s.measure(func() (err error) {
				received, err = download(ctx, s.url, paths)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if round >= 0 {
				rate[s.name] = append(rate[s.name], servingRequests/cost.wall)
				cpuPerGB[s.name] = append(cpuPerGB[s.name], cost.cpu/(float64(received)/1e9))
			}
		}
	}
	result := servingResult{
		Files: len(paths), MeanBytes: bytes / int64(len(paths)), Connections: servingConnections, Requests: servingRequests,
		CPURatio: spreadOf(ratios(cpuPerGB[ours], cpuPerGB[nginx])), RateRatio: spreadOf(ratios(rate[ours], rate[nginx])),
		CPUToGo: spreadOf(ratios(cpuPerGB[ours], cpuPerGB[goFileServer])), RateToGo: spreadOf(ratios(rate[ours], rate[goFileServer])),
	}
	for _, s := range servers {
		result.Servers = append(result.Servers, serverOf{s.name, spreadOf(rate[s.name]), spreadOf(cpuPerGB[s.name])})
	}
	b.results.Serving = &result
	return nil
}

// download asks for the files in turn over some connections that are kept.
func download(ctx context.Context, url string, paths []string) (bytes int64, err error) {
	transport := &http.Transport{MaxIdleConnsPerHost: servingConnections, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	var next, received atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range servingConnections {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= servingRequests {
					return nil
				}
				n, err := get(ctx, &client, url+paths[i%len(paths)])
				if err != nil {
					return err
				}
				received.Add(n)
			}
		})
	}
	err = group.Wait()
	return received.Load(), err
}

func get(ctx context.Context, client *http.Client, url string) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, response.Status)
	}
	return io.Copy(io.Discard, response.Body)
}

// nginxConfig is what a static site would have. Where root runs this, the
// workers keep its rights: the files are nobody else's to read.
const nginxConfig = `daemon off;
worker_processes 2;
user USER GROUP;
pid FOLDER/pid;
error_log stderr warn;
events {}
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000;
	types { image/webp webp; image/jpeg jpg; }
	client_body_temp_path FOLDER/body;
	proxy_temp_path FOLDER/proxy;
	fastcgi_temp_path FOLDER/fastcgi;
	uwsgi_temp_path FOLDER/uwsgi;
	scgi_temp_path FOLDER/scgi;
	server {
		listen ADDRESS;
		root ROOT;
	}
}
`

// nginx serves the daemon's storage folder, so that the paths are the same.
func (b *bench) nginx(ctx context.Context, root string) (p *process, address string, err error) {
	folder, err := os.MkdirTemp(b.folder, "nginx-")
	if err != nil {
		return nil, "", err
	}
	address, err = freeAddress()
	if err != nil {
		return nil, "", err
	}
	me, err := user.Current()
	if err != nil {
		return nil, "", err
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		return nil, "", err
	}
	config := strings.NewReplacer("FOLDER", folder, "ADDRESS", address, "ROOT", root, "USER", me.Username, "GROUP", group.Name).Replace(nginxConfig)
	path := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, "", err
	}
	// Debian has it in a folder that is in the PATH of root alone.
	p, err = start(ctx, folder, os.Environ(), "/usr/sbin/nginx", "-c", path, "-e", "stderr")
	if err != nil {
		return nil, "", err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			return p, address, connection.Close()
		}
		if time.Now().After(deadline) {
			p.stop()
			said, _ := os.ReadFile(p.log)
			return nil, "", fmt.Errorf("nginx does not listen: %w; it wrote: %s", err, said)
		}
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
