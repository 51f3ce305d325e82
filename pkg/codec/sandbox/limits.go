package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

const (
	// maxFiles limits open descriptors; a socket, a source and Go's own are fewer.
	maxFiles = 64

	// addressSlack is the address space, in bytes, that a process may map beyond
	// its memory limit: Go's reservations, libraries and thread stacks. It bounds
	// page tables, which no other limit counts: 8 GiB need 16 MiB of them.
	addressSlack = 8 << 30
)

// limit sets a limit permanently, and returns it. A lower limit is kept: a container
// may have one, and raising it requires capabilities.
func limit(resource int, value uint64) (uint64, error) {
	var was unix.Rlimit
	err := unix.Getrlimit(resource, &was)
	value = min(value, was.Cur)
	if err == nil {
		err = unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value})
	}
	if err != nil {
		return 0, fmt.Errorf("sandbox: limit resource %d: %w", resource, err)
	}
	return value, nil
}

// limitMemory limits private writable memory to this many bytes more than the
// process has now, and returns the limit. Unlike RLIMIT_AS, RLIMIT_DATA does not
// count the address space that Go only reserves; unlike monitoring the resident
// size, it fails the allocation itself. It works without the memory cgroup.
func limitMemory(more int64) (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("sandbox: %w", err)
	}
	data, err := statusField(status, "VmData")
	if err != nil {
		return 0, err
	}
	size, err := statusField(status, "VmSize")
	if err != nil {
		return 0, err
	}
	total, err := limit(unix.RLIMIT_DATA, uint64(data<<10+more))
	if err != nil {
		return 0, err
	}
	_, err = limit(unix.RLIMIT_AS, uint64(size<<10+more+addressSlack))
	return int64(total), err
}

// statusField returns the first number of a line of /proc/PID/status.
func statusField(status []byte, name string) (n int64, err error) {
	_, line, _ := bytes.Cut(status, []byte("\n"+name+":"))
	if _, err := fmt.Fscan(bytes.NewReader(line), &n); err != nil {
		return 0, fmt.Errorf("sandbox: no %s in /proc/PID/status: %w", name, err)
	}
	return n, nil
}

// dieFirst makes the kernel kill this process before its parent when memory runs
// out. If that is not permitted, only the limits apply.
func dieFirst() { _ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) }

// firstUser is above the user ids that systems and containers assign. Children of
// root run as this user and group, plus the process id of their parent.
const firstUser = 2_000_000_000

// leaveRoot switches a process of root to a user that only its siblings share, because
// the kernel counts the threads of all processes of a user. It stays root if it lacks
// a capability for that, or if its user namespace does not map that user.
func leaveRoot() error {
	have, err := capabilities()
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	// Without CAP_KILL its parent could no longer kill it.
	const needed = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_KILL
	if have[0].Effective&needed != needed {
		return nil
	}
	id := firstUser + os.Getppid()
	// Package syscall's functions change every thread.
	err = syscall.Setgroups(nil)
	if err == nil {
		err = syscall.Setresgid(id, id, id)
	}
	if err == nil {
		err = syscall.Setresuid(id, id, id)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sandbox: drop root: %w", err)
	}
	// The kernel has reset the parent death signal.
	if _, _, errno := psx.Syscall3(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0); errno != 0 {
		return fmt.Errorf("sandbox: set parent death signal: %w", errno)
	}
	return nil
}

// capabilities returns the capabilities of this thread.
func capabilities() (have [2]unix.CapUserData, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &have[0]); err != nil {
		return have, fmt.Errorf("sandbox: read capabilities: %w", err)
	}
	return have, nil
}

// dropCapabilities drops the capabilities of every thread, which a process of root
// has. Without any, it does not call capset, which the service's unit forbids.
func dropCapabilities() error {
	var none [2]unix.CapUserData
	have, err := capabilities()
	if err != nil || have == none {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return fmt.Errorf("sandbox: drop capabilities: %w", errno)
	}
	return nil
}
