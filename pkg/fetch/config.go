package fetch

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/egress"
)

// Config holds the settings of downloads.
type Config struct {
	AllowPrivate bool          `mapstructure:"allow_private"` // also private addresses, over http, on any port
	AllowHTTP    bool          `mapstructure:"allow_http"`    // http besides https
	AllowHosts   []string      `mapstructure:"allow_hosts"`   // if set, only these; *.example.com means all subdomains
	Ports        []int         `mapstructure:"ports"`
	Timeout      time.Duration `mapstructure:"timeout"`     // per attempt, from the lookup to the last byte
	Concurrency  int           `mapstructure:"concurrency"` // parallel downloads
}

// DefaultConfig fetches over https from the public internet.
func DefaultConfig() Config {
	return Config{AllowHosts: []string{}, Ports: []int{80, 443}, Timeout: time.Minute, Concurrency: 8}
}

// Rules returns the rules for downloads.
func (c Config) Rules() egress.Rules {
	return egress.Rules{AllowPrivate: c.AllowPrivate, AllowHTTP: c.AllowHTTP, AllowHosts: c.AllowHosts, Ports: c.Ports}
}

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	var errs []error
	for i, host := range c.AllowHosts {
		if !hostPattern(host) {
			errs = append(errs, fmt.Errorf("fetch.allow_hosts[%d]: must be like img.example.com or *.example.com (got %q)", i, host))
		}
	}
	for i, port := range c.Ports {
		if port < 1 || port > 65535 {
			errs = append(errs, fmt.Errorf("fetch.ports[%d]: must be from 1 to 65535 (got %d)", i, port))
		}
	}
	if len(c.Ports) == 0 {
		errs = append(errs, fmt.Errorf("fetch.ports: must list at least one port"))
	}
	if c.Timeout < time.Second || c.Timeout > time.Hour {
		errs = append(errs, fmt.Errorf("fetch.timeout: must be from 1s to 1h (got %v)", c.Timeout))
	}
	if c.Concurrency < 1 || c.Concurrency > 64 {
		errs = append(errs, fmt.Errorf("fetch.concurrency: must be from 1 to 64 (got %d)", c.Concurrency))
	}
	return errors.Join(errs...)
}

// hostPattern reports whether a host or *.host can match any host.
func hostPattern(pattern string) bool {
	if _, err := netip.ParseAddr(pattern); err == nil {
		return true
	}
	host := strings.TrimPrefix(pattern, "*.")
	u, err := url.Parse("https://" + host)
	return err == nil && host != "" && u.Hostname() == host && !strings.Contains(host, "*")
}
