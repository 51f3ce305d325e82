package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon"
)

// logged writes n equal lines and another one, and returns what is in the file.
func logged(t *testing.T, level string, n int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log, err := daemon.NewLogger(config.Log{Level: level, Format: "json"}, f)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		log.Named("http").Info("request")
	}
	log.Info("stopping")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheLogIsBoundedAndSaysWhatItLeftOut(t *testing.T) {
	log := logged(t, "info", 10_000)
	if n := strings.Count(log, `"msg":"request"`); n != 120 {
		t.Errorf("%d of 10,000 equal lines are in the log, want 120", n)
	}
	if !strings.Contains(log, `similar log lines suppressed","lines":9880}`) || !strings.Contains(log, `"msg":"stopping"`) {
		t.Errorf("the end of the log is\n%s", log[len(log)-400:])
	}
}

func TestADebugLogIsWhole(t *testing.T) {
	if n := strings.Count(logged(t, "debug", 10_000), "\n"); n != 10_001 {
		t.Errorf("%d lines, want 10,001", n)
	}
}
