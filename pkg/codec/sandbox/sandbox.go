// Package sandbox drops the privileges of a process that decoding images does
// not need: files, the network, other programs and processes, and more than its
// share of memory.
//
// A process enters the sandbox after it has loaded what it needs and before it
// reads untrusted input; this is irreversible. The protections are independent:
// limits and no-new-privileges work on every kernel, seccomp on nearly every
// one, Landlock where it is compiled in, unlike on Raspberry Pi OS. The
// Report lists the active ones.
package sandbox

import (
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Report lists the active protections.
type Report struct {
	Memory   int64 `json:"memory"`   // limit on private memory, bytes; 0 for none
	Seccomp  bool  `json:"seccomp"`  // system calls are filtered
	Landlock int   `json:"landlock"` // ABI version of the kernel; 0 if unsupported
}

// Enter sandboxes the process and limits its memory to memory bytes more than
// it has now; 0 sets no limit. It returns an error if a protection that the
// kernel supports could not be enabled.
func Enter(memory int64) (r Report, err error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return r, fmt.Errorf("sandbox: no new privileges: %w", err)
	}
	if _, err := limit(unix.RLIMIT_CORE, 0); err != nil { // a core dump would contain someone's image
		return r, err
	}
	if _, err := limit(unix.RLIMIT_NOFILE, maxFiles); err != nil {
		return r, err
	}
	dieFirst() // before leaveRoot, which loses the permission
	if err := leaveRoot(); err != nil {
		return r, err
	}
	if err := dropCapabilities(); err != nil { // before the thread limit: some capabilities lift it
		return r, err
	}
	if err := limitThreads(); err != nil {
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

// restrictFiles makes Landlock refuse every path, every port, and signals to other
// processes. It returns the kernel's ABI version, 0 without Landlock.
func restrictFiles() (abi int, err error) {
	abi, err = landlocksys.LandlockGetABIVersion()
	if err != nil {
		return 0, nil // the kernel does not support Landlock
	}
	// Best effort adapts to the kernel's ABI version; that Landlock exists was
	// just checked.
	if err := landlock.V8.BestEffort().Restrict(); err != nil {
		return 0, fmt.Errorf("sandbox: Landlock: %w", err)
	}
	return abi, nil
}
