package codec

import (
	"context"
	"os"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// idleCheck is the interval between checks of idle children.
var idleCheck = 30 * time.Second

// maxIdleCPU is the CPU time that a child may use to finish its last job, in
// seconds, and maxIdleShare that of Go's runtime per second since then. The CPU
// time limit has no effect on a child that ignores the signal, and the timeout
// covers only jobs.
const (
	maxIdleCPU   = 1.0
	maxIdleShare = 0.01
)

// restAfter is how long a child is idle until its memory is released.
const restAfter = time.Minute

// watchIdle kills idle children that use the CPU, since they must be
// compromised, and releases the memory of the others, until ctx is done.
func (p *Pool) watchIdle(ctx context.Context) {
	ticker := time.NewTicker(idleCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.checkIdle(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (p *Pool) checkIdle(ctx context.Context) {
	ready := false // a child is, for the next image
	for at := range numPriorities {
		for range len(p.ready[at]) {
			select {
			case child := <-p.ready[at]:
				dedicated := p.config.Dedicated && at == low
				child = p.rested(ctx, p.quiet(child), !ready && !dedicated)
				ready = ready || child != nil
				p.put(at, child)
			default: // the others are at work
			}
		}
	}
}

// quiet returns an idle child, or nil after killing one that uses the CPU.
func (p *Pool) quiet(child *process) *process {
	if child == nil || !child.alive() {
		return child
	}
	stat, err := child.stat()
	if err != nil || stat.CPUTime()-child.idleSince <= maxIdleCPU+maxIdleShare*time.Since(child.idleAt).Seconds() {
		return child
	}
	p.crashed.Add(1)
	p.log.Warn("idle codec uses the CPU, killing it", zap.Int("pid", child.cmd.Process.Pid), zap.Float64("cpu_seconds", stat.CPUTime()-child.idleSince))
	child.kill()
	return nil
}

// rested closes a child that has been idle for a while after work: glibc keeps
// memory of the images, and the libraries they needed stay resident. It returns
// a fresh child if one is wanted, otherwise nil.
func (p *Pool) rested(ctx context.Context, child *process, wanted bool) *process {
	if child == nil || child.jobs == 0 || time.Since(child.idleAt) < restAfter {
		return child
	}
	p.log.Debug("idle codec replaced", zap.Int("pid", child.cmd.Process.Pid), zap.Int("jobs", child.jobs))
	child.close()
	if !wanted {
		return nil
	}
	fresh, err := p.start(ctx, normal)
	if err != nil {
		return nil // the next image starts one, or says why not
	}
	return p.reusable(fresh)
}

// keepFromChildren marks the descriptors that this process inherited, so that no
// child gets them: Go itself opens none without the mark.
func keepFromChildren() {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // without /proc nothing is known of them
	}
	for _, file := range open {
		if fd, err := strconv.Atoi(file.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
