package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"
)

// shell starts a shell that says one line when the script is done, and stays.
func shell(t *testing.T, script string) *process {
	t.Helper()
	p, err := start(context.Background(), t.TempDir(), os.Environ(), "sh", "-c", script+"\necho done\nread end")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	if _, err := p.line(); err != nil {
		t.Fatal(err)
	}
	return p
}

// work takes well over a tick of the kernel's, in a child of the shell.
const work = "head -c 300000000 /dev/zero | sha256sum >/dev/null"

func TestCPUTimeCountsChildrenThatHaveEnded(t *testing.T) {
	p := shell(t, work)
	own, err := processClock(p.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	if all < own+0.05 {
		t.Errorf("%.3f s with the children, of which the shell itself took %.3f s", all, own)
	}
}

func TestMemoryCountsChildrenOnTheirOwn(t *testing.T) {
	// Until a child runs its own program it has the memory of the shell, so the
	// shell waits for it to say that it does.
	pipes := t.TempDir()
	p := shell(t, fmt.Sprintf("cd %s; mkfifo up down; sh -c 'echo started >up; read end <down' & read started <up", pipes))
	own, theirs, err := p.memory()
	if err != nil {
		t.Fatal(err)
	}
	if own.now == 0 || theirs.now == 0 || own.peak < own.now || theirs.peak < theirs.now {
		t.Errorf("the shell %+v, its child %+v", own, theirs)
	}
	peak, err := p.peak()
	if err != nil {
		t.Fatal(err)
	}
	if peak < own.peak+theirs.peak {
		t.Errorf("together at most %d, want %d", peak, own.peak+theirs.peak)
	}
	children, err := p.children()
	if err != nil {
		t.Fatal(err)
	}
	child, err := os.FindProcess(children[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Kill(); err != nil {
		t.Error(err)
	}
}

func TestProcessThatEndsSaysWhy(t *testing.T) {
	p, err := start(context.Background(), t.TempDir(), os.Environ(), "sh", "-c", "echo no photos >&2; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if _, err := p.line(); err == nil || !strings.Contains(err.Error(), "no photos") {
		t.Errorf("%v, which does not tell what the process wrote", err)
	}
}

// As of a script that runs in the background.
func TestProcessThatIgnoresInterruptsIsStopped(t *testing.T) {
	signal.Ignore(os.Interrupt)
	t.Cleanup(func() { signal.Reset(os.Interrupt) })
	p := shell(t, "")
	p.stop()
	if p.cmd.ProcessState == nil {
		t.Error("the process has not ended")
	}
}
