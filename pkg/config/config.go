// Package config reads the settings from a YAML file, the environment, and
// KEY=VALUE pairs on the command line; each overrides the one before. It is the
// only importer of viper.
//
// The packages own their settings, defaults and checks. This package composes
// them into one Config, reports every mistake with its line, and checks settings
// that concern more than one part. config.example.yaml describes the settings,
// and Settings returns those descriptions for the manual page,
// docs/configuration.md and shell completion.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fetch"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
	"github.com/optimizerd/optimizerd/pkg/tunnel/access"
)

// Config is every setting.
type Config struct {
	HTTP      httpapi.Config    `mapstructure:"http"`
	Admin     Admin             `mapstructure:"admin"`
	Auth      Auth              `mapstructure:"auth"`
	Storage   Storage           `mapstructure:"storage"`
	Files     Files             `mapstructure:"files"`
	Limits    Limits            `mapstructure:"limits"`
	Ladder    ladder.Config     `mapstructure:"ladder"`
	Queue     Queue             `mapstructure:"queue"`
	Jobs      Jobs              `mapstructure:"jobs"`
	Fetch     fetch.Config      `mapstructure:"fetch"`
	Webhook   Webhook           `mapstructure:"webhook"`
	Codec     codec.Config      `mapstructure:"codec"`
	Tunnel    Tunnel            `mapstructure:"tunnel"`
	Fleet     fleet.Config      `mapstructure:"fleet"`
	Retention catalog.Retention `mapstructure:"retention"`
	Log       Log               `mapstructure:"log"`
}

// Admin configures the listener for the operator.
type Admin struct {
	Listen string `mapstructure:"listen"` // "" disables it
}

// Secret is a string that does not print itself.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// Auth configures who may use the API.
type Auth struct {
	Tokens     []Secret `mapstructure:"tokens"`
	TokensFile string   `mapstructure:"tokens_file"` // one per line
}

// Storage configures the data directory.
type Storage struct {
	Dir           string `mapstructure:"dir"`
	MinFree       int64  `mapstructure:"min_free"` // bytes; 0 is 5 % of the disk, at most 256 MiB
	KeepOriginals bool   `mapstructure:"keep_originals"`
	KeepTimings   bool   `mapstructure:"keep_timings"`  // in manifests
	KeepTakenAt   bool   `mapstructure:"keep_taken_at"` // in manifests
	UploadMemory  int64  `mapstructure:"upload_memory"` // bytes for uploads that stay off the disk while their clients wait

	S3    s3.Config `mapstructure:"s3"`
	S3Key *s3.Key   `mapstructure:"-"` // from S3.KeyFile or the credential; nil if there is none
}

// Files configures how published files are served.
type Files struct {
	Public bool          `mapstructure:"public"`
	URLTTL time.Duration `mapstructure:"url_ttl"` // of signed URLs
}

// Webhook configures how clients are notified of ended jobs.
type Webhook struct {
	Secrets     []Secret `mapstructure:"secrets"`      // each signs every webhook
	SecretsFile string   `mapstructure:"secrets_file"` // one per line
}

// Tunnel configures how requests arrive from Cloudflare, and which are allowed.
type Tunnel struct {
	tunnel.Config `mapstructure:",squash"`
	Access        access.Config `mapstructure:"access"`
	Token         *tunnel.Token `mapstructure:"-"` // from TokenFile or the credential in embedded mode; nil if there is none
}

// Validate reports every setting that is out of range, by its key.
func (t Tunnel) Validate() error {
	var off error
	if t.Mode == tunnel.Off && t.Access.TeamDomain != "" {
		off = errors.New("tunnel.access.team_domain: has no effect while tunnel.mode is off; set tunnel.mode, or remove tunnel.access")
	}
	return errors.Join(t.Config.Validate(), off, t.Access.Validate())
}

// Limits bounds one source.
type Limits struct {
	MaxBytes  int64 `mapstructure:"max_bytes"`
	MaxPixels int64 `mapstructure:"max_pixels"` // all frames together
	MaxFrames int   `mapstructure:"max_frames"`
	MaxMemory int64 `mapstructure:"max_memory"` // estimate for decoding, bytes
}

// Queue bounds the waiting jobs.
type Queue struct {
	MaxPending int `mapstructure:"max_pending"`
}

// Jobs configures how long ended jobs are kept.
type Jobs struct {
	Keep      time.Duration `mapstructure:"keep"`
	KeepBytes int64         `mapstructure:"keep_bytes"` // of the sources of failed uploads
}

// Log configures the log on standard error.
type Log struct {
	Level  string `mapstructure:"level"`  // debug, info, warn or error
	Format string `mapstructure:"format"` // json, console, or auto: console on a terminal
}

// Default returns the configuration without a file: reachable from this machine
// only, with its data in the state directory of systemd or of the user.
func Default() Config {
	return Config{
		HTTP:    httpapi.DefaultConfig(),
		Admin:   Admin{Listen: "127.0.0.1:9180"},
		Auth:    Auth{Tokens: []Secret{}},
		Ladder:  ladder.DefaultConfig(),
		Limits:  Limits{MaxBytes: 100 << 20, MaxPixels: 100_000_000, MaxFrames: 500, MaxMemory: 384 << 20},
		Queue:   Queue{MaxPending: 256},
		Jobs:    Jobs{Keep: 7 * 24 * time.Hour, KeepBytes: 1 << 30},
		Fetch:   fetch.DefaultConfig(),
		Webhook: Webhook{Secrets: []Secret{}},
		Files:   Files{URLTTL: time.Hour},
		Codec:   codec.DefaultConfig(),
		Tunnel:  Tunnel{Config: tunnel.DefaultConfig(), Access: access.DefaultConfig()},
		Fleet:   fleet.DefaultConfig(),
		Log:     Log{Level: "info", Format: "auto"},
		Storage: Storage{Dir: defaultDir(), KeepTakenAt: true, S3: s3.DefaultConfig()},
	}
}

func defaultDir() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" { // set by systemd; may list several, separated by colons
		dir, _, _ = strings.Cut(dir, ":")
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "optimizerd")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "optimizerd")
	}
	return "/var/lib/optimizerd"
}

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	errs := []error{
		c.HTTP.Validate(), c.Ladder.Validate(), c.Fetch.Validate(), c.Codec.Validate(), c.Tunnel.Validate(),
		notify.ValidateSecrets(c.WebhookSecrets()), c.Storage.S3.Validate(), c.Fleet.Validate(), c.validateStorage(),
	}
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, r := range []struct {
		key        string
		value, low int64
	}{
		{"limits.max_bytes", c.Limits.MaxBytes, 1},
		{"limits.max_pixels", c.Limits.MaxPixels, 1},
		{"limits.max_frames", int64(c.Limits.MaxFrames), 1},
		{"limits.max_memory", c.Limits.MaxMemory, 32 << 20},
		{"queue.max_pending", int64(c.Queue.MaxPending), 1},
		{"storage.min_free", c.Storage.MinFree, 0},
		{"storage.upload_memory", c.Storage.UploadMemory, 0},
		{"retention.max_bytes", c.Retention.MaxBytes, 0},
		{"jobs.keep_bytes", c.Jobs.KeepBytes, 0},
	} {
		if r.value < r.low {
			fail("%s: must be at least %d (got %d)", r.key, r.low, r.value)
		}
	}
	for _, r := range []struct {
		key        string
		value, low time.Duration
	}{
		{"jobs.keep", c.Jobs.Keep, time.Minute},
		{"files.url_ttl", c.Files.URLTTL, time.Minute},
		{"retention.max_age", c.Retention.MaxAge, 0},
	} {
		if r.value < r.low {
			fail("%s: must be at least %v (got %v)", r.key, r.low, r.value)
		}
	}
	if c.Codec.Memory != 0 && c.Codec.Memory < c.Limits.MaxMemory {
		fail("codec.memory: must be 0 (automatic) or at least limits.max_memory, %d (got %d)", c.Limits.MaxMemory, c.Codec.Memory)
	}
	for key, value := range map[string]string{"log.level": c.Log.Level, "log.format": c.Log.Format} {
		if !slices.Contains(choices[key], value) {
			fail("%s: must be one of %v (got %q)", key, choices[key], value)
		}
	}
	if c.Admin.Listen != "" {
		errs = append(errs, checkAddress("admin.listen", c.Admin.Listen))
	}
	return errors.Join(append(errs, checkAddress("http.listen", c.HTTP.Listen))...)
}

// validateStorage reports storage settings that exclude each other.
func (c Config) validateStorage() error {
	var errs []error
	if c.Storage.Dir == "" {
		errs = append(errs, errors.New("storage.dir: must name a directory"))
	}
	if c.Storage.UploadMemory > 0 && c.Storage.KeepOriginals && !c.Storage.S3.Enabled() {
		errs = append(errs, fmt.Errorf("storage.upload_memory: must be 0 with storage.keep_originals, which writes every upload to the disk (got %d)", c.Storage.UploadMemory))
	}
	if c.Fleet.Enabled() && !c.Storage.S3.Enabled() {
		errs = append(errs, errors.New("fleet.servers: a fleet keeps its images in an S3 store: set storage.s3.endpoint and storage.s3.bucket"))
	}
	return errors.Join(errs...)
}

// Servable reports what the daemon lacks although the settings are valid:
// secrets, where others can reach it. It is separate from Validate because other
// commands do not see the credentials that systemd gives to the service.
func (c Config) Servable() error {
	const set = "put one into /etc/credstore/optimizerd.tokens (docs/secrets.md), or set auth.tokens_file"
	var errs []error
	if c.Tunnel.Mode == tunnel.Embedded && c.Tunnel.Token == nil {
		errs = append(errs, errors.New("tunnel.token_file: must name a file with the tunnel's token when tunnel.mode is embedded, or put the token into /etc/credstore/optimizerd.tunnel-token (docs/secrets.md)"))
	}
	if c.Storage.S3.Enabled() && c.Storage.S3Key == nil {
		errs = append(errs, errors.New("storage.s3.key_file: must name a file with the access key id and the secret access key, one per line, or put these into /etc/credstore/optimizerd.s3-key (docs/secrets.md)"))
	}
	switch {
	case len(c.Auth.Tokens) > 0:
	case c.Tunnel.Mode != tunnel.Off:
		errs = append(errs, fmt.Errorf("tunnel.mode: anyone on the internet can reach the API through a tunnel, and no token is set; %s", set))
	case !httpapi.LoopbackOnly(c.HTTP.Listen):
		errs = append(errs, fmt.Errorf("http.listen: other machines can reach %s, and no token is set; %s, or listen on 127.0.0.1", c.HTTP.Listen, set))
	}
	if c.Admin.Listen != "" && len(c.Auth.Tokens) == 0 && !httpapi.LoopbackOnly(c.Admin.Listen) {
		errs = append(errs, fmt.Errorf("admin.listen: other machines can reach %s, and no token is set; %s, or listen on 127.0.0.1", c.Admin.Listen, set))
	}
	return errors.Join(errs...)
}

func checkAddress(key, address string) error {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("%s: must be HOST:PORT (got %q)", key, address)
	}
	return nil
}

// LadderLimits returns the limits in the engine's form.
func (c Config) LadderLimits() ladder.Limits {
	return ladder.Limits{MaxPixels: c.Limits.MaxPixels, MaxFrames: c.Limits.MaxFrames, MaxMemory: c.Limits.MaxMemory}
}

// ChildSlack is what a codec process may use beyond limits.max_memory, which
// bounds only an estimate; bytes.
const ChildSlack = 64 << 20

// DaemonMemory is reserved for the daemon in addition to its children, bytes. The
// systemd unit sets the same limit for its heap.
const DaemonMemory = 128 << 20

// CodecConfig returns the codec's settings with the automatic ones filled in.
func (c Config) CodecConfig() codec.Config {
	cc := c.Codec
	cc.Version = buildinfo.Version()
	if cc.Memory == 0 {
		cc.Memory = c.Limits.MaxMemory + ChildSlack
	}
	return cc.Sized()
}

// FleetOptions returns the settings that the fleet needs.
func (c Config) FleetOptions() fleet.Options {
	return fleet.Options{
		Config: c.Fleet, MaxPending: c.Queue.MaxPending, Keep: c.Jobs.Keep, LongestJob: c.Codec.LongestRender() + 5*time.Minute,
		Dedicated: c.CodecConfig().Dedicated,
	}
}

// TokenStrings returns the tokens in plain text, to compare requests with.
func (c Config) TokenStrings() []string { return plainText(c.Auth.Tokens) }

// WebhookRules returns what addresses webhooks may be sent to: fetch.allow_hosts
// applies to images; receivers are named by token holders.
func (c Config) WebhookRules() egress.Rules {
	rules := c.Fetch.Rules()
	rules.AllowHosts = nil
	return rules
}

// WebhookSecrets returns the secrets in plain text, to sign webhooks with.
func (c Config) WebhookSecrets() []string { return plainText(c.Webhook.Secrets) }

func plainText(secrets []Secret) []string {
	out := make([]string, len(secrets))
	for i, s := range secrets {
		out[i] = string(s)
	}
	return out
}
