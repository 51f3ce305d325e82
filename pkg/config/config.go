// Package config reads the settings: a YAML file, the environment, and KEY=VALUE
// pairs of the command line, each over the one before. It is the only importer
// of viper.
//
// The parts own their settings, defaults and checks; this package composes
// them into one Config, finds keys that nobody knows, and checks what concerns
// more than one part.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"github.com/optimizerd/optimizerd/pkg/access"
	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fetch"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
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
	Retention publish.Retention `mapstructure:"retention"`
	Log       Log               `mapstructure:"log"`
}

// Admin is the listener for the operator alone.
type Admin struct {
	Listen string `mapstructure:"listen"` // "" turns it off
}

// Secret is a string that does not print itself.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// Auth is who may use the API.
type Auth struct {
	Tokens     []Secret `mapstructure:"tokens"`
	TokensFile string   `mapstructure:"tokens_file"` // one a line
}

// Storage is where the data lies.
type Storage struct {
	Dir           string `mapstructure:"dir"`
	MinFree       int64  `mapstructure:"min_free"` // bytes; 0 is 5 % of the disk, at most 256 MiB
	KeepOriginals bool   `mapstructure:"keep_originals"`
	KeepTimings   bool   `mapstructure:"keep_timings"`  // in manifests
	UploadMemory  int64  `mapstructure:"upload_memory"` // bytes of uploads that are not written while their clients wait
}

// Files is how published files are served.
type Files struct {
	Public bool          `mapstructure:"public"`
	URLTTL time.Duration `mapstructure:"url_ttl"` // of signed URLs
}

// Webhook is how clients are told of ended jobs.
type Webhook struct {
	Secrets     []Secret `mapstructure:"secrets"`      // each signs every webhook
	SecretsFile string   `mapstructure:"secrets_file"` // one a line
}

// Tunnel is how requests come from Cloudflare, and which of them.
type Tunnel struct {
	tunnel.Config `mapstructure:",squash"`
	Access        access.Config `mapstructure:"access"`
	Token         *tunnel.Token `mapstructure:"-"` // of the embedded mode: what TokenFile or the credential holds; nil if there is none
}

// Validate reports the first setting that is out of range, by its key.
func (t Tunnel) Validate() error {
	if err := t.Config.Validate(); err != nil {
		return err
	}
	if t.Mode == tunnel.Off && t.Access.TeamDomain != "" {
		return errors.New("tunnel.access: guards what comes through the tunnel, and tunnel.mode is off: set that, or take access out")
	}
	return t.Access.Validate()
}

// Limits bound one source.
type Limits struct {
	MaxBytes  int64 `mapstructure:"max_bytes"`
	MaxPixels int64 `mapstructure:"max_pixels"` // all frames together
	MaxFrames int   `mapstructure:"max_frames"`
	MaxMemory int64 `mapstructure:"max_memory"` // estimate of what decoding takes, bytes
}

// Queue bounds what waits.
type Queue struct {
	MaxPending int `mapstructure:"max_pending"`
}

// Jobs is about ended ones.
type Jobs struct {
	Keep time.Duration `mapstructure:"keep"`
}

// Log is what is written to standard error.
type Log struct {
	Level  string `mapstructure:"level"`  // debug, info, warn or error
	Format string `mapstructure:"format"` // json, console, or auto: console on a terminal
}

// Default is the configuration without any file: this machine only, in the
// state folder that systemd or the user's session gives.
func Default() Config {
	return Config{
		HTTP:    httpapi.DefaultConfig(),
		Admin:   Admin{Listen: "127.0.0.1:9180"},
		Auth:    Auth{Tokens: []Secret{}},
		Ladder:  ladder.DefaultConfig(),
		Limits:  Limits{MaxBytes: 100 << 20, MaxPixels: 100_000_000, MaxFrames: 500, MaxMemory: 384 << 20},
		Queue:   Queue{MaxPending: 256},
		Jobs:    Jobs{Keep: 7 * 24 * time.Hour},
		Fetch:   fetch.DefaultConfig(),
		Webhook: Webhook{Secrets: []Secret{}},
		Files:   Files{URLTTL: time.Hour},
		Codec:   codec.DefaultConfig(),
		Tunnel:  Tunnel{Config: tunnel.DefaultConfig(), Access: access.DefaultConfig()},
		Log:     Log{Level: "info", Format: "auto"},
		Storage: Storage{Dir: defaultDir()},
	}
}

func defaultDir() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" { // of systemd; one of several, separated by colons
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

const envPrefix = "OPTIMIZERD"

// Load returns the checked configuration. file may be "". Each set is
// "KEY=VALUE" with a key like http.listen, and wins over all else. Warnings
// are about what is not used.
func Load(file string, sets []string) (c Config, warnings []string, err error) {
	v := viper.New()
	known, err := setDefaults(v, Default())
	if err != nil {
		return c, nil, err
	}
	if file != "" {
		v.SetConfigFile(file)
		v.SetConfigType("yaml")
		if err := v.ReadInConfig(); err != nil {
			return c, nil, fileError(file, err)
		}
	}
	for _, set := range sets {
		key, value, ok := strings.Cut(set, "=")
		if !ok {
			return c, nil, fmt.Errorf("--set: must be KEY=VALUE (got %q)", set)
		}
		v.Set(strings.TrimSpace(key), value)
	}
	for _, key := range v.AllKeys() {
		if !slices.Contains(known, key) {
			return c, nil, fmt.Errorf("%s: there is no setting of this name%s", key, suggestion(key, known))
		}
	}
	v.SetEnvPrefix(envPrefix)
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	v.AutomaticEnv()
	if err := v.UnmarshalExact(&c, viper.DecodeHook(hooks)); err != nil {
		return c, nil, decodeError(err)
	}
	lists := []secretList{
		{"auth.tokens_file", "tokens", c.Auth.TokensFile, &c.Auth.Tokens},
		{"webhook.secrets_file", "webhook-secrets", c.Webhook.SecretsFile, &c.Webhook.Secrets},
	}
	var tunnelTokens []Secret
	if c.Tunnel.Mode == tunnel.Embedded { // else a file that is not there yet harms nobody
		lists = append(lists, secretList{"tunnel.token_file", "tunnel-token", c.Tunnel.TokenFile, &tunnelTokens})
	}
	for _, of := range lists {
		if err := of.read(); err != nil {
			return c, nil, err
		}
	}
	switch len(tunnelTokens) {
	case 0:
	case 1:
		token, err := tunnel.ParseToken(string(tunnelTokens[0]))
		if err != nil {
			return c, nil, fmt.Errorf("tunnel.token_file: %w", err)
		}
		c.Tunnel.Token = &token
	default:
		return c, nil, fmt.Errorf("tunnel.token_file: there are %d tokens, and a tunnel has one", len(tunnelTokens))
	}
	return c, unknownEnv(known), c.Validate()
}

// Keys lists every setting, sorted.
func Keys() []string {
	keys, err := setDefaults(viper.New(), Default())
	if err != nil {
		panic(err) // it depends on nothing but the types
	}
	return keys
}

// setDefaults puts every key into v, so that the environment is looked up for
// each, and returns the keys.
func setDefaults(v *viper.Viper, c Config) ([]string, error) {
	tree := make(map[string]any)
	if err := mapstructure.Decode(c, &tree); err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	if err := v.MergeConfigMap(tree); err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	keys := v.AllKeys()
	for _, key := range keys {
		v.SetDefault(key, v.Get(key))
	}
	slices.Sort(keys)
	return keys, nil
}

func fileError(file string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no such file; config.example.yaml is one to start from", file)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: this user may not read it", file)
	default:
		return fmt.Errorf("%s: %w", file, err)
	}
}

// suggestion is the known key that shares the unknown one's last word, or its
// section.
func suggestion(key string, known []string) string {
	last := key[strings.LastIndexByte(key, '.')+1:]
	section, _, _ := strings.Cut(key, ".")
	for _, match := range []func(string) bool{
		func(k string) bool { return strings.HasSuffix(k, "."+last) },
		func(k string) bool { return strings.HasPrefix(k, key) || strings.HasPrefix(key, k) },
		func(k string) bool { return strings.HasPrefix(k, section+".") },
	} {
		if i := slices.IndexFunc(known, match); i >= 0 {
			return fmt.Sprintf("; is it %s that you mean?", known[i])
		}
	}
	return "; config.example.yaml has them all"
}

// unknownEnv finds variables that look like settings and are none.
func unknownEnv(known []string) (warnings []string) {
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(name, envPrefix+"_")
		if ours && !slices.ContainsFunc(known, func(key string) bool {
			return strings.ToUpper(strings.ReplaceAll(key, ".", "_")) == rest
		}) {
			warnings = append(warnings, "environment variable "+name+" is not a setting and is ignored")
		}
	}
	return warnings
}

// hooks turn what people write into what the parts want.
var hooks = mapstructure.ComposeDecodeHookFunc(
	stringToDuration,
	stringToBytes,
	stringToList,
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	int64Type    = reflect.TypeFor[int64]()
)

// stringToDuration knows days beside Go's units.
func stringToDuration(from, to reflect.Type, value any) (any, error) {
	if from.Kind() != reflect.String || to != durationType {
		return value, nil
	}
	s := value.(string)
	unit := time.Duration(1)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		s, unit = days+"h", 24
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return nil, fmt.Errorf("must be a time like 90s, 25m or 7d (got %q)", value)
	}
	return d * unit, nil
}

// stringToBytes knows units: 100MiB, 2GB.
func stringToBytes(from, to reflect.Type, value any) (any, error) {
	if from.Kind() != reflect.String || to != int64Type {
		return value, nil
	}
	n, err := humanize.ParseBytes(value.(string))
	if err != nil || n > 1<<62 {
		return nil, fmt.Errorf("must be a number like 1000000 or 100MiB (got %q)", value)
	}
	return int64(n), nil
}

// stringToList splits the lists of the environment.
func stringToList(from, to reflect.Type, value any) (any, error) {
	if from.Kind() != reflect.String || to.Kind() != reflect.Slice {
		return value, nil
	}
	list := []string{}
	for item := range strings.SplitSeq(value.(string), ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, nil
}

// decodeError says in one line what mapstructure says in many: the key, then
// what is wrong with its value.
func decodeError(err error) error {
	var field *mapstructure.DecodeError
	if errors.As(err, &field) {
		return fmt.Errorf("%s: %w", field.Name(), field.Unwrap())
	}
	return err
}

// secretList is a list of secrets that can also stand in a file, one a line.
type secretList struct {
	key        string // of the setting that names the file
	credential string // systemd's, which needs no setting
	file       string
	secrets    *[]Secret
}

// read adds the secrets of the file and of the systemd credential.
func (l secretList) read() error {
	files := []string{l.file}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if credential := filepath.Join(dir, l.credential); fileExists(credential) {
			files = append(files, credential)
		}
	}
	for _, file := range files {
		if file == "" {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s: %w", l.key, err)
		}
		before := len(*l.secrets)
		for line := range strings.Lines(string(b)) {
			if secret := strings.TrimSpace(line); secret != "" && !strings.HasPrefix(secret, "#") {
				*l.secrets = append(*l.secrets, Secret(secret))
			}
		}
		if len(*l.secrets) == before {
			return fmt.Errorf("%s: there is nothing in %s", l.key, file)
		}
	}
	return nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Validate reports the first setting that is out of range, by its key.
func (c Config) Validate() error {
	for _, part := range []interface{ Validate() error }{c.HTTP, c.Ladder, c.Fetch, c.Codec, c.Tunnel} {
		if err := part.Validate(); err != nil {
			return err
		}
	}
	if err := notify.ValidateSecrets(c.WebhookSecrets()); err != nil {
		return err
	}
	for _, r := range []struct {
		key       string
		value, lo int64
	}{
		{"limits.max_bytes", c.Limits.MaxBytes, 1},
		{"limits.max_pixels", c.Limits.MaxPixels, 1},
		{"limits.max_frames", int64(c.Limits.MaxFrames), 1},
		{"limits.max_memory", c.Limits.MaxMemory, 32 << 20},
		{"queue.max_pending", int64(c.Queue.MaxPending), 1},
		{"jobs.keep", int64(c.Jobs.Keep), int64(time.Minute)},
		{"files.url_ttl", int64(c.Files.URLTTL), int64(time.Minute)},
		{"storage.min_free", c.Storage.MinFree, 0},
		{"storage.upload_memory", c.Storage.UploadMemory, 0},
		{"retention.max_age", int64(c.Retention.MaxAge), 0},
		{"retention.max_bytes", c.Retention.MaxBytes, 0},
	} {
		if r.value < r.lo {
			return fmt.Errorf("%s: must be at least %d (got %d)", r.key, r.lo, r.value)
		}
	}
	if c.Codec.Memory != 0 && c.Codec.Memory < c.Limits.MaxMemory {
		return fmt.Errorf("codec.memory: must be 0 (automatic) or at least limits.max_memory, %d (got %d)", c.Limits.MaxMemory, c.Codec.Memory)
	}
	if c.Storage.UploadMemory > 0 && c.Storage.KeepOriginals {
		return fmt.Errorf("storage.upload_memory: must be 0 with storage.keep_originals, for which every upload is written")
	}
	if c.Storage.Dir == "" {
		return fmt.Errorf("storage.dir: must name a folder")
	}
	if levels := []string{"debug", "info", "warn", "error"}; !slices.Contains(levels, c.Log.Level) {
		return fmt.Errorf("log.level: must be one of %v (got %q)", levels, c.Log.Level)
	}
	if formats := []string{"auto", "json", "console"}; !slices.Contains(formats, c.Log.Format) {
		return fmt.Errorf("log.format: must be one of %v (got %q)", formats, c.Log.Format)
	}
	if c.Admin.Listen != "" {
		if err := checkAddress("admin.listen", c.Admin.Listen); err != nil {
			return err
		}
	}
	if err := checkAddress("http.listen", c.HTTP.Listen); err != nil {
		return err
	}
	return nil
}

// Servable is what the daemon needs beside settings that are valid: secrets,
// where strangers can reach it. It is apart from Validate since what systemd
// gives to the service as credentials is not there for other commands.
func (c Config) Servable() error {
	const set = "set auth.tokens or auth.tokens_file, or give systemd's credential tokens"
	switch {
	case c.Tunnel.Mode == tunnel.Embedded && c.Tunnel.Token == nil:
		return errors.New("tunnel.token_file: must name a file with the tunnel's token, or systemd a credential tunnel-token: tunnel.mode is embedded")
	case len(c.Auth.Tokens) > 0:
		return nil
	case c.Tunnel.Mode != tunnel.Off:
		return fmt.Errorf("tunnel.mode: everybody on the internet can reach the API through a tunnel, and no token is set: %s", set)
	case !loopback(c.HTTP.Listen):
		return fmt.Errorf("http.listen: %s can be reached from outside, and no token is set: %s, or listen on 127.0.0.1", c.HTTP.Listen, set)
	default:
		return nil
	}
}

func checkAddress(key, address string) error {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("%s: must be HOST:PORT (got %q)", key, address)
	}
	return nil
}

// loopback reports whether only this machine can reach the address.
func loopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// LadderLimits are the limits in the engine's words.
func (c Config) LadderLimits() ladder.Limits {
	return ladder.Limits{MaxPixels: c.Limits.MaxPixels, MaxFrames: c.Limits.MaxFrames, MaxMemory: c.Limits.MaxMemory}
}

// ChildSlack is what a codec process may take beyond the estimate that
// limits.max_memory bounds, bytes: an estimate is one.
const ChildSlack = 64 << 20

// DaemonMemory is what is set aside for the daemon beside its children, bytes;
// the systemd unit gives its heap as much.
const DaemonMemory = 128 << 20

// CodecConfig is the codec's part with what follows from others filled in.
func (c Config) CodecConfig() codec.Config {
	cc := c.Codec
	cc.Version = buildinfo.Version()
	if cc.Memory == 0 {
		cc.Memory = c.Limits.MaxMemory + ChildSlack
	}
	return cc
}

// TokenStrings are the tokens in the clear, for the one part that compares
// them.
func (c Config) TokenStrings() []string { return inClear(c.Auth.Tokens) }

// WebhookSecrets are the secrets in the clear, for the one part that signs.
func (c Config) WebhookSecrets() []string { return inClear(c.Webhook.Secrets) }

func inClear(secrets []Secret) []string {
	out := make([]string, len(secrets))
	for i, s := range secrets {
		out[i] = string(s)
	}
	return out
}
