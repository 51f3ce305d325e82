package tune

import (
	"fmt"
	"math"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Proposal is a set of settings derived from a report.
type Proposal struct {
	Processes int                   `json:"processes"`  // codec.processes; 0, automatic, where that is as many as are proposed
	Threads   int                   `json:"threads"`    // codec.threads
	MaxMemory int64                 `json:"max_memory"` // limits.max_memory, bytes; 0 if memory is unknown
	Effort    map[ladder.Format]int `json:"effort"`     // ladder.effort, for each measured format
}

// Reserved is the memory that limits.max_memory does not cover, in bytes.
type Reserved struct {
	Daemon int64 // for the daemon in addition to its codec processes
	Child  int64 // what a codec process may use beyond limits.max_memory
}

// Propose derives settings from a report.
func Propose(r Report, reserved Reserved) Proposal {
	p := Proposal{Effort: make(map[ladder.Format]int)}
	var best Throughput
	for _, t := range r.Throughput {
		if best.Processes == 0 || t.LaddersPerMinute > best.LaddersPerMinute*requiredSpeedup(best, t) {
			best = t
		}
	}
	p.Processes, p.Threads = best.Processes, best.Threads
	p.MaxMemory = maxMemory(r.Memory, p.Processes, reserved)
	if p.Processes == r.Automatic {
		p.Processes = 0 // a number would exclude the background process
	}
	lowest := make(map[ladder.Format]float64)
	for _, e := range r.Efforts {
		if e.TooSlow || e.CPUSeconds <= 0 || e.Bytes <= 0 {
			continue
		}
		cost := math.Log(e.CPUSeconds) + byteWeight*math.Log(float64(e.Bytes))
		if least, ok := lowest[e.Format]; !ok || cost < least {
			lowest[e.Format], p.Effort[e.Format] = cost, e.Effort
		}
	}
	return p
}

// byteWeight is the weight of bytes against CPU time: saving 1 % of the bytes,
// which are stored and sent for years, is worth 10 % more CPU time, which is
// spent once.
const byteWeight = 10

// requiredSpeedup is how much faster a setup must be to be preferred: more
// processes take more memory, and measurements vary.
func requiredSpeedup(than, t Throughput) float64 {
	if t.Processes > than.Processes {
		return 1.05
	}
	return 1
}

// memoryShare is the share of memory that the systemd unit grants daemon and
// codec.
const memoryShare = 0.7

// maxMemory returns the highest limits.max_memory, in bytes and a multiple of
// 32 MiB, with which all processes can be at their peak at once. The lower
// bound is what a phone's photo needs.
func maxMemory(memory int64, processes int, reserved Reserved) int64 {
	const step, least, most = 32 << 20, 128 << 20, 1 << 30
	if memory == 0 {
		return 0
	}
	each := (int64(memoryShare*float64(memory))-reserved.Daemon)/int64(max(1, processes)) - codec.IdleChild - reserved.Child
	return min(most, max(least, each/step*step))
}

// YAML returns the proposal as a part of the configuration file.
func (p Proposal) YAML() string {
	var b strings.Builder
	fmt.Fprintf(&b, "codec:\n  processes: %d\n  threads: %d\n", p.Processes, p.Threads)
	if p.MaxMemory > 0 {
		fmt.Fprintf(&b, "limits:\n  max_memory: %dMiB\n", p.MaxMemory>>20)
	}
	if len(p.Effort) == 0 {
		return b.String()
	}
	b.WriteString("ladder:\n  effort:\n")
	for _, f := range formats {
		if effort, ok := p.Effort[f]; ok {
			fmt.Fprintf(&b, "    %s: %d\n", f, effort)
		}
	}
	return b.String()
}
