package fleet

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Abilities are what a node can do, and what its results depend on.
type Abilities struct {
	Engine    int             `json:"engine"`  // ladder.EngineVersion
	Libvips   string          `json:"libvips"` // version
	Outputs   []ladder.Format `json:"outputs"` // formats that it writes
	Off       []string        `json:"off,omitempty"`
	MaxBytes  int64           `json:"max_bytes"` // of a source
	MaxPixels int64           `json:"max_pixels"`
	MaxFrames int             `json:"max_frames"`
	MaxMemory int64           `json:"max_memory"`       // to decode an image, bytes
	Recipe    string          `json:"recipe"`           // fingerprint of its ladder
	Store     string          `json:"store"`            // endpoint and bucket
	Shared    string          `json:"shared,omitempty"` // its settings that should be equal on all nodes
}

// unable returns why a node with these abilities cannot execute a job, judged
// without its source, or nil if it may.
func (a Abilities) unable(j job.Job) *fault.Error {
	if j.Recipe.Engine > a.Engine {
		return fault.New(fault.InvalidOptions, "The job was accepted by a newer version of this server, and no machine of that version is left; submit it again.")
	}
	for _, e := range j.Recipe.Encoders {
		if !slices.Contains(a.Outputs, e.Format) {
			return job.CannotWrite(e.Format)
		}
	}
	if j.Source.Bytes > a.MaxBytes {
		return fault.New(fault.TooLarge, "The image has %d bytes; the limit (limits.max_bytes) is %d.", j.Source.Bytes, a.MaxBytes)
	}
	return nil
}

// ofNode are the codes of failures that depend on the node: another one may succeed.
// With any other code, a job fails on every node or temporarily.
var ofNode = []fault.Code{fault.TooLarge, fault.TooManyPixels, fault.TooManyFrames, fault.UnsupportedFormat, fault.InvalidOptions}

// exceeds reports whether a node with these abilities may execute a job that one
// with those of other failed with this code.
func (a Abilities) exceeds(other Abilities, code fault.Code) bool {
	switch code {
	case fault.TooLarge:
		return a.MaxBytes > other.MaxBytes
	case fault.TooManyPixels:
		return a.MaxPixels > other.MaxPixels || a.MaxMemory > other.MaxMemory
	case fault.TooManyFrames:
		return a.MaxFrames > other.MaxFrames
	case fault.UnsupportedFormat:
		return slices.ContainsFunc(other.Off, func(part string) bool { return !slices.Contains(a.Off, part) })
	case fault.InvalidOptions: // by unable
		return true
	default:
		return false
	}
}

// awayTime is how long an absent node still counts as able to execute what others
// cannot: it may be restarting. compareTime is the time between two
// comparisons with other nodes.
const (
	awayTime    = 15 * time.Minute
	compareTime = time.Minute
)

// ablePrefix is the prefix of the keys under which each node records its abilities
// for awayTime.
const ablePrefix = "able."

// remember records for awayTime what this node can do, if it takes jobs.
func (f *Fleet) remember() {
	q := f.queue.Load()
	if f.about.Load() == nil || !f.config.Work || q == nil {
		return
	}
	if _, draining := q.state(); draining {
		return
	}
	if err := f.state.overwrite(ablePrefix+f.node, f.self(), awayTime); err != nil {
		f.log.Warn("cannot record what this node can do", zap.Error(err))
	}
}

// ableNodes are the nodes that take jobs, or did within awayTime.
type ableNodes struct {
	mu    sync.Mutex
	nodes []Node
	at    time.Time
}

// able returns the nodes that take jobs, or did within awayTime, as they last
// described themselves. The result is at most pollTime old.
func (f *Fleet) able() ([]Node, error) {
	c := &f.others
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) < pollTime {
		return c.nodes, nil
	}
	var nodes []Node
	err := f.state.few(ablePrefix, func(v value) {
		if n, err := decodeNode(v.data); err == nil && n.Abilities != nil {
			nodes = append(nodes, n)
		}
	})
	if err == nil {
		c.nodes, c.at = nodes, time.Now()
	}
	return nodes, err
}

// Outputs returns the formats that at least one node of the fleet writes, possibly
// more than once, and none while the fleet cannot be read.
func (f *Fleet) Outputs() (formats []ladder.Format) {
	nodes, err := f.able()
	if err != nil {
		f.log.Debug("cannot read what other nodes can do", zap.Error(err))
	}
	for _, n := range nodes {
		formats = append(formats, n.Abilities.Outputs...)
	}
	return formats
}

// compare logs when the ladders or the fleet-wide settings of nodes begin or cease to
// differ.
func (f *Fleet) compare() {
	about := f.about.Load()
	nodes, err := f.Nodes()
	if about == nil || err != nil {
		return // checked again soon
	}
	var ladders, settings []string // of which other nodes
	for _, n := range nodes {
		if n.Abilities == nil {
			continue
		}
		if n.Abilities.Recipe != about.Recipe {
			ladders = append(ladders, n.Name)
		}
		if n.Abilities.Shared != "" && n.Abilities.Shared != about.Shared {
			settings = append(settings, n.Name)
		}
	}
	f.ladders.note(f.log, "ladder", "one upload has different ids there", ladders)
	f.settings.note(f.log, "settings", "queue.max_pending, jobs.keep and retention must be equal", settings)
}

// difference describes how this node and others differ.
type difference struct{ text atomic.Pointer[string] }

// note records which nodes differ, and logs when that changes.
func (d *difference) note(log *zap.Logger, what, meaning string, nodes []string) {
	now := ""
	if len(nodes) > 0 {
		now = fmt.Sprintf("This node and %s differ: %s (%s).", strings.Join(nodes, ", "), what, meaning)
	}
	switch before := d.text.Swap(&now); {
	case now != "" && (before == nil || *before != now):
		log.Warn("nodes differ", zap.String("in", what), zap.Strings("nodes", nodes), zap.String("meaning", meaning))
	case now == "" && before != nil && *before != "":
		log.Info("nodes no longer differ", zap.String("in", what))
	}
}

func (d *difference) String() string {
	if text := d.text.Load(); text != nil {
		return *text
	}
	return ""
}

// Difference describes how nodes differ, "" if they do not.
func (f *Fleet) Difference() string {
	return strings.TrimSpace(f.ladders.String() + " " + f.settings.String())
}
