package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, content string, sets ...string) config.Config {
	t.Helper()
	c, err := config.Load(write(t, content), sets)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const example = "../../config.example.yaml"

func TestExampleIsTheDefaults(t *testing.T) {
	got, err := config.Load(example, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Storage.Dir = "/var/lib/optimizerd" // depends on the machine
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the example (+) differs from the defaults (-):\n%s", diff)
	}
}

// keys lists the paths of a tree of settings.
func keys(prefix string, tree map[string]any) (all []string) {
	for name, value := range tree {
		if below, ok := value.(map[string]any); ok {
			all = append(all, keys(prefix+name+".", below)...)
			continue
		}
		all = append(all, prefix+name)
	}
	slices.Sort(all)
	return all
}

func TestExampleHasEveryKey(t *testing.T) {
	b, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	if got, want := keys("", tree), config.Keys(); !slices.Equal(got, want) {
		t.Errorf("the example has\n%v\nthe code has\n%v", got, want)
	}
}

func TestFileThenEnvironmentThenCommandLine(t *testing.T) {
	t.Setenv("OPTIMIZERD_LADDER_WIDTHS", "100, 200")
	t.Setenv("OPTIMIZERD_HTTP_LISTEN", "127.0.0.1:2")
	t.Setenv("OPTIMIZERD_LIMITS_MAX_BYTES", "5MiB")
	t.Setenv("OPTIMIZERD_LADDER_EFFORT_WEBP", "2")
	t.Setenv("OPTIMIZERD_FILES_PUBLIC", "true")
	c := load(t, `
http: {listen: "127.0.0.1:1", sync_wait: 9s}
ladder: {widths: [7], formats: [jpeg, avif]}
retention: {max_age: 30d}
`, "http.listen=127.0.0.1:3", "ladder.quality.jpeg=70")
	if !slices.Equal(c.Ladder.Widths, []int{100, 200}) || !slices.Equal(c.Ladder.Formats, []ladder.Format{ladder.JPEG, ladder.AVIF}) {
		t.Errorf("ladder %+v", c.Ladder)
	}
	if c.HTTP.Listen != "127.0.0.1:3" || c.HTTP.SyncWait != 9*time.Second {
		t.Errorf("http %+v", c.HTTP)
	}
	if c.Limits.MaxBytes != 5<<20 || c.Ladder.Effort.WebP != 2 || c.Ladder.Quality.JPEG != 70 || !c.Files.Public {
		t.Errorf("limits %+v, ladder %+v, files %+v", c.Limits, c.Ladder, c.Files)
	}
	if c.Retention.MaxAge != 30*24*time.Hour {
		t.Errorf("retention %+v", c.Retention)
	}
}

// A profile gives the defaults of the ladder; what is set stays.
func TestProfileGivesDefaults(t *testing.T) {
	c := load(t, "ladder:\n  profile: small-board\n  quality: {webp: 77}\n  format_widths: {avif: {from: 1600}}\n", "ladder.effort.webp=3")
	want := ladder.ProfileConfig(ladder.SmallBoardProfile)
	want.Quality.WebP, want.FormatWidths.AVIF.From, want.Effort.WebP = 77, 1600, 3
	if diff := cmp.Diff(want, c.Ladder); diff != "" {
		t.Error(diff)
	}
	t.Setenv("OPTIMIZERD_LADDER_PROFILE", "small-files")
	t.Setenv("OPTIMIZERD_LADDER_FORMATS", "jpeg,avif")
	t.Setenv("OPTIMIZERD_LADDER_QUALITY_BY_WIDTH_AVIF", "60@1600,55@2048")
	c = load(t, "")
	want = ladder.ProfileConfig(ladder.SmallFilesProfile)
	want.Formats, want.QualityByWidth.AVIF = []ladder.Format{ladder.JPEG, ladder.AVIF}, []ladder.Step{"60@1600", "55@2048"}
	if diff := cmp.Diff(want, c.Ladder); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsAreRequiredWhereStrangersCome(t *testing.T) {
	const token = "auth: {tokens: [0123456789abcdef]}\n"
	for content, want := range map[string]string{
		`http: {listen: "0.0.0.0:80"}`:     "http.listen: other machines can reach 0.0.0.0:80, and no token is set",
		`http: {listen: ":80"}`:            "http.listen: other machines can reach :80, and no token is set",
		`admin: {listen: "0.0.0.0:9180"}`:  "admin.listen: other machines can reach 0.0.0.0:9180, and no token is set",
		token + "admin: {listen: ':9180'}": "",
		"tunnel: {mode: external}":         "tunnel.mode: anyone on the internet",
		token + "tunnel: {mode: embedded}": "tunnel.token_file: must name a file",
		"http: {listen: '127.0.0.1:80'}":   "",
		token + "http: {listen: ':80'}":    "",
		token + "tunnel: {mode: external}": "",
	} {
		c, err := config.Load(write(t, content), nil)
		if err != nil {
			t.Errorf("%s: %v: other commands need no secrets", content, err)
		}
		if err := c.Servable(); (want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", content, err, want)
		}
	}
}

func TestErrorsNameTheKeyTheValueAndWhatIsAllowed(t *testing.T) {
	for content, want := range map[string]string{
		"http: {listne: x}":          `config.yaml:1: http.listne: unknown setting (got "x"); did you mean http.listen?`,
		"\nhttp:\n  listn: x":        `config.yaml:3: http.listn: unknown setting (got "x"); did you mean http.listen?`,
		"quality: {webp: 3}":         "quality: unknown setting (got a section); did you mean ladder.quality?",
		"codec: 5":                   "codec: is a section with settings such as codec.max_jobs, not a setting (got 5)",
		"http: {listen: {port: 1}}":  "http.listen: must be text (got a section)",
		"http: {listen: true}":       "http.listen: must be text (got true)",
		"[http]":                     "config.yaml:1: must have sections",
		"http: {sync_wait: 25}":      "http.sync_wait: must be a duration such as 90s, 25m or 7d (got 25)",
		"ladder: {widths: [320, x]}": `config.yaml:1: ladder.widths[1]: must be a whole number (got "x")`,
		"ladder: {max_width: 1.5}":   "ladder.max_width: must be a whole number (got 1.5)",
		"files: {public: perhaps}":   `files.public: must be true or false (got "perhaps")`,
		"http: {listen: '127.0.0.1:1', listen: '127.0.0.1:2'}": "http.listen: is set twice",
		"auth: {tokens: [0123456789abcde]}":                    "config.yaml:1: auth.tokens[0]: a token must have at least 16 characters; make one with: openssl rand -hex 32",
		"ladder: {widths: [640, 320]}":                         "ladder.widths[1]: must be greater than 640, the width before it (got 320)",
		"ladder: {quality: {webp: many}}":                      `ladder.quality.webp: `,
		"http: {sync_wait: soon}":                              `http.sync_wait: must be a duration such as 90s, 25m or 7d (got "soon")`,
		"http: {sync_wait: 5m}":                                "http.sync_wait: must be from 1s to 90s",
		"limits: {max_bytes: lots}":                            `limits.max_bytes: must be a number such as 1000000 or 100MiB (got "lots")`,
		"limits: {max_pixels: 0}":                              "limits.max_pixels: must be at least 1 (got 0)",
		"storage: {upload_memory: -1}":                         "storage.upload_memory: must be at least 0 (got -1)",
		"storage: {upload_memory: 1MiB, keep_originals: true}": "storage.upload_memory: must be 0 with storage.keep_originals",
		"fleet: {servers: [tls://nas:4222]}":                   "fleet.servers: a fleet keeps its images in an S3 store: set storage.s3.endpoint and storage.s3.bucket",
		"log: {level: loud}":                                   `log.level: must be one of [debug info warn error] (got "loud")`,
		"http: {listen: here}":                                 `http.listen: must be HOST:PORT (got "here")`,
		"http: {public_url: img.example.com}":                  `http.public_url: must be like https://img.example.com (got "img.example.com")`,
		"http: {trusted_proxies: [localhost]}":                 `http.trusted_proxies[0]: must be a network like 192.168.1.2/32 (got "localhost")`,
		"auth: {tokens_file: /nowhere/tokens}":                 "auth.tokens_file: ",
		"codec: {timeout: 1ms}":                                "codec.timeout: must be at least 1s (got 1ms)",
		"storage: [":                                           "config.yaml",
	} {
		_, err := config.Load(write(t, content), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", content, err, want)
		}
	}
	if _, err := config.Load("/nowhere/config.yaml", nil); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file gives %v", err)
	}
	if _, err := config.Load("", []string{"http.listen"}); err == nil || !strings.Contains(err.Error(), "KEY=VALUE") {
		t.Errorf("a set without a value gives %v", err)
	}
}

func TestTokensComeFromFilesAndAreNeverPrinted(t *testing.T) {
	credentials := t.TempDir()
	if err := os.WriteFile(filepath.Join(credentials, "tokens"), []byte("# of systemd\nthird-token-of-many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("second-token-of-many\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := load(t, "auth: {tokens: [first-token-of-many]}", "auth.tokens_file="+file)
	if got := c.TokenStrings(); !slices.Equal(got, []string{"first-token-of-many", "second-token-of-many", "third-token-of-many"}) {
		t.Errorf("got %v", got)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(text, "first") || strings.Contains(text, "third") {
			t.Errorf("%s prints a token: %s", verb, text)
		}
	}
}

func TestCommandByHandReadsTheSecretsOfTheService(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	credstore := filepath.Join(t.TempDir(), "optimizerd.")
	if err := os.WriteFile(credstore+"tokens", []byte("token-of-the-service\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, other := write(t, "tunnel: {mode: external}"), write(t, "tunnel: {mode: external}")
	config.SetService(t, file, credstore)
	c, err := config.LoadServable(file, nil)
	if err != nil || !slices.Equal(c.TokenStrings(), []string{"token-of-the-service"}) {
		t.Errorf("got %v, %v", c.TokenStrings(), err)
	}
	if c, err := config.LoadServable(other, nil); err == nil {
		t.Errorf("another configuration has the tokens %v", c.TokenStrings())
	}
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	if c, err := config.LoadServable(file, nil); err == nil {
		t.Errorf("beside systemd's directory the tokens are %v", c.TokenStrings())
	}
}

func TestFleetsCredentialsNeedNoSetting(t *testing.T) {
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	const fleet = "storage: {s3: {endpoint: https://r2.example, bucket: images}}\nfleet: {servers: [tls://nas:4222]}"
	if c := load(t, fleet); c.Fleet.CredentialsFile != "" {
		t.Errorf("without a file they are in %s", c.Fleet.CredentialsFile)
	}
	file := filepath.Join(credentials, "nats")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := load(t, fleet); c.Fleet.CredentialsFile != file {
		t.Errorf("they are in %q, want %s", c.Fleet.CredentialsFile, file)
	}
	if c := load(t, fleet, "fleet.credentials_file=/mine.creds"); c.Fleet.CredentialsFile != "/mine.creds" {
		t.Errorf("those of the setting are in %q", c.Fleet.CredentialsFile)
	}
}

// A secret that docs/secrets.md names must reach the service.
func TestUnitLoadsEverySecret(t *testing.T) {
	page, err := os.ReadFile("../../docs/secrets.md")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile("../../systemd/optimizerd.service")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(page), "| with |")
	names := regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|").FindAllStringSubmatch(table, -1)
	if len(names) < 5 {
		t.Errorf("the page names %v", names)
	}
	for _, name := range names {
		if line := "\nLoadCredential=" + name[1] + ":optimizerd." + name[1] + "\n"; !strings.Contains(string(unit), line) {
			t.Errorf("the unit has no line %s", line)
		}
	}
}

func TestDataFolderIsThatOfSystemdOrTheUser(t *testing.T) {
	t.Setenv("HOME", "/home/cat")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("STATE_DIRECTORY", "")
	check := func(want string) {
		t.Helper()
		if got := config.Default().Storage.Dir; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	check("/home/cat/.local/state/optimizerd")
	t.Setenv("XDG_STATE_HOME", "/state")
	check("/state/optimizerd")
	t.Setenv("STATE_DIRECTORY", "/var/lib/optimizerd:/other")
	check("/var/lib/optimizerd")
}

func FuzzLoad(f *testing.F) {
	f.Add("http: {listen: x}")
	f.Add("ladder: {widths: [1, 2]}")
	f.Fuzz(func(t *testing.T, content string) {
		c, err := config.Load(write(t, content), nil)
		if err == nil && c.Validate() != nil {
			t.Error("what was loaded is not valid")
		}
	})
}
