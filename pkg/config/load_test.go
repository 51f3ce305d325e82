package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// These tests are about this configuration alone, wherever they run.
func TestMain(m *testing.M) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "OPTIMIZERD_") {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

// mistakes loads a file and returns the lines of the error, without the
// directory of the file.
func mistakes(t *testing.T, content string, sets ...string) []string {
	t.Helper()
	file := write(t, content)
	_, err := config.LoadServable(file, sets)
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), filepath.Dir(file)+"/", ""), "\n")
}

func TestMistakesAreAllReportedAtOnce(t *testing.T) {
	t.Setenv("OPTIMIZERD_LIMITS_MAX_BYTES", "lots")
	t.Setenv("OPTIMIZERD_HTTP_LISTNE", "x")
	t.Setenv("OPTIMIZERD_HTTP_PUBLIC_URL", "nowhere")
	got := mistakes(t, `http:
  listne: x
  listen: 0.0.0.0:8080
  sync_wait: 5m
codec: 5
log:
  level: loud
  format: xml
ladder:
  widths: [320, "x"]
  quality: {webp: 0, jpeg: 101}
limits:
  max_pixels: 0
`, "jobs.kep=1d", "jobs.keep=1s", "queue=3")
	want := []string{
		`config.yaml:2: http.listne: unknown setting (got "x"); did you mean http.listen?`,
		`config.yaml:3: http.listen: other machines can reach 0.0.0.0:8080, and no token is set; put one into /etc/credstore/optimizerd.tokens (docs/secrets.md), or set auth.tokens_file, or listen on 127.0.0.1`,
		`config.yaml:4: http.sync_wait: must be from 1s to 90s: Cloudflare's edge gives up after 100 s (got 5m0s)`,
		`config.yaml:5: codec: is a section with settings such as codec.max_jobs, not a setting (got 5)`,
		`config.yaml:7: log.level: must be one of [debug info warn error] (got "loud")`,
		`config.yaml:8: log.format: must be one of [auto json console] (got "xml")`,
		`config.yaml:10: ladder.widths[1]: must be a whole number (got "x")`,
		`config.yaml:11: ladder.quality.webp: must be from 1 to 100 (got 0)`,
		`config.yaml:11: ladder.quality.jpeg: must be from 1 to 100 (got 101)`,
		`config.yaml:13: limits.max_pixels: must be at least 1 (got 0)`,
		`OPTIMIZERD_HTTP_LISTNE: unknown environment variable (got "x"); did you mean OPTIMIZERD_HTTP_LISTEN?`,
		`--set: jobs.kep: unknown setting (got "1d"); did you mean jobs.keep?`,
		`--set: queue: is a section with settings such as queue.max_pending, not a setting (got "3")`,
		`OPTIMIZERD_LIMITS_MAX_BYTES: limits.max_bytes: must be a number such as 1000000 or 100MiB (got "lots")`,
		`OPTIMIZERD_HTTP_PUBLIC_URL: http.public_url: must be like https://img.example.com (got "nowhere")`,
		`--set: jobs.keep: must be at least 1m0s (got 1s)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEmptyVariableSetsAnEmptyValue(t *testing.T) {
	t.Setenv("OPTIMIZERD_ADMIN_LISTEN", "")
	t.Setenv("OPTIMIZERD_FETCH_ALLOW_HOSTS", "")
	c := load(t, "admin: {listen: '127.0.0.1:1'}\nfetch: {allow_hosts: [example.com]}")
	if c.Admin.Listen != "" || len(c.Fetch.AllowHosts) != 0 {
		t.Errorf("admin.listen is %q, fetch.allow_hosts %q", c.Admin.Listen, c.Fetch.AllowHosts)
	}
	t.Setenv("OPTIMIZERD_CODEC_PROCESSES", "")
	if got := mistakes(t, ""); len(got) != 1 || got[0] != `OPTIMIZERD_CODEC_PROCESSES: codec.processes: must be a whole number (got "")` {
		t.Errorf("an empty number gives %q", got)
	}
}

func TestVariablesThatAreNoSettingsAreAccepted(t *testing.T) {
	t.Setenv(config.FileVariable, "")
	t.Setenv("OPTIMIZERD_ACTIVE_HELP", "0")
	t.Setenv("OPTIMIZERD_SERVICE_HOST", "10.0.0.1") // of Kubernetes, for a service of this name
	t.Setenv("OPTIMIZERD_PORT_8080_TCP", "tcp://10.0.0.1:8080")
	if got := mistakes(t, ""); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestSecretsAreNotTakenFromTheCommandLine(t *testing.T) {
	got := mistakes(t, "", "auth.tokens=0123456789abcdef", "webhook.secrets=whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQ=")
	want := []string{
		"--set: auth.tokens: other users of this machine can read command lines; use auth.tokens_file, OPTIMIZERD_AUTH_TOKENS or the configuration file",
		"--set: webhook.secrets: other users of this machine can read command lines; use webhook.secrets_file, OPTIMIZERD_WEBHOOK_SECRETS or the configuration file",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestShortTokensAreRefusedWhereverTheyAre(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	credentials := t.TempDir()
	for path, content := range map[string]string{file: "# mine\nhunter2\n", filepath.Join(credentials, "tokens"): "hunter3\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	t.Setenv("OPTIMIZERD_AUTH_TOKENS", "0123456789abcdef,hunter1")
	got := strings.Join(mistakes(t, "auth: {tokens_file: "+file+"}"), "\n")
	for _, want := range []string{
		"OPTIMIZERD_AUTH_TOKENS: auth.tokens[1]: a token must have at least 16 characters",
		"config.yaml:1: auth.tokens_file: " + file + ": line 2: a token must have",
		credentials + "/tokens: line 1: a token must have at least 16 characters; make one with: openssl rand -hex 32",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "hunter") {
		t.Errorf("a token is in\n%s", got)
	}
}

func TestTokenOfDigitsIsTakenAsItIsWritten(t *testing.T) {
	c := load(t, "auth: {tokens: [00001234567890123456789012345678]}")
	if got := c.TokenStrings(); !slices.Equal(got, []string{"00001234567890123456789012345678"}) {
		t.Errorf("got %q", got)
	}
}

func TestUnknownKeyDoesNotPrintASecret(t *testing.T) {
	t.Setenv("OPTIMIZERD_AUTH_TOKEN", "hunter2")
	got := strings.Join(mistakes(t, "auth: {token: hunter2}\ntoken: hunter2\nwebhook: hunter2", "auth.toknes=hunter2"), "\n")
	if strings.Contains(got, "hunter2") || !strings.Contains(got, "did you mean auth.tokens?") || !strings.Contains(got, "did you mean OPTIMIZERD_AUTH_TOKENS?") {
		t.Errorf("got\n%s", got)
	}
}

func TestAnchorsAndMergeKeysOfYAMLWork(t *testing.T) {
	c := load(t, `
ladder:
  quality: &q {webp: 70, jpeg: 71, avif: 72}
  presets: {low: *q, high: {jpeg: 99, <<: *q}}
`)
	if c.Ladder.Presets.Low != c.Ladder.Quality || c.Ladder.Presets.High.JPEG != 99 || c.Ladder.Presets.High.WebP != 70 {
		t.Errorf("ladder %+v", c.Ladder)
	}
}

func TestFileThatCannotBeReadIsAnError(t *testing.T) {
	if _, err := config.Load(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory gives %v", err)
	}
}

func TestConfigurationIsUsableDespiteAMistake(t *testing.T) {
	c, err := config.Load(write(t, "codec: {path: /opt/codec, timeout: soon}"), nil)
	if err == nil || c.Codec.Path != "/opt/codec" || c.Codec.Timeout != config.Default().Codec.Timeout {
		t.Errorf("%v, %+v", err, c.Codec)
	}
}

func TestAnchorThatContainsItselfIsAMistake(t *testing.T) {
	for _, content := range []string{"http: &h\n  <<: *h\n", "http: &h\n  <<: [*h]\n", "http: &h\n  listen: *h\n"} {
		_, err := config.Load(write(t, content), nil)
		if err == nil || !strings.Contains(err.Error(), ":2: not valid YAML: anchor h contains itself") {
			t.Errorf("%q: %v", content, err)
		}
	}
}
