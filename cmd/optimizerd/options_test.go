package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// installed runs a command in this process, with a configuration where the
// package would have it.
func installed(t *testing.T, file string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut bytes.Buffer
	c := root(&options{defaultFile: file})
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&errOut)
	status = exitStatus(c.ExecuteContext(t.Context()), &errOut)
	return out.String(), errOut.String(), status
}

// noFileVariable removes the variable with which these tests hide the
// configuration of the machine.
func noFileVariable(t *testing.T) {
	t.Helper()
	t.Setenv(config.FileVariable, "") // so that it is restored
	if err := os.Unsetenv(config.FileVariable); err != nil {
		t.Fatal(err)
	}
}

func yamlFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMistakeOnTheCommandLineIsAnsweredWithTheUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"accepts 1 arg(s), received 0; usage: optimizerd backup {DIR | s3://BUCKET/PREFIX} [flags]\n": {"backup"},
		"usage: optimizerd webhooks test URL [flags]\n":                                               {"webhooks", "test"},
		"unknown flag: --cfg; 'optimizerd serve --help' lists the flags\n":                            {"serve", "--cfg"},
		"Did you mean this?\noptimizerd: \tmove\noptimizerd: \tserve\n":                               {"srve"},
	} {
		if _, stderr, status := installed(t, "", args...); status != 1 || !strings.HasSuffix(stderr, want) {
			t.Errorf("%q exits with %d: %s", args, status, stderr)
		}
	}
}

func TestCommandsFindTheConfigurationAndSayWhich(t *testing.T) {
	noFileVariable(t)
	file := yamlFile(t, "http: {listne: 1}")
	for _, args := range [][]string{
		{"serve"},
		{"optimize", "x.jpg"},
		{"check"},
		{"doctor"},
		{"bench"},
		{"quarantine", "list"},
		{"quarantine", "clear", "--all"},
		{"tunnel", "config"},
		{"tunnel", "check", "x.yml"},
		{"version"},
	} {
		stdout, stderr, status := installed(t, file, args...)
		if status != 1 || !strings.HasPrefix(stderr, "optimizerd: using "+file+"\n") || !strings.Contains(strings.Join(strings.Fields(stdout+stderr), " "), "did you mean http.listen?") {
			t.Errorf("%v: status %d\n%s%s", args, status, stdout, stderr)
		}
	}
}

func TestConfigurationThatIsRead(t *testing.T) {
	first := yamlFile(t, "storage: {dir: /first}")
	second := yamlFile(t, "storage: {dir: /second}")
	third := yamlFile(t, "storage: {dir: /third}")
	codec := "--set=codec.path=" + bin + "/optimizerd-codec"
	for _, test := range []struct {
		name     string
		variable *string
		args     []string
		file     string // that check names
		said     bool
	}{
		{"the package's", nil, nil, first, true},
		{"the variable's", &second, nil, second, true},
		{"none, by an empty variable", new(string), nil, "none", false},
		{"--config's", &second, []string{"--config", third}, third, false},
		{"none, by an empty --config", nil, []string{"--config", ""}, "none", false},
	} {
		noFileVariable(t)
		if test.variable != nil {
			t.Setenv(config.FileVariable, *test.variable)
		}
		stdout, stderr, status := installed(t, first, append([]string{"check", codec}, test.args...)...)
		if status != 0 || !strings.Contains(stdout, "  file        "+test.file+"\n") || strings.Contains(stderr, "using "+test.file) != test.said {
			t.Errorf("%s: status %d\n%s%s", test.name, status, stdout, stderr)
		}
	}
	noFileVariable(t)
	stdout, stderr, status := installed(t, filepath.Join(t.TempDir(), "none.yaml"), "check", codec)
	if status != 0 || stderr != "" || !strings.Contains(stdout, "  file        none\n") {
		t.Errorf("without a file: status %d\n%s%s", status, stdout, stderr)
	}
}

func TestConfigurationThatMayNotBeReadIsNotPassedOver(t *testing.T) {
	noFileVariable(t)
	file := yamlFile(t, "")
	if err := os.Chmod(file, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var stderr string
	var status int
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if os.Geteuid() == 0 { // root may read everything
			_ = unix.Setfsuid(65534) // returns the one before, not an error
		}
		_, stderr, status = installed(t, file, "quarantine", "list")
	}()
	<-done
	want := "optimizerd: using " + file + "\noptimizerd: " + file + ": permission denied; run this command with sudo or as the user optimizerd, or pass --config FILE ('' for none)\n"
	if status != 1 || stderr != want {
		t.Errorf("status %d, %q, want %q", status, stderr, want)
	}
}

func TestServeLogsWhichConfigurationItUses(t *testing.T) {
	file := yamlFile(t, "ladder: {widths: [64]}")
	t.Setenv(config.FileVariable, file)
	s := serve(t, t.TempDir())
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Errorf("it ended with %v, want status 0", err)
	}
	log := s.log.String()
	if !strings.Contains(log, `"msg":"configuration file","file":"`+file+`"`) || !strings.HasPrefix(log, "optimizerd: using "+file+"\n") {
		t.Errorf("the log is\n%s", log)
	}
}

func TestCheckReportsEveryMistakeOnALineOfItsOwn(t *testing.T) {
	file := yamlFile(t, "http:\n  listne: x\ncodec: 5\nladder:\n  widths: [320, x]\n")
	_, stderr, status := installed(t, file, "check", "--config", file, "--set", "codec.path=/nowhere")
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if status != 1 || len(lines) != 4 {
		t.Fatalf("status %d\n%s", status, stderr)
	}
	for i, want := range []string{file + ":2: http.listne: ", file + ":3: codec: ", file + ":5: ladder.widths[1]: ", "codec.path: "} {
		if !strings.HasPrefix(lines[i], "optimizerd: "+want) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
	_, same, _ := installed(t, file, "serve", "--config", file)
	if want := strings.Join(lines[:3], "\n") + "\n"; same != want {
		t.Errorf("serve says\n%s\nand check\n%s", same, want)
	}
}

func TestInterruptedCommandExitsWith130(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	data, saved := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	put(t, filepath.Join(data, "queue", "done", "job_1.json"), []byte("{}"))
	backupOf(t, "backup", saved, "--set", "storage.dir="+data)
	for _, args := range [][]string{
		{"version"},
		{"bench"},
		{"doctor", "--set", "storage.dir=" + t.TempDir()},
		{"optimize", "-o", t.TempDir(), "/dev/null"},
		{"verify", "--set", "storage.dir=" + data},
		{"backup", saved, "--set", "storage.dir=" + data},
		{"backup", "verify", saved},
		{"restore", saved, "--set", "storage.dir=" + filepath.Join(t.TempDir(), "restored")},
	} {
		var out, errOut bytes.Buffer
		c := root(&options{})
		c.SetArgs(append(args, "--set=codec.path="+bin+"/optimizerd-codec"))
		c.SetOut(&out)
		c.SetErr(&errOut)
		if status := exitStatus(c.ExecuteContext(interrupted), &errOut); status != 130 || errOut.String() != "optimizerd: interrupted\n" {
			t.Errorf("%v: status %d, %q", args, status, errOut.String())
		}
	}
}

func TestVersionFlag(t *testing.T) {
	stdout, _, status := installed(t, "", "--version")
	if status != 0 || !strings.HasPrefix(stdout, "optimizerd ") || strings.Count(stdout, "\n") != 1 {
		t.Errorf("status %d, %q", status, stdout)
	}
}

func TestHelpHasTheExitStatusAndTheFiles(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"optimize", "--help"}, {"quarantine", "clear", "--help"}} {
		stdout, _, status := installed(t, "", args...)
		for _, want := range []string{"Exit status:", "130\n", config.DefaultFile, "/usr/share/doc/optimizerd/docs\n", config.FileVariable} {
			if status != 0 || !strings.Contains(stdout, want) {
				t.Errorf("%v: status %d, no %q in\n%s", args, status, want, stdout)
			}
		}
	}
}

// completions returns what a shell would offer, without the descriptions.
func completions(t *testing.T, args ...string) (found []string) {
	t.Helper()
	stdout, _, status := installed(t, "", append([]string{"__complete"}, args...)...)
	if status != 0 {
		t.Fatalf("%v: status %d", args, status)
	}
	for line := range strings.Lines(stdout) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(word, ":") {
			found = append(found, word)
		}
	}
	return found
}

func TestSettingsAndTheirValuesAreCompleted(t *testing.T) {
	for typed, want := range map[string][]string{
		"log.":                  {"log.level=", "log.format="},
		"log.level=":            {"log.level=debug", "log.level=info", "log.level=warn", "log.level=error"},
		"files.public=":         {"files.public=true", "files.public=false"},
		"auth.":                 {"auth.tokens_file="},
		"tunnel.mode=":          {"tunnel.mode=off", "tunnel.mode=embedded", "tunnel.mode=external"},
		"http.listen=127.0.0.1": nil,
	} {
		if got := completions(t, "check", "--set", typed); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", typed, got, want)
		}
	}
	if got := completions(t, "check", "--set", ""); len(got) < 50 {
		t.Errorf("only %d settings are offered", len(got))
	}
}

func TestDigestsInQuarantineAreCompleted(t *testing.T) {
	dir := t.TempDir()
	store, err := quarantine.Open(filepath.Join(dir, quarantine.Folder), "8.14.1")
	if err != nil {
		t.Fatal(err)
	}
	digest, other := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, d := range []string{digest, other} {
		if err := store.Add(quarantine.Entry{SHA256: d, Filename: "cat.jpg", Reason: "x", At: strictjson.At(time.Now())}); err != nil {
			t.Fatal(err)
		}
	}
	if got := completions(t, "quarantine", "clear", "--set", "storage.dir="+dir, "aaa"); !slices.Equal(got, []string{digest}) {
		t.Errorf("got %q", got)
	}
	if got := completions(t, "quarantine", "clear", "--set", "storage.dir="+dir, digest, ""); !slices.Equal(got, []string{other}) {
		t.Errorf("beside the first: got %q", got)
	}
}
