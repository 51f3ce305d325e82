// Package sandbox takes from a process what decoding pictures does not need:
// files, the network, other programs and processes, and more than its share of
// memory.
//
// A process shuts itself in, after it has loaded what it needs and before it
// sees a stranger's byte; there is no way back. The walls do not lean on each
// other: limits and no-new-privileges hold on every kernel, seccomp on nearly
// every one, Landlock where it is built in, which Raspberry Pi OS's is not.
// Which of them hold is in the Report, so that none is taken for granted.
package sandbox

import (
	"bytes"
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Report is which walls hold.
type Report struct {
	Memory   int64 `json:"memory"`   // bytes of private memory at most; 0 without a limit
	Seccomp  bool  `json:"seccomp"`  // system calls are filtered
	Landlock int   `json:"landlock"` // the kernel's ABI; 0 where it has none
}

// maxFiles is more descriptors than a socket, a source and Go's own take.
const maxFiles = 64

// Enter shuts the process in and lets it take this many bytes of memory on top
// of what it has now, 0 for as many as it likes. An error means that a wall
// which the kernel has could not be put up.
func Enter(memory int64) (r Report, err error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return r, fmt.Errorf("sandbox: no new privileges: %w", err)
	}
	if err := limit(unix.RLIMIT_CORE, 0); err != nil { // a dump would hold somebody's picture
		return r, err
	}
	if err := limit(unix.RLIMIT_NOFILE, maxFiles); err != nil {
		return r, err
	}
	if memory > 0 {
		if r.Memory, err = limitMemory(memory); err != nil {
			return r, err
		}
	}
	if r.Landlock, err = restrictFiles(); err != nil {
		return r, err
	}
	r.Seccomp, err = filterSyscalls()
	return r, err
}

func limit(resource int, value uint64) error {
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("sandbox: limit resource %d: %w", resource, err)
	}
	return nil
}

// limitMemory bounds memory that is private and writable. Unlike RLIMIT_AS,
// RLIMIT_DATA does not count the address space that Go only reserves; unlike a
// watch on the resident size, it refuses the allocation itself, however fast
// they come. It works where the memory cgroup is off.
func limitMemory(more int64) (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("sandbox: %w", err)
	}
	var kilobytes int64
	_, line, _ := bytes.Cut(status, []byte("\nVmData:"))
	if _, err := fmt.Fscan(bytes.NewReader(line), &kilobytes); err != nil {
		return 0, fmt.Errorf("sandbox: no VmData in /proc/self/status: %w", err)
	}
	total := kilobytes<<10 + more
	return total, limit(unix.RLIMIT_DATA, uint64(total))
}

// restrictFiles has Landlock refuse every path, every port, and signals to others.
func restrictFiles() (abi int, err error) {
	abi, err = landlocksys.LandlockGetABIVersion()
	if err != nil {
		return 0, nil // a kernel without Landlock says so by an error
	}
	// Best effort is about the kernel's age; that there is Landlock at all was
	// just asked.
	if err := landlock.V8.BestEffort().Restrict(); err != nil {
		return 0, fmt.Errorf("sandbox: Landlock: %w", err)
	}
	return abi, nil
}
