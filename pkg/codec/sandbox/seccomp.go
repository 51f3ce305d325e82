package sandbox

import (
	"errors"
	"fmt"
	"os"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// allowed lists the system calls that Go's runtime, glibc and libvips with its
// codecs need to process an image: memory, threads, time, and open descriptors.
// Names unknown to the architecture are skipped.
var allowed = []string{
	// memory
	"brk", "munmap", "mprotect", "mremap", "madvise",
	// threads and signals; clone is in filterSyscalls
	"exit", "exit_group", "futex", "futex_time64", "gettid", "getpid", "getppid", "set_robust_list", "get_robust_list",
	"rseq", "membarrier", "sched_yield", "sched_getaffinity", "restart_syscall",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	// time and random numbers
	"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "getrandom", "getrusage", "sysinfo", "uname",
	// descriptors
	"read", "readv", "pread64", "preadv", "write", "writev", "lseek", "close", "dup", "dup3", "fstat",
	"recvmsg", "recvfrom", "sendmsg", "sendto", "poll", "ppoll", "pipe2", "eventfd2",
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
}

// threadFlag is set in clone's flags when it creates a thread.
const threadFlag = unix.CLONE_THREAD

// filterSyscalls allows the listed system calls and fails all others with
// EPERM, so that a library can report it. on is false if the kernel does not
// support seccomp.
func filterSyscalls() (on bool, err error) {
	filter, err := seccomp.NewFilter(seccomp.ActErrno.SetReturnCode(int16(unix.EPERM)))
	if err != nil {
		return false, fmt.Errorf("sandbox: seccomp: %w", err)
	}
	defer filter.Release()
	// Otherwise any kernel error becomes ECANCELED.
	if err := filter.SetRawRC(true); err != nil {
		return false, fmt.Errorf("sandbox: seccomp: %w", err)
	}
	for _, name := range allowed {
		if err := allow(filter, name); err != nil {
			return false, err
		}
	}
	// glibc tries clone3 first, whose flags a filter cannot inspect, and falls
	// back to clone if there is none.
	if err := rule(filter, "clone3", seccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS))); err != nil {
		return false, err
	}
	self := uint64(os.Getpid())
	for _, c := range []struct {
		call string
		arg  uint
		op   seccomp.ScmpCompareOp
		want []uint64
	}{
		{"clone", 0, seccomp.CompareMaskedEqual, []uint64{threadFlag, threadFlag}}, // threads, not processes
		{"tgkill", 0, seccomp.CompareEqual, []uint64{self}},                        // Go preempts its threads this way
		{"kill", 0, seccomp.CompareEqual, []uint64{self}},                          // abort
		{"prctl", 0, seccomp.CompareEqual, []uint64{unix.PR_SET_NAME}},             // codecs name their threads
		{"prctl", 0, seccomp.CompareEqual, []uint64{unix.PR_SET_VMA}},              // Go names its memory
		{"prlimit64", 2, seccomp.CompareEqual, []uint64{0}},                        // to read limits, not to set them, except by allowOwnCPULimit
		// RLIMIT_DATA counts neither anonymous shared memory nor memory that grows
		// like a stack.
		{"mmap", 3, seccomp.CompareMaskedEqual, []uint64{unix.MAP_TYPE | unix.MAP_GROWSDOWN, unix.MAP_PRIVATE}},
		{"mmap", 3, seccomp.CompareMaskedEqual, []uint64{unix.MAP_ANONYMOUS | unix.MAP_GROWSDOWN, 0}},
		// Not F_SETOWN, which makes the kernel send signals.
		{"fcntl", 1, seccomp.CompareEqual, []uint64{unix.F_DUPFD_CLOEXEC}},
		{"fcntl", 1, seccomp.CompareEqual, []uint64{unix.F_DUPFD}},
		{"fcntl", 1, seccomp.CompareEqual, []uint64{unix.F_GETFD}},
		{"fcntl", 1, seccomp.CompareEqual, []uint64{unix.F_SETFD}},
		{"fcntl", 1, seccomp.CompareEqual, []uint64{unix.F_GETFL}},
		{"fcntl", 1, seccomp.CompareEqual, []uint64{unix.F_SETFL}},
		// For open descriptors. The filter cannot inspect the path, so the call
		// reveals whether a file exists, its size, mode, owner and times, but not its
		// content.
		{"newfstatat", 3, seccomp.CompareMaskedEqual, []uint64{unix.AT_EMPTY_PATH, unix.AT_EMPTY_PATH}},
	} {
		condition, err := seccomp.MakeCondition(c.arg, c.op, c.want...)
		if err != nil {
			return false, fmt.Errorf("sandbox: seccomp: %s: %w", c.call, err)
		}
		if err := rule(filter, c.call, seccomp.ActAllow, condition); err != nil {
			return false, err
		}
	}
	if err := allowOwnCPULimit(filter); err != nil {
		return false, err
	}
	if err := filter.Load(); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("sandbox: seccomp: %w", err)
	}
	return true, nil
}

// allowOwnCPULimit allows the process to set its own CPU time limit, as it does for
// each image.
func allowOwnCPULimit(filter *seccomp.ScmpFilter) error {
	own, err := seccomp.MakeCondition(0, seccomp.CompareEqual, 0)
	if err != nil {
		return fmt.Errorf("sandbox: seccomp: prlimit64: %w", err)
	}
	cpu, err := seccomp.MakeCondition(1, seccomp.CompareEqual, unix.RLIMIT_CPU)
	if err != nil {
		return fmt.Errorf("sandbox: seccomp: prlimit64: %w", err)
	}
	return rule(filter, "prlimit64", seccomp.ActAllow, own, cpu)
}

func allow(filter *seccomp.ScmpFilter, name string) error {
	return rule(filter, name, seccomp.ActAllow)
}

func rule(filter *seccomp.ScmpFilter, name string, action seccomp.ScmpAction, conditions ...seccomp.ScmpCondition) error {
	call, err := seccomp.GetSyscallFromName(name)
	if err != nil {
		return nil // unknown to this architecture
	}
	if len(conditions) == 0 {
		err = filter.AddRule(call, action)
	} else {
		err = filter.AddRuleConditional(call, action, conditions)
	}
	if err != nil {
		return fmt.Errorf("sandbox: seccomp: %s: %w", name, err)
	}
	return nil
}
