package quarantine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

var (
	a = strings.Repeat("a", 64)
	b = strings.Repeat("b", 64)
	c = strings.Repeat("c", 64)
)

var noon = time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC)

func entry(sha256 string, at time.Time) quarantine.Entry {
	return quarantine.Entry{SHA256: sha256, Filename: "cat.jpg", Bytes: 1234, Reason: "it ended (signal: segmentation fault)", At: strictjson.At(at)}
}

func open(t *testing.T, dir, libvips string) *quarantine.Store {
	t.Helper()
	s, err := quarantine.Open(dir, libvips)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *quarantine.Store, entries ...quarantine.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := s.Add(e); err != nil {
			t.Fatal(err)
		}
	}
}

// list is the digests' first letters in order, "!" behind the unreadable.
func list(t *testing.T, s *quarantine.Store) string {
	t.Helper()
	entries, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, e := range entries {
		out.WriteString(e.SHA256[:1])
		if e.Unreadable != "" {
			out.WriteString("!")
		}
	}
	return out.String()
}

func TestSameBytesAreRefusedAlsoAfterARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "quarantine")
	add(t, open(t, dir, "8.14.1"), entry(a, noon))
	s := open(t, dir, "8.14.1")
	err := s.Check(a)
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.ProcessingFailed {
		t.Fatalf("Check gives %v, want a processing_failed", err)
	}
	if !strings.Contains(f.Detail, "3 February 2026") || strings.Contains(f.Detail, "segmentation") {
		t.Errorf("the client gets %q; want the day, and not the reason", f.Detail)
	}
	if !strings.Contains(f.Error(), "segmentation fault") {
		t.Errorf("the log has %q, without the reason", f.Error())
	}
	if err := s.Check(b); err != nil {
		t.Errorf("other bytes: %v", err)
	}
}

func TestLibvipsOfAnotherVersionTriesAgain(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, "8.14.1"), entry(a, noon))
	s := open(t, dir, "8.16.1")
	if err := s.Check(a); err != nil {
		t.Errorf("after an upgrade: %v", err)
	}
	if got := list(t, s); got != "a" {
		t.Errorf("listed: %q", got)
	}
	add(t, s, entry(a, noon.Add(time.Hour)))
	if s.Check(a) == nil {
		t.Error("it failed with the new version too, and is not refused")
	}
}

func TestLookingChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "quarantine")
	s := open(t, dir, "")
	if got, err := s.List(); err != nil || got == nil || len(got) != 0 {
		t.Errorf("List gives %v, %v", got, err)
	}
	if n, err := s.Clear(); n != 0 || err != nil {
		t.Errorf("Clear gives %d, %v", n, err)
	}
	if err := s.Check(a); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder was made: %v", err)
	}
}

func TestNewestIsListedFirst(t *testing.T) {
	s := open(t, t.TempDir(), "8.14.1")
	add(t, s, entry(b, noon), entry(a, noon.Add(-time.Hour)), entry(c, noon.Add(time.Hour)))
	if got := list(t, s); got != "cba" {
		t.Errorf("got %q, want cba", got)
	}
}

func TestQuarantineClear(t *testing.T) {
	for _, test := range []struct {
		clear     []string
		n         int
		left, err string
	}{
		{nil, 3, "", ""},
		{[]string{a}, 1, "cb", ""},
		{[]string{a, c, a}, 2, "b", ""},
		{[]string{strings.Repeat("d", 64)}, 0, "cba", ""},
		{[]string{a, "../" + a}, 0, "cba", "is not a SHA-256"},
		{[]string{strings.ToUpper(a)}, 0, "cba", "is not a SHA-256"},
		{[]string{""}, 0, "cba", "is not a SHA-256"},
	} {
		t.Run(fmt.Sprintf("%.5s", test.clear), func(t *testing.T) {
			s := open(t, t.TempDir(), "8.14.1")
			add(t, s, entry(a, noon), entry(b, noon.Add(time.Hour)), entry(c, noon.Add(2*time.Hour)))
			n, err := s.Clear(test.clear...)
			if n != test.n || (err != nil) != (test.err != "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %d, %v; want %d, %q", n, err, test.n, test.err)
			}
			if got := list(t, s); got != test.left {
				t.Errorf("left: %q, want %q", got, test.left)
			}
		})
	}
}

func TestUnreadableEntryRefusesNothingAndIsSeen(t *testing.T) {
	for name, content := range map[string]string{
		"empty":         "",
		"half":          `{"sha256": "`,
		"unknown field": `{"sha256":"` + a + `","bytes":1,"reason":"r","at":"2026-02-03T12:00:00.000Z","libvips":"8.14.1","more":1}`,
		"more":          `{"sha256":"` + a + `","bytes":1,"reason":"r","at":"2026-02-03T12:00:00.000Z","libvips":"8.14.1"} {}`,
		"of another":    `{"sha256":"` + b + `","bytes":1,"reason":"r","at":"2026-02-03T12:00:00.000Z","libvips":"8.14.1"}`,
		"no libvips":    `{"sha256":"` + a + `","bytes":1,"reason":"r","at":"2026-02-03T12:00:00.000Z"}`,
		"no time":       `{"sha256":"` + a + `","bytes":1,"reason":"r","libvips":"8.14.1"}`,
		"bytes":         `{"sha256":"` + a + `","bytes":-1,"reason":"r","at":"2026-02-03T12:00:00.000Z","libvips":"8.14.1"}`,
		"unreadable":    `{"sha256":"` + a + `","bytes":1,"reason":"r","at":"2026-02-03T12:00:00.000Z","libvips":"8.14.1","unreadable":"so"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, a+".json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, stray := range []string{"notes.txt", ".tmp" + a + ".json12", "A" + a[1:] + ".json"} {
				if err := os.WriteFile(filepath.Join(dir, stray), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, dir, "8.14.1")
			if err := s.Check(a); err != nil {
				t.Errorf("refused: %v", err)
			}
			if got := list(t, s); got != "a!" {
				t.Errorf("listed: %q, want a!", got)
			}
			add(t, s, entry(a, noon))
			if s.Check(a) == nil || list(t, s) != "a" {
				t.Error("a new entry does not fix it")
			}
		})
	}
}

func TestEntryMustBeWhole(t *testing.T) {
	for name, spoil := range map[string]func(*quarantine.Entry){
		"digest": func(e *quarantine.Entry) { e.SHA256 = "../../etc/passwd" },
		"reason": func(e *quarantine.Entry) { e.Reason = "" },
		"time":   func(e *quarantine.Entry) { e.At = strictjson.Time{} },
	} {
		s := open(t, t.TempDir(), "8.14.1")
		e := entry(a, noon)
		spoil(&e)
		if err := s.Add(e); err == nil {
			t.Errorf("%s: it was taken", name)
		}
		if got := list(t, s); got != "" {
			t.Errorf("%s: listed: %q", name, got)
		}
	}
}

func TestFileInPlaceOfTheFolderIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "quarantine")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := quarantine.Open(path, ""); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("got %v", err)
	}
}

// A command clears while the daemon adds and checks.
func TestQuarantineMayBeUsedBySeveralAtOnce(t *testing.T) {
	dir := t.TempDir()
	daemon, command := open(t, dir, "8.14.1"), open(t, dir, "")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 20 {
				if err := daemon.Add(entry(a, noon)); err != nil {
					t.Error(err)
				}
				_ = daemon.Check(a) // either answer is right
			}
		})
		group.Go(func() {
			for range 20 {
				entries, err := command.List()
				if err != nil {
					t.Error(err)
				}
				for _, e := range entries {
					if e.Unreadable != "" {
						t.Errorf("half an entry was seen: %s", e.Unreadable)
					}
				}
				if _, err := command.Clear(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
