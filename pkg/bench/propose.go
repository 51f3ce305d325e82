package bench

import (
	"fmt"
	"math"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Proposal is the settings that follow from a report.
type Proposal struct {
	Processes int                   `json:"processes"`  // codec.processes
	Threads   int                   `json:"threads"`    // codec.threads
	MaxMemory int64                 `json:"max_memory"` // limits.max_memory, bytes; 0 if the memory is not known
	Effort    map[ladder.Format]int `json:"effort"`     // ladder.effort, of the formats that were measured
}

// Propose derives settings from what was measured.
func Propose(r Report) Proposal {
	p := Proposal{Effort: make(map[ladder.Format]int)}
	var best Throughput
	for _, t := range r.Throughput {
		if best.Processes == 0 || t.LaddersPerMinute > best.LaddersPerMinute*requiredSpeedup(best, t) {
			best = t
		}
	}
	p.Processes, p.Threads = best.Processes, best.Threads
	p.MaxMemory = maxMemory(r.Memory, p.Processes)
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

// byteWeight says what a byte is byteWeight in processor time: one percent fewer bytes,
// which are kept and sent for years, so many percent more time, once.
const byteWeight = 10

// requiredSpeedup is how much faster a setup must be to be preferred: one with more
// processes takes more memory, and measurements vary.
func requiredSpeedup(than, t Throughput) float64 {
	if t.Processes > than.Processes {
		return 1.05
	}
	return 1
}

// memoryShare is what the systemd unit lets daemon and codec have of the memory.
const memoryShare = 0.7

// maxMemory is the most memory for one picture with which all processes can be
// at their largest at once; bytes, a multiple of 32 MiB. With less than the
// least of them a phone's photo would be refused.
func maxMemory(memory int64, processes int) int64 {
	const step, least, most = 32 << 20, 128 << 20, 1 << 30
	if memory == 0 {
		return 0
	}
	each := (int64(memoryShare*float64(memory))-config.DaemonMemory)/int64(max(1, processes)) - codec.IdleChild - config.ChildSlack
	return min(most, max(least, each/step*step))
}

// YAML is the proposal as a piece of the configuration file.
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
	for _, e := range efforts {
		if effort, ok := p.Effort[e.format]; ok {
			fmt.Fprintf(&b, "    %s: %d\n", e.format, effort)
		}
	}
	return b.String()
}
