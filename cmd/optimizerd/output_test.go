package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What could not be printed is an error, whichever command it was.
func TestCommandWhoseOutputIsLostFails(t *testing.T) {
	data, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	s := serve(t, data, "ladder.widths=32")
	id := s.optimize(t, smallPhoto(t, 1)).ID
	backupOf(t, "backup", to, "--set", "storage.dir="+data)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{
		{"--help"},
		{"--version"},
		{"version"},
		{"completion", "bash"},
		{"restore", "--list", to},
		{"backup", "verify", to},
		{"quarantine", "clear", "--all", "--set", "storage.dir=" + data},
		{"images", "list", "--to", s.url},
		{"images", "delete", id, "--to", s.url},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "optimizerd"), args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%v: %v, %s", args, cmd.ProcessState, stderr.String())
		}
	}
	if stdout := says(t, 0, "", "images", "list", "--to", s.url); stdout != "no images\n" {
		t.Errorf("what the command failed to report was not done: %s", stdout)
	}
}

func TestTerminalThatCannotDrawGetsPlainLines(t *testing.T) {
	s := serve(t, t.TempDir(), "ladder.widths=32")
	for kind, bar := range map[string]bool{"xterm": true, "dumb": false} {
		t.Setenv("TERM", kind)
		_, drawn, status := onTerminal(t, "upload", "--to", s.url, "--journal", filepath.Join(t.TempDir(), "j"), smallPhotos(t, 2))
		if status != 0 || strings.Contains(drawn, "\x1b") != bar {
			t.Errorf("on %s: status %d: %q", kind, status, drawn)
		}
	}
}

// Programs read each line.
func TestEachLineOfAWatchedStatusIsJSON(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "optimizerd"), "status", "--watch", "--json", "--address", "127.0.0.1:1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var line struct{ Error string }
	if err := json.NewDecoder(stdout).Decode(&line); err != nil || !strings.Contains(line.Error, "is the daemon running?") {
		t.Errorf("%+v, %v", line, err)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_, _ = io.Copy(io.Discard, stdout)
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("interrupted, it ended with %v", cmd.ProcessState)
	}
}

func TestCtrlCEndsAnImportThatWaitsForItsList(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	if err := syscall.Mkfifo(list, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "optimizerd"), "import", "--from-list", list, "--journal", filepath.Join(t.TempDir(), "j"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(list, os.O_WRONLY, 0) // once the program has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("interrupted, it ended with %v", cmd.ProcessState)
	}
}

func TestConditionsThatEveryImageMeetsByMistakeAreRefused(t *testing.T) {
	for _, condition := range [][]string{{"--larger-than", "10EB"}, {"--smaller-than", "10EB"}, {"--older-than", "-1d"}, {"--newer-than", "-1h"}} {
		says(t, 1, condition[0]+": must be", append([]string{"images", "delete", "--yes"}, condition...)...)
	}
}

func TestPasswordOfAURLIsNotShown(t *testing.T) {
	for _, args := range [][]string{
		{"images", "list", "--to", "http://me:hidden@127.0.0.1:1"},
		{"images", "list", "--to", "http://me:hidden@127.0.0.1:1/?x"},
	} {
		_, stderr, status := run(t, args...)
		if status != 1 || strings.Contains(stderr, "hidden") || !strings.Contains(stderr, "127.0.0.1:1") {
			t.Errorf("%v: status %d: %s", args, status, stderr)
		}
	}
}

// A power cut can leave zeros in a file, as many as were being written.
func TestJournalWithZerosIsRead(t *testing.T) {
	s := serve(t, t.TempDir(), "ladder.widths=32")
	journal, photos := filepath.Join(t.TempDir(), "j"), smallPhotos(t, 2)
	says(t, 0, "made", "upload", "--to", s.url, "--journal", journal, photos)
	put(t, journal, append(read(t, journal), make([]byte, 3<<20)...))
	put(t, filepath.Join(photos, "new.jpg"), smallPhoto(t, 7))
	for range 2 {
		stdout := says(t, 0, "", "upload", "--to", s.url, "--journal", journal, photos)
		if counts, _ := statuses(t, stdout); counts["there"]+counts["made"] != 3 || counts["there"] < 2 {
			t.Errorf("the outcomes are\n%s", stdout)
		}
	}
}

// A script must notice a command that it misspells.
func TestUnknownCommandOfAGroupFails(t *testing.T) {
	for _, group := range []string{"jobs", "images", "webhooks", "quarantine", "tunnel", "fleet", "completion"} {
		says(t, 1, `unknown command "delte" for "optimizerd `+group+`"`, group, "delte", "x")
		says(t, 0, "Available Commands:", group)
	}
}
