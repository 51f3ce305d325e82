package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

func tunnelCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "tunnel",
		Short: "Generate and check the configuration of a cloudflared alongside the daemon",
		Long: `With tunnel.mode: external, an official cloudflared alongside the daemon forwards the
requests over a unix socket. These commands generate and check its configuration.

With tunnel.mode: embedded, there is no cloudflared and nothing to configure.`,
	}
	c.AddCommand(tunnelConfigCommand(o), tunnelCheckCommand(o))
	return c
}

var ingress = template.Must(template.New("config.yml").Parse(`# /etc/cloudflared/config.yml, for a tunnel that is managed on this machine.
# 'cloudflared tunnel create NAME' prints the values of the next two lines.
tunnel: {{.Tunnel}}
credentials-file: /etc/cloudflared/{{.Tunnel}}.json
# Takes less processor time than quic, which counts on a small board.
protocol: http2
ingress:
  - hostname: {{.Hostname}}
    service: unix:{{.Socket}}
  # Every other request is answered 404.
  - service: http_status:404
`))

// placeholder marks what only the user can fill in.
const placeholder = "TUNNEL-ID"

func tunnelConfigCommand(o *options) *cobra.Command {
	var hostname, id string
	c := &cobra.Command{
		Use:   "config",
		Short: "Print a config.yml for cloudflared",
		Long: `Print a config.yml with the ingress rule for this daemon's socket. It is for a
tunnel that is managed on this machine. A tunnel that is managed in the dashboard
has its rule there: type HTTP, URL unix:` + tunnel.DefaultConfig().Socket + `.`,
		Example: `  optimizerd tunnel config --hostname img.example.com --tunnel 6ff42ae2-… | sudo tee /etc/cloudflared/config.yml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			if hostname == "" {
				hostname = publicHost(c)
			}
			if hostname == "" {
				return errors.New("the tunnel's hostname is not known; use --hostname img.example.com, or set http.public_url")
			}
			if !hostnames.MatchString(hostname) {
				return fmt.Errorf("--hostname: must be a name like img.example.com (got %q)", hostname)
			}
			if c.Tunnel.Mode != tunnel.External {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: tunnel.mode is %s; nothing listens at %s until it is external\n", c.Tunnel.Mode, c.Tunnel.Socket)
			}
			return ingress.Execute(cmd.OutOrStdout(), map[string]string{"Hostname": hostname, "Tunnel": id, "Socket": c.Tunnel.Socket})
		},
	}
	c.Flags().StringVar(&hostname, "hostname", "", "`name` at Cloudflare that is routed to the tunnel (default: that of http.public_url)")
	c.Flags().StringVar(&id, "tunnel", placeholder, "`id` of the tunnel")
	return c
}

var hostnames = regexp.MustCompile(`^[a-zA-Z0-9*]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$`)

func publicHost(c config.Config) string {
	u, err := url.Parse(c.HTTP.PublicURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func tunnelCheckCommand(o *options) *cobra.Command {
	var (
		program string
		asJSON  bool
	)
	c := &cobra.Command{
		Use:   "check FILE [URL…]",
		Short: "Check a config.yml of cloudflared, and that URLs are routed to this daemon",
		Long: `Validate config.yml with the installed cloudflared, then print which rule each URL
matches and whether that rule is routed to this daemon. Without a URL, the
daemon's own paths under http.public_url are checked.`,
		Example: `  optimizerd tunnel check /etc/cloudflared/config.yml https://img.example.com/v1/images`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			cloudflared, err := findCloudflared(program)
			if err != nil {
				return err
			}
			file, urls := args[0], args[1:]
			if len(urls) == 0 && c.HTTP.PublicURL != "" {
				base := strings.TrimRight(c.HTTP.PublicURL, "/")
				urls = []string{base + "/v1/images", base + "/jobs", base + "/files/x/320.webp"}
			}
			if _, err := cloudflared.ingress(cmd.Context(), file, "validate"); err != nil {
				return err
			}
			routes, err := cloudflared.follow(cmd.Context(), file, urls, c)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = json.NewEncoder(out).Encode(map[string]any{"file": file, "urls": routes})
			} else {
				err = printRoutes(out, file, routes, c)
			}
			return errors.Join(err, checkRoutes(routes))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&program, "cloudflared", "", "`path` of cloudflared (default: next to optimizerd, then in PATH)")
	return c
}

// cloudflared is the path of the program.
type cloudflared string

func findCloudflared(path string) (cloudflared, error) {
	if path != "" {
		return cloudflared(path), nil
	}
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), "cloudflared")
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return cloudflared(beside), nil
		}
	}
	path, err := exec.LookPath("cloudflared")
	if err != nil {
		return "", errors.New("cloudflared was not found; install it from Cloudflare's package repository, name it with --cloudflared PATH, or build it with 'make cloudflared'")
	}
	return cloudflared(path), nil
}

// ingress runs one of cloudflared's commands about ingress rules.
func (c cloudflared) ingress(ctx context.Context, file string, args ...string) (string, error) {
	run := exec.CommandContext(ctx, string(c), append([]string{"tunnel", "--config", file, "ingress"}, args...)...)
	var out, said bytes.Buffer
	run.Stdout, run.Stderr = &out, &said
	if err := run.Run(); err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			return "", fmt.Errorf("%s: %s", file, text)
		}
		return "", fmt.Errorf("%s: %w", c, err)
	}
	return out.String(), nil
}

// route is where a URL is routed.
type route struct {
	URL     string `json:"url"`
	Rule    string `json:"rule"` // its place in the file
	Service string `json:"service"`
	Here    bool   `json:"here"` // it is this daemon
}

// follow finds out where each URL is routed.
func (c cloudflared) follow(ctx context.Context, file string, urls []string, settings config.Config) ([]route, error) {
	routes := []route{} // never null
	for _, u := range urls {
		said, err := c.ingress(ctx, file, "rule", u)
		if err != nil {
			return nil, err
		}
		service := field(said, "service: ")
		routes = append(routes, route{URL: u, Rule: field(said, "Matched rule "), Service: service, Here: leadsHere(service, settings)})
	}
	return routes, nil
}

func printRoutes(out io.Writer, file string, routes []route, settings config.Config) error {
	_, err := fmt.Fprintln(out, "ok    cloudflared accepts", file)
	for _, r := range routes {
		verdict, note := "ok   ", "this daemon"
		if !r.Here {
			verdict, note = "fail ", fmt.Sprintf("not this daemon, which expects unix:%s with tunnel.mode: external (now %s)", settings.Tunnel.Socket, settings.Tunnel.Mode)
		}
		_, lineErr := fmt.Fprintf(out, "%s %s matches rule %s: %s, %s\n", verdict, r.URL, r.Rule, r.Service, note)
		err = errors.Join(err, lineErr)
	}
	return err
}

// checkRoutes returns an error if a URL is not routed to this daemon.
func checkRoutes(routes []route) error {
	elsewhere := 0
	for _, r := range routes {
		if !r.Here {
			elsewhere++
		}
	}
	if elsewhere > 0 {
		return fmt.Errorf("%d of %d URLs are not routed to this daemon: fix the ingress rules; 'optimizerd tunnel config' prints one", elsewhere, len(routes))
	}
	return nil
}

// field returns the rest of the line that begins with name.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok {
			return value
		}
	}
	return ""
}

// leadsHere reports whether a service of cloudflared is this daemon: its socket,
// or its address. The address is not enough with Access, which trusts headers
// from the socket only.
func leadsHere(service string, c config.Config) bool {
	service = strings.TrimRight(service, "/")
	if service == "unix:"+c.Tunnel.Socket {
		return c.Tunnel.Mode == tunnel.External
	}
	address := strings.Replace(service, "//localhost:", "//127.0.0.1:", 1)
	return address == "http://"+c.HTTP.Listen && c.Tunnel.Access.TeamDomain == ""
}
