package codec

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// priority is a child's claim to the CPU. A child keeps it until it exits, because an
// unprivileged process cannot raise its priority again.
type priority int

const (
	normal priority = iota
	low             // for images that no client waits for
	numPriorities
)

func (at priority) other() priority { return 1 - at }

// nice returns what is added to the daemon's nice value. All children leave the daemon
// responsive. A child of low priority gets about a tenth of a core that one of normal
// priority also uses.
func (at priority) nice() int { return [numPriorities]int{5, 15}[at] }

// patience returns the factor by which codec.timeout is extended for this priority.
// The CPU time limit is the same for all.
func (at priority) patience() int { return [numPriorities]int{1, 10}[at] }

// LongestRender returns the longest that an image may take in a pool with this
// configuration: two attempts at low priority, the first of which fails at its end.
func (c Config) LongestRender() time.Duration {
	return 2 * c.Timeout * time.Duration(low.patience())
}

// Background returns the pool as an engine for images that no client waits for, which
// it renders in children of low priority. A pool of at most one child uses it for all
// images.
func (p *Pool) Background() Engine {
	if p.Most() == 1 {
		return p
	}
	return background{p}
}

type background struct{ p *Pool }

func (b background) Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	return b.p.renderAt(ctx, low, src, request{Recipe: recipe, Limits: limits}, sink)
}

// lowerPriority adds to the nice value of this thread and of the children that it
// starts, and gives them the lowest priority of ordinary I/O. Errors are ignored.
func lowerPriority(increment int) {
	const (
		process    = 1 // IOPRIO_WHO_PROCESS
		bestEffort = 2 << 13
		idle       = 3
		lowest     = 7
	)
	if now, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil { // the raw system call returns 20 minus the nice value
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-now+increment)
	}
	if class, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, process, 0, 0); errno == 0 && class>>13 != idle {
		_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, process, 0, bestEffort|lowest)
	}
}
