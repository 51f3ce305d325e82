package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// The oldest supported server: earlier ones have no per-key TTL, or lose streams when
// they are killed.
const (
	oldestMajor = 2
	oldestMinor = 12
)

// releases is the URL of NATS packages.
const releases = "https://github.com/nats-io/nats-server/releases"

func (f *Fleet) connect() error {
	options := append(f.config.dialOptions(),
		nats.Name("optimizerd "+f.node), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second),
		nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2), // a server that does not answer is abandoned
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				f.log.Error("connection to the fleet lost", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			f.log.Info("reconnected to the fleet", zap.String("server", nc.ConnectedServerName()))
		}),
	)
	nc, err := nats.Connect(strings.Join(f.config.Servers, ","), options...)
	if err != nil {
		return fmt.Errorf("fleet.servers: cannot connect to any of %v: %w", f.config.Servers, describe(err))
	}
	f.nc = nc
	if v := nc.ConnectedServerVersion(); !recent(v) {
		nc.Close()
		return fmt.Errorf("fleet.servers: nats-server %s at %s: %d.%d or newer with JetStream is required; "+
			"packages are at "+releases, v, nc.ConnectedUrlRedacted(), oldestMajor, oldestMinor)
	}
	f.js, err = jetstream.New(nc)
	return err
}

// dialOptions returns the options of every connection.
func (c Config) dialOptions() (options []nats.Option) {
	if c.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(c.CredentialsFile))
	}
	if c.CAFile != "" {
		options = append(options, nats.RootCAs(c.CAFile))
	}
	return options
}

// recent reports whether a version of nats-server is new enough.
func recent(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major > oldestMajor || major == oldestMajor && minor >= oldestMinor)
}

// describe adds advice to a connection error.
func describe(err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		file     *fs.PathError
		lookup   *net.DNSError
		advice   string
	)
	switch {
	case errors.As(err, &unknown):
		advice = "its certificate is not signed by fleet.ca_file; scripts/fleet-ca makes both"
	case errors.As(err, &hostname):
		advice = "its certificate is for another name; use that name in fleet.servers, or issue a certificate for this one"
	case errors.As(err, &invalid):
		advice = "its certificate has expired or is not valid yet; compare the clocks, or issue a new one with scripts/fleet-ca"
	case errors.As(err, &record), errors.Is(err, nats.ErrSecureConnWanted):
		advice = "it does not use TLS; add tls {} to its configuration"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		advice = "it refused the credentials; set fleet.credentials_file to the .creds file of a user it knows"
	case errors.As(err, &file):
		advice = "the daemon's user must be able to read fleet.credentials_file and fleet.ca_file"
	case errors.As(err, &lookup):
		advice = "the name does not resolve on this machine"
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout):
		advice = "nothing answers; start nats-server there, and allow its port in the firewall"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}

// Server is the probe result of one of fleet.servers.
type Server struct {
	URL     string `json:"url"`
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	Recent  bool   `json:"recent"`            // new enough
	Problem string `json:"problem,omitempty"` // why it cannot be used, and what to do
}

// serverTime bounds a connection to one server.
const serverTime = 4 * time.Second

// ProbeServers connects to each server on its own.
func (c Config) ProbeServers(ctx context.Context) (found []Server) {
	for _, url := range c.Servers {
		if ctx.Err() != nil {
			return found
		}
		s := Server{URL: url}
		nc, err := nats.Connect(url, append(c.dialOptions(), nats.Name("optimizerd probe"), nats.NoReconnect(), nats.Timeout(serverTime), nats.IgnoreDiscoveredServers())...)
		if err != nil {
			s.Problem = describe(err).Error()
		} else {
			s.Name, s.Version = nc.ConnectedServerName(), nc.ConnectedServerVersion()
			if s.Recent = recent(s.Version); !s.Recent {
				s.Problem = fmt.Sprintf("nats-server %s is too old: %d.%d or newer is required, see %s", s.Version, oldestMajor, oldestMinor, releases)
			}
			nc.Close()
		}
		found = append(found, s)
	}
	return found
}
