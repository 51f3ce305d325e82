package codec

import (
	"os"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// idleCheck is how often idle children are looked at.
var idleCheck = 30 * time.Second

// maxIdleCPU is the CPU time that a child may use for the rest of its last job, in
// seconds, and maxIdleShare that of Go's runtime for each second since then. Its
// limit of CPU time does not hold for a child that ignores the signal, and the
// timeout covers jobs alone.
const (
	maxIdleCPU   = 1.0
	maxIdleShare = 0.01
)

// watchIdle kills idle children that use the CPU: something has taken them over.
func (p *Pool) watchIdle() {
	ticker := time.NewTicker(idleCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.closing:
			return
		}
		p.checkIdle()
	}
}

func (p *Pool) checkIdle() {
	for range cap(p.slots) {
		select {
		case child := <-p.slots:
			p.slots <- p.quiet(child)
		default: // the others are at work
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
