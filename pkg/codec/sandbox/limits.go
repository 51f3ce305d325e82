package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

	// moreThreads is the number of threads a process may add to those of its user,
	// unless its control group allows fewer.
	moreThreads = 1024

	// reservedThreads is the number of its control group's tasks that a process
	// leaves to others, so that its parent can always start a thread.
	reservedThreads = 64

	// fewestThreads is the number of threads a process may add in any case.
	fewestThreads = 32
)

func limit(resource int, value uint64) error {
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("sandbox: limit resource %d: %w", resource, err)
	}
	return nil
}

// limitMemory limits private writable memory to more bytes than the process has
// now, and returns the limit. Unlike RLIMIT_AS, RLIMIT_DATA does not count the
// address space that Go only reserves; unlike monitoring the resident size, it
// fails the allocation itself. It works without the memory cgroup.
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
	total := data<<10 + more
	return total, errors.Join(limit(unix.RLIMIT_DATA, uint64(total)), limit(unix.RLIMIT_AS, uint64(size<<10+more+addressSlack)))
}

// statusField returns the first number of a line of /proc/PID/status.
func statusField(status []byte, name string) (n int64, err error) {
	_, line, _ := bytes.Cut(status, []byte("\n"+name+":"))
	if _, err := fmt.Fscan(bytes.NewReader(line), &n); err != nil {
		return 0, fmt.Errorf("sandbox: no %s in /proc/PID/status: %w", name, err)
	}
	return n, nil
}

// limitThreads limits the threads of the process's user, so that this process
// cannot use up the tasks of the control group that it shares with its parent.
// The kernel does not apply the limit to root.
func limitThreads() error {
	now, err := userThreads(int64(os.Getuid()))
	if err != nil {
		return fmt.Errorf("sandbox: count threads: %w", err)
	}
	most := now + moreThreads
	if group := groupTasks(); group > 0 {
		most = min(most, max(group-reservedThreads, now+fewestThreads))
	}
	return limit(unix.RLIMIT_NPROC, uint64(most))
}

// userThreads counts the threads of all processes of a user.
func userThreads(uid int64) (threads int64, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		status, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the process has ended
		}
		if err != nil {
			return 0, err
		}
		owner, err := statusField(status, "Uid")
		if err != nil || owner != uid {
			continue
		}
		if n, err := statusField(status, "Threads"); err == nil {
			threads += n
		}
	}
	return threads, nil
}

// groupTasks returns the task limit of the process's control group; 0 if there is
// none or it is unknown.
func groupTasks() int64 {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(groups)) {
		// ID:CONTROLLERS:PATH, without controllers in version 2.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[1] != "" && fields[1] != "pids" {
			continue
		}
		most, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", fields[1], fields[2], "pids.max"))
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(most)), 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// dieFirst makes the kernel kill this process before its parent when memory runs
// out. If that is not permitted, only the limits apply.
func dieFirst() { _ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) }

// dropCapabilities drops the capabilities of every thread, which a process of root
// has.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return fmt.Errorf("sandbox: drop capabilities: %w", errno)
	}
	return nil
}
