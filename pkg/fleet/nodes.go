package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Node is what a node reports about itself.
type Node struct {
	Name      string     `json:"name"`
	Identity  string     `json:"identity"` // of its data directory
	Instance  string     `json:"instance"` // of its process
	Version   string     `json:"version"`
	Level     int        `json:"level"` // the newest record format that it supports
	Work      bool       `json:"work"`  // it executes jobs
	Draining  bool       `json:"draining,omitempty"`
	Leases    int        `json:"leases"`              // jobs that it executes or holds
	Started   time.Time  `json:"started,omitzero"`    // of its process
	Said      time.Time  `json:"said,omitzero"`       // when it reported this, by its own clock
	Seen      time.Time  `json:"seen,omitzero"`       // the same by the servers' clock; set by the reader
	Abilities *Abilities `json:"abilities,omitempty"` // nil while a node is starting
}

// StoreName is the value of Abilities.Store for a bucket.
func StoreName(endpoint, bucket string) string {
	return strings.TrimRight(endpoint, "/") + "/" + bucket
}

// works reports whether the node takes jobs.
func (n Node) works() bool { return n.Work && !n.Draining }

// State describes whether the node takes jobs.
func (n Node) State() string {
	switch {
	case !n.Work:
		return "serves only"
	case n.Draining && n.Leases == 0:
		return "drained"
	case n.Draining:
		return "draining"
	default:
		return "works"
	}
}

// Intervals of the node registry. A node that cannot renew its key retries after
// missedTime.
const (
	nodeTTL       = 30 * time.Second
	heartbeatTime = 10 * time.Second
	missedTime    = time.Second
)

// maxMissed is how often in a row a node may fail to renew its key, as happens while
// the servers elect a leader, and still count as connected.
const maxMissed = 1

const nodePrefix = "node."

func (f *Fleet) self() []byte {
	n := Node{
		Name: f.node, Identity: f.config.Identity, Instance: f.instance, Version: version(), Level: level, Work: f.config.Work,
		Started: f.started, Said: time.Now(), Abilities: f.about.Load(),
	}
	if q := f.queue.Load(); q != nil {
		n.Leases, n.Draining = q.state()
	}
	b, err := json.Marshal(n)
	if err != nil {
		panic(err) // strings and numbers
	}
	return b
}

// Describe sets the abilities of this node.
func (f *Fleet) Describe(a Abilities) {
	f.about.Store(&a)
	f.renew()
	f.remember()
	f.compare()
}

// register writes this node's key, unless a live node has the name. A killed process
// may have left the key: it had the same data directory.
func (f *Fleet) register() error {
	v, err := f.state.get(nodePrefix + f.node)
	if err != nil {
		return err
	}
	var other Node
	if v.data != nil && json.Unmarshal(v.data, &other) == nil && other.Identity != f.config.Identity {
		return fmt.Errorf("fleet.node: %s is taken by a node that was seen %v ago; names must be unique", f.node, time.Since(v.at).Round(time.Second))
	}
	_, err = f.state.put(nodePrefix+f.node, f.self(), v.revision, nodeTTL)
	if errors.Is(err, errChanged) {
		return fmt.Errorf("fleet.node: %s is taken by a node that is starting; names must be unique", f.node)
	}
	f.registered = err == nil
	return err
}

func (f *Fleet) unregister() error {
	v, err := f.state.get(nodePrefix + f.node)
	if err != nil {
		return err // the servers are away: nothing else would succeed
	}
	if f.resign(); v.data == nil {
		return nil
	}
	return f.state.remove(nodePrefix+f.node, v.revision)
}

// heartbeat renews this node's key until Close.
func (f *Fleet) heartbeat() {
	timer := time.NewTimer(heartbeatTime)
	defer timer.Stop()
	compared, checked := time.Now(), time.Now()
	for {
		select {
		case <-timer.C:
		case <-f.ctx.Done():
			return
		}
		if time.Since(checked) > compareTime {
			f.checkStreams(f.ctx)
			checked = time.Now()
		}
		f.renew()
		if timer.Reset(heartbeatTime); f.missed.Load() > 0 {
			timer.Reset(missedTime)
			continue
		}
		if time.Since(compared) > compareTime {
			f.remember()
			f.compare()
			compared = time.Now()
		}
	}
}

func (f *Fleet) renew() {
	err := f.state.overwrite(nodePrefix+f.node, f.self(), nodeTTL)
	if err != nil {
		f.log.Warn("cannot renew the registration of this node", zap.Error(err))
		f.missed.Add(1)
		return
	}
	f.missed.Store(0)
}

// decodeNode parses a node's description of itself. Its name is displayed.
func decodeNode(data []byte) (n Node, err error) {
	if err := json.Unmarshal(data, &n); err != nil {
		return n, fmt.Errorf("decode node: %w", err)
	}
	if !validName.MatchString(n.Name) {
		return n, fmt.Errorf("decode node: invalid name %.20q", n.Name)
	}
	return n, nil
}

// alive reports whether the process of a node is registered.
func (f *Fleet) alive(instance string) (bool, error) {
	nodes, err := f.Nodes()
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Instance == instance }), err
}

// Nodes returns the live nodes, by name.
func (f *Fleet) Nodes() (nodes []Node, err error) {
	err = f.state.few(nodePrefix, func(v value) {
		if n, err := decodeNode(v.data); err == nil {
			n.Seen = v.at
			nodes = append(nodes, n)
		}
	})
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes, err
}

// housekeepingTTL is how long no node does the housekeeping after the elected one died. It
// is longer than the interval of the daemon's housekeeping.
const housekeepingTTL = 12 * time.Minute

// Elected reports whether this node does the housekeeping. It takes over from a dead
// node.
func (f *Fleet) Elected() bool {
	elected := f.elect()
	f.elected.Store(elected)
	return elected
}

func (f *Fleet) elect() bool {
	v, err := f.state.get("house")
	if err != nil {
		return false
	}
	if other := string(v.data); v.data != nil && other != f.instance {
		if alive, err := f.alive(other); alive || err != nil {
			return false
		}
	}
	_, err = f.state.put("house", []byte(f.instance), v.revision, housekeepingTTL)
	return err == nil
}

// resign lets another node do the housekeeping.
func (f *Fleet) resign() {
	if !f.elected.Load() {
		return
	}
	if v, err := f.state.get("house"); err == nil && string(v.data) == f.instance {
		if err := f.state.remove("house", v.revision); err != nil {
			f.log.Debug("cannot resign from housekeeping", zap.Error(err))
		}
	}
}
