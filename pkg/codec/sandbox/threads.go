package sandbox

/*
#include <pthread.h>

static void *nothing(void *arg) { return arg; }
static int start_thread(pthread_t *t) {
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 128 << 10);
	int status = pthread_create(t, &small, nothing, NULL);
	pthread_attr_destroy(&small);
	return status;
}
static void end_thread(pthread_t t) { pthread_join(t, NULL); }
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// reservedThreads is the number of its control group's tasks that a process
	// leaves to others, so that its parent can always start a thread.
	reservedThreads = 64

	// fewestThreads is the number of threads a process may always add.
	fewestThreads = 32
)

// moreThreads is the number of threads a process may add to those of its user,
// unless its control group allows fewer. Its siblings count, too: there is one for
// two cores, each with a few threads for each core.
func moreThreads() int64 {
	cores := int64(runtime.NumCPU())
	return max(1024, 4*cores*cores)
}

// limitThreads limits the threads of the process's user, so that this process
// cannot use up the tasks of the control group that it shares with its parent.
// The kernel does not apply the limit to root, which leaveRoot has dropped if
// possible.
func limitThreads() error {
	now, err := userThreads()
	if err != nil {
		return fmt.Errorf("sandbox: count threads: %w", err)
	}
	more := moreThreads()
	if free := groupTasks(); free < math.MaxInt64 {
		more = min(more, max(free-reservedThreads, fewestThreads))
	}
	_, err = limit(unix.RLIMIT_NPROC, uint64(now+more))
	return err
}

// userThreads returns the number of threads that RLIMIT_NPROC counts; 0 if the
// limit does not apply to this user. They include threads in containers with the same
// user id, which are only noticeable when the limit refuses a thread.
func userThreads() (int64, error) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &was); err != nil {
		return 0, err
	}
	var failed error
	refused := func(limit uint64) bool {
		var t C.pthread_t
		low := unix.Rlimit{Cur: limit, Max: was.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NPROC, &low); err != nil {
			failed = err
			return true
		}
		status := C.start_thread(&t)
		failed = errors.Join(failed, unix.Setrlimit(unix.RLIMIT_NPROC, &was))
		if status == 0 {
			C.end_thread(t)
		}
		return status != 0
	}
	const most = 1 << 22 // the kernel's maximum
	highest := int(min(was.Cur, most))
	least := sort.Search(highest, func(limit int) bool { return !refused(uint64(limit)) })
	if failed == nil && least == highest && refused(uint64(highest)) {
		failed = fmt.Errorf("no thread can be started within the limit of %d", highest)
	}
	return int64(max(least-1, 0)), failed
}

// groupTasks returns how many more tasks the process's control group and its
// ancestors allow; math.MaxInt64 if they have no readable limit.
func groupTasks() int64 {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return math.MaxInt64
	}
	return freeTasks("/sys/fs/cgroup", string(groups))
}

func freeTasks(root, groups string) int64 {
	free := int64(math.MaxInt64)
	for line := range strings.Lines(groups) {
		// ID:CONTROLLERS:PATH, without controllers in version 2.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[1] != "" && fields[1] != "pids" {
			continue
		}
		// In a container the path may be the host's, of which only the root is visible.
		for group := filepath.Join("/", fields[2]); ; group = filepath.Dir(group) {
			dir := filepath.Join(root, fields[1], group)
			most, err := readNumber(filepath.Join(dir, "pids.max"))
			now, nowErr := readNumber(filepath.Join(dir, "pids.current"))
			if err == nil && nowErr == nil {
				free = min(free, most-now)
			}
			if group == "/" {
				break
			}
		}
	}
	return free
}

func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // "max" is not a number
}
