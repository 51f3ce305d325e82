package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

const (
	// DefaultFile is the configuration of an installed package.
	DefaultFile = "/etc/optimizerd/config.yaml"

	// FileVariable names the environment variable with the path of the
	// configuration file. It is not a setting; set but empty, it means no file.
	FileVariable = envPrefix + "CONFIG"

	envPrefix = "OPTIMIZERD_"
)

// otherVariables begin with envPrefix and are not settings. Cobra reads the
// last two when a shell asks for completions.
var otherVariables = []string{FileVariable, envPrefix + "ACTIVE_HELP", envPrefix + "COMPLETION_DESCRIPTIONS"}

// serviceLink matches the variables that Kubernetes sets in every container for a
// service named optimizerd.
var serviceLink = regexp.MustCompile(`^` + envPrefix + `(SERVICE|PORT)(_|$)`)

// Load returns the checked configuration. An empty file reads none. Each of
// sets is KEY=VALUE, such as http.listen=127.0.0.1:8080; they override the
// environment, which overrides the file.
//
// An error lists every mistake, one per line. The configuration is usable even
// then: a setting with a mistake has its default.
func Load(file string, sets []string) (Config, error) { return load(file, sets, false) }

// LoadServable is Load for the daemon: what Servable reports is a mistake too.
func LoadServable(file string, sets []string) (Config, error) { return load(file, sets, true) }

func load(file string, sets []string, servable bool) (Config, error) {
	l := newLoader(file)
	if file != "" {
		if err := l.readFile(); err != nil {
			return Default(), err
		}
	}
	l.checkEnvironment()
	l.readSets(sets)
	l.readProfile()
	c := l.decode()
	l.readSecrets(&c)
	l.collect(c.Validate())
	if servable && !l.failed("auth.") && !l.failed("tunnel.") && !l.failed("storage.s3.") {
		l.collect(c.Servable())
	}
	return c, l.err()
}

// loader reads the configuration once and collects the mistakes.
type loader struct {
	file     string
	v        *viper.Viper
	defaults map[string]any // by key: every setting
	keys     []string       // sorted
	names    []string       // keys and sections
	lines    map[string]int // of keys, and of list items such as ladder.widths[1], in file
	set      map[string]bool
	mistakes []mistake
}

func newLoader(file string) *loader {
	l := &loader{
		file: file, v: viper.New(), defaults: defaults(), keys: Keys(),
		lines: make(map[string]int), set: make(map[string]bool),
	}
	for key, value := range l.defaults {
		l.v.SetDefault(key, value)
	}
	for _, key := range l.keys {
		for name := key; name != ""; name = name[:max(0, strings.LastIndexByte(name, '.'))] {
			l.names = append(l.names, name)
		}
	}
	l.v.SetEnvPrefix(strings.TrimSuffix(envPrefix, "_"))
	l.v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	l.v.AllowEmptyEnv(true)
	l.v.AutomaticEnv()
	return l
}

// defaults returns the default of every setting by its key.
func defaults() map[string]any { return defaultsOf(Default()) }

func defaultsOf(c Config) map[string]any {
	tree := make(map[string]any)
	if err := mapstructure.Decode(c, &tree); err != nil {
		panic(err) // depends on nothing but the types
	}
	flat := make(map[string]any)
	flatten("", tree, flat)
	return flat
}

func flatten(section string, tree, into map[string]any) {
	for name, value := range tree {
		if below, ok := value.(map[string]any); ok {
			flatten(section+name+".", below, into)
			continue
		}
		into[section+name] = value
	}
}

// Keys returns the key of every setting, sorted.
func Keys() []string {
	keys := make([]string, 0)
	for key := range defaults() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// isSection reports whether settings have keys below this one.
func (l *loader) isSection(key string) bool {
	return slices.Contains(l.names, key) && !slices.Contains(l.keys, key)
}

// readFile merges the file into the configuration. If it fails, there is
// nothing to check.
func (l *loader) readFile() error {
	b, err := os.ReadFile(l.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: no such file; start from config.example.yaml", l.file)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied; run this command with sudo or as the user optimizerd, or pass --config FILE ('' for none)", l.file)
	case err != nil:
		return fmt.Errorf("%s: %w", l.file, errors.Unwrap(err))
	}
	tree, err := l.parse(b)
	if err != nil {
		return err
	}
	return l.v.MergeConfigMap(tree)
}

// checkEnvironment reports variables that look like settings and are not.
func (l *loader) checkEnvironment() {
	variables := make([]string, len(l.keys))
	for i, key := range l.keys {
		variables[i] = Variable(key)
	}
	environment := os.Environ()
	slices.Sort(environment)
	for _, pair := range environment {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(variables, name) && !slices.Contains(otherVariables, name) && !serviceLink.MatchString(name) {
			l.add(mistake{text: fmt.Sprintf("%s: unknown environment variable%s%s", name, got(name, value), suggest(name, variables))})
		}
	}
}

// Variable returns the name of the environment variable for a key.
func Variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// secretLists are the settings that must not be on a command line, with their
// replacements.
var secretLists = map[string]string{
	"auth.tokens":     "auth.tokens_file",
	"webhook.secrets": "webhook.secrets_file",
}

// readSets applies the settings of the command line.
func (l *loader) readSets(sets []string) {
	for _, set := range sets {
		key, value, ok := strings.Cut(set, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		switch file, secret := secretLists[key]; {
		case secret:
			l.add(mistake{source: "--set", key: key, text: fmt.Sprintf(
				"other users of this machine can read command lines; use %s, %s or the configuration file", file, Variable(key))})
		case !ok:
			l.add(mistake{source: "--set", text: fmt.Sprintf("must be KEY=VALUE, such as http.listen=127.0.0.1:8080 (got %q)", set)})
		case l.isSection(key):
			l.add(mistake{source: "--set", key: key, text: l.sectionText(key, got(key, value))})
		case !slices.Contains(l.keys, key):
			l.add(mistake{source: "--set", key: key, text: "unknown setting" + got(key, value) + suggest(key, l.names)})
		default:
			l.v.Set(key, value)
			l.set[key] = true
		}
	}
}

// readProfile replaces the ladder's defaults with ladder.profile's.
func (l *loader) readProfile() {
	c := Default()
	c.Ladder = ladder.ProfileConfig(l.v.GetString("ladder.profile"))
	for key, value := range defaultsOf(c) {
		if strings.HasPrefix(key, "ladder.") && key != "ladder.profile" {
			l.v.SetDefault(key, value)
			l.defaults[key] = value
		}
	}
}

// decode returns the configuration. A setting that has no valid value is
// reported and gets its default.
func (l *loader) decode() Config {
	var c Config
	err := l.v.Unmarshal(&c, viper.DecodeHook(hook))
	if err == nil {
		return c
	}
	errs := []error{err}
	if joined := (interface{ Unwrap() []error })(nil); errors.As(err, &joined) {
		errs = split(errors.Join(joined.Unwrap()...))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	for _, each := range errs {
		var field *mapstructure.DecodeError
		if !errors.As(each, &field) {
			l.add(mistake{text: each.Error()})
			continue
		}
		l.add(l.locate(mistake{key: field.Name(), text: field.Unwrap().Error()}))
		key := withoutIndex(field.Name())
		l.v.Set(key, l.defaults[key])
	}
	c = Config{}
	if err := l.v.Unmarshal(&c, viper.DecodeHook(hook)); err != nil {
		return Default()
	}
	return c
}
