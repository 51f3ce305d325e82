package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/codec/sandbox"
)

// The test binary with a task as its only argument enters the sandbox, attempts
// the task, and prints the result.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		if task, ok := tasks[os.Args[1]]; ok {
			os.Exit(inside(task))
		}
	}
	os.Exit(m.Run())
}

// workers is how many threads a process starts; their stacks count as memory.
const workers = 8

// memory is the memory limit of the process, in bytes.
const memory = 128 << 20

type outcome struct {
	Report sandbox.Report
	Error  string // of the task; "" if it succeeded
	Denied bool   // with EPERM, EACCES or ENOSYS
}

func inside(task func() error) int {
	report, err := sandbox.Enter(memory)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	o := outcome{Report: report}
	if err := task(); err != nil {
		o.Error = err.Error()
		o.Denied = slices.ContainsFunc([]error{unix.EPERM, unix.EACCES, unix.ENOSYS}, func(e error) bool { return errors.Is(err, e) })
	}
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		return 1
	}
	return 0
}

// folder has a file "secret" that the process could read outside the sandbox. It
// is the working directory.
var tasks = map[string]func() error{
	"read a file":              func() error { _, err := os.ReadFile("secret"); return err },
	"read a system file":       func() error { _, err := os.ReadFile("/etc/passwd"); return err },
	"read its own memory":      func() error { _, err := os.Open("/proc/self/mem"); return err },
	"list a folder":            func() error { _, err := os.ReadDir("."); return err },
	"make a file":              func() error { return os.WriteFile("new", nil, 0o600) },
	"make a file in /tmp":      func() error { _, err := os.CreateTemp("/tmp", ""); return err },
	"make a folder":            func() error { return os.Mkdir("new", 0o700) },
	"remove a file":            func() error { return os.Remove("secret") },
	"rename a file":            func() error { return os.Rename("secret", "new") },
	"link a file":              func() error { return os.Link("secret", "new") },
	"change a file's mode":     func() error { return os.Chmod("secret", 0o777) },
	"cut a file short":         func() error { return os.Truncate("secret", 0) },
	"connect over TCP":         func() error { _, err := net.Dial("tcp", "127.0.0.1:9"); return err },
	"listen on TCP":            func() error { _, err := net.Listen("tcp", "127.0.0.1:0"); return err },
	"send over UDP":            func() error { _, err := net.Dial("udp", "127.0.0.1:9"); return err },
	"connect to a unix socket": func() error { _, err := net.Dial("unix", "/run/systemd/notify"); return err },
	"make a socket pair":       func() error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
	"run a program":            func() error { return unix.Exec("/bin/true", []string{"true"}, nil) },
	"start a process":          func() error { return exec.Command("/bin/true").Run() },
	"signal its parent":        func() error { return unix.Kill(os.Getppid(), 0) },
	"have its parent signalled": func() error {
		_, err := unix.FcntlInt(0, unix.F_SETOWN, os.Getppid())
		return err
	},
	"take shared memory": func() error {
		_, err := unix.Mmap(-1, 0, memory+1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
		return err
	},
	"trace its parent": func() error { return unix.PtraceAttach(os.Getppid()) },
	"read its parent's memory": func() error {
		b := make([]byte, 1)
		_, err := unix.ProcessVMReadv(os.Getppid(), []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 1 << 20, Len: 1}}, 0)
		return err
	},
	"make a name space": func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"mount":             func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
	"load kernel code":  func() error { _, _, e := unix.RawSyscall(unix.SYS_BPF, 0, 0, 0); return errno(e) },
	"raise a limit": func() error {
		return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	},
	"limit its parent": func() error {
		return unix.Prlimit(os.Getppid(), unix.RLIMIT_CPU, &unix.Rlimit{Cur: 1, Max: 1}, nil)
	},
	"change its user":        func() error { _, _, e := unix.RawSyscall(unix.SYS_SETUID, 1, 0, 0); return errno(e) },
	"make an anonymous file": func() error { _, err := unix.MemfdCreate("x", 0); return err },
	"set the clock":          func() error { return unix.Settimeofday(&unix.Timeval{}) },
	"take too much memory": func() error {
		_, err := unix.Mmap(-1, 0, memory+1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if errors.Is(err, unix.ENOMEM) {
			return fmt.Errorf("%w: %w", unix.EPERM, err) // memory is refused with another error
		}
		return err
	},
	"take memory that grows like a stack": func() error {
		_, err := unix.Mmap(-1, 0, memory+1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_GROWSDOWN)
		return err
	},
	"take page tables without memory": func() error {
		_, err := unix.Mmap(-1, 0, 256<<30, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if errors.Is(err, unix.ENOMEM) {
			return fmt.Errorf("%w: %w", unix.EPERM, err)
		}
		return err
	},
	"hold": func() error { // until its parent closes standard input
		fmt.Println()
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	},
	"work": func() error {
		done, all := make(chan int), make(chan struct{})
		for range workers { // memory, descriptors that are open already
			go func() {
				runtime.LockOSThread() // a thread of its own
				done <- len(make([]byte, 1<<20))
				<-all
			}()
		}
		for range workers {
			<-done
		}
		close(all)
		var s unix.Stat_t
		var cpu unix.Rlimit // which it sets for each image
		return errors.Join(unix.Fstat(1, &s), unix.Prlimit(0, unix.RLIMIT_CPU, nil, &cpu), unix.Prlimit(0, unix.RLIMIT_CPU, &cpu, nil))
	},
}

func errno(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func try(t *testing.T, task string) outcome {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("cat"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], task)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var o outcome
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "secret")); err != nil || string(b) != "cat" {
		t.Errorf("the secret is now %q, %v", b, err)
	}
	return o
}

func TestSandboxInsideRefusesEverythingButWork(t *testing.T) {
	for task := range tasks {
		t.Run(task, func(t *testing.T) {
			t.Parallel()
			o := try(t, task)
			if !o.Report.Seccomp || o.Report.Memory <= memory {
				t.Fatalf("the walls are %+v: this kernel has no seccomp?", o.Report)
			}
			switch {
			case task == "work" && o.Error != "":
				t.Errorf("it failed: %s", o.Error)
			case task != "work" && task != "hold" && !o.Denied:
				t.Errorf("it was not refused: %q", o.Error)
			}
		})
	}
}

// hold starts a process that waits inside the sandbox until the test ends, by a command
// such as prlimit if one is given. It returns the process's directory in /proc.
func hold(t *testing.T, by ...string) (proc string) {
	t.Helper()
	by = append(by, os.Args[0], "hold")
	cmd := exec.Command(by[0], by[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // it is inside
		t.Fatal(err)
	}
	return fmt.Sprintf("/proc/%d", cmd.Process.Pid)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The kernel's view of a sandboxed process, for each thread.
func TestSandboxOutsideShutsInEveryThread(t *testing.T) {
	threads, err := filepath.Glob(hold(t) + "/task/*/status")
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads: %v, %v", threads, err)
	}
	want := []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"}
	if os.Geteuid() == 0 {
		id := fmt.Sprintf("\t%d", 2_000_000_000+os.Getpid()) // of no other process's children
		want = append(want, "Uid:"+strings.Repeat(id, 4), "Gid:"+strings.Repeat(id, 4), "Groups:\t \n")
	}
	for _, file := range threads {
		status := read(t, file)
		for _, line := range want {
			if !strings.Contains(status, line) {
				t.Errorf("%s: there is no %q in\n%s", file, line, status)
			}
		}
	}
}

func TestSandboxOutsideSetsTheLimitsAndTheOOMScore(t *testing.T) {
	proc := hold(t)
	limits := read(t, proc+"/limits")
	for _, name := range []string{"Max processes", "Max address space", "Max data size", "Max open files"} {
		_, line, found := strings.Cut(limits, "\n"+name)
		fields := strings.Fields(line)
		if !found || fields[0] == "unlimited" || fields[1] == "unlimited" || fields[0] != fields[1] {
			t.Errorf("%s is not limited for good:\n%s", name, limits)
		}
	}
	if adj := read(t, proc+"/oom_score_adj"); strings.TrimSpace(adj) != "1000" {
		t.Errorf("oom_score_adj is %q; want 1000: the daemon must outlive its children", adj)
	}
}

// A container has limits of its own.
func TestSandboxOutsideKeepsALowerLimit(t *testing.T) {
	limits := read(t, hold(t, "prlimit", "--nofile=48", "--nproc=1000", "--as=6000000000")+"/limits")
	for name, want := range map[string]string{
		"Max open files":    "48 48",
		"Max processes":     "1000 1000",
		"Max address space": "6000000000 6000000000",
	} {
		_, line, _ := strings.Cut(limits, "\n"+name)
		if fields := strings.Fields(line); len(fields) < 2 || strings.Join(fields[:2], " ") != want {
			t.Errorf("%s: want %s:\n%s", name, want, limits)
		}
	}
}
