package fleet

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config holds the settings of a fleet.
type Config struct {
	Servers         []string      `mapstructure:"servers"` // URLs; none means no fleet
	Name            string        `mapstructure:"name"`
	Node            string        `mapstructure:"node"`             // "" is the name of the host
	CredentialsFile string        `mapstructure:"credentials_file"` // of NATS
	CAFile          string        `mapstructure:"ca_file"`
	Replicas        int           `mapstructure:"replicas"`
	Lease           time.Duration `mapstructure:"lease"` // after which the job of a silent node is redelivered
	Work            bool          `mapstructure:"work"`  // this node executes jobs
}

// DefaultConfig returns the settings of a machine without a fleet.
func DefaultConfig() Config {
	return Config{Servers: []string{}, Name: "main", Replicas: 3, Lease: 30 * time.Second, Work: true}
}

// Enabled reports whether there is a fleet.
func (c Config) Enabled() bool { return len(c.Servers) > 0 }

// validName matches what is valid in NATS subjects, streams and keys.
var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for i, s := range c.Servers {
		if err := checkServer(s); err != nil {
			fail("fleet.servers[%d]: %w", i, err)
		}
	}
	if !validName.MatchString(c.Name) {
		fail("fleet.name: must be 1 to 64 letters, digits, - or _ (got %q)", c.Name)
	}
	if c.Node != "" && !validName.MatchString(c.Node) {
		fail("fleet.node: must be 1 to 64 letters, digits, - or _ (got %q)", c.Node)
	}
	if c.Replicas == 2 {
		fail("fleet.replicas: must be 1, 3 or 5: with two, losing either loses the quorum (got 2)")
	} else if !slices.Contains([]int{1, 3, 5}, c.Replicas) {
		fail("fleet.replicas: must be 1, 3 or 5 (got %d)", c.Replicas)
	}
	if c.Lease < 10*time.Second || c.Lease > 5*time.Minute {
		fail("fleet.lease: must be 10s to 5m (got %v)", c.Lease)
	}
	return errors.Join(errs...)
}

func checkServer(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "tls" && u.Scheme != "nats" {
		return errors.New("must be tls://HOST:4222, or nats://HOST:4222 on this machine")
	}
	if u.User != nil {
		return errors.New("must not contain a password; use fleet.credentials_file")
	}
	ip := net.ParseIP(u.Hostname())
	if local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback(); u.Scheme != "tls" && !local {
		return fmt.Errorf("%s is another machine: use tls://", u.Hostname())
	}
	return nil
}

// node returns the name of this node.
func (c Config) node() (string, error) {
	if c.Node != "" {
		return c.Node, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("fleet.node: %w", err)
	}
	name := strings.ReplaceAll(host, ".", "-")
	if !validName.MatchString(name) {
		return "", fmt.Errorf("fleet.node: the host's name %q cannot be used; set one", host)
	}
	return name, nil
}
