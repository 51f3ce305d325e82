package tunnel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// Stats are facts about the tunnel since its start.
type Stats struct {
	Locations  []string  // of the servers of the edge that there is a connection to, such as fra08
	Registered int64     // connections that the edge took
	Lost       int64     // of those, how many ended by themselves
	Failed     int64     // tries without success
	Failure    time.Time // when one last failed or was lost; zero if none did
}

// state is what is known of the links.
type state struct {
	mu      sync.Mutex
	links   map[*link]string // registered ones, with their locations
	stats   Stats
	failing map[int]error // why a link that is not registered is not, by its number
}

func (s *state) registered(l *link, location string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links == nil {
		s.links = make(map[*link]string)
	}
	s.links[l] = location
	s.stats.Registered++
	delete(s.failing, l.index)
}

func (s *state) unregistered(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, l)
}

func (s *state) failed(index int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, errSpare) {
		return // nothing is amiss
	}
	if s.failing == nil {
		s.failing = make(map[int]error)
	}
	s.failing[index], s.stats.Failure = err, time.Now()
	if errors.Is(err, errLost) {
		s.stats.Lost++
	} else {
		s.stats.Failed++
	}
}

// awaitUnregistered waits until no link is registered, or so long.
func (s *state) awaitUnregistered(longest time.Duration) {
	s.mu.Lock()
	links := slices.Collect(maps.Keys(s.links))
	s.mu.Unlock()
	over := time.After(longest)
	for _, l := range links {
		select {
		case <-l.unregistered:
		case <-over:
			return
		}
	}
}

// Stats are the facts up to now.
func (t *Tunnel) Stats() Stats {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	stats := t.state.stats
	stats.Locations = slices.Sorted(maps.Values(t.state.links))
	return stats
}

// Check is whether requests can come through the tunnel: no error with one
// connection at least. The detail says where to, and what else is amiss.
func (t *Tunnel) Check() (detail string, err error) {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	locations := slices.Sorted(maps.Values(t.state.links))
	var problem error
	for _, i := range slices.Sorted(maps.Keys(t.state.failing)) {
		problem = t.state.failing[i]
	}
	switch {
	case len(locations) == 0 && problem != nil:
		return "", problem
	case len(locations) == 0:
		return "", fault.New(fault.Internal, "No connection to Cloudflare's edge yet.")
	}
	detail = fmt.Sprintf("Connections to Cloudflare's edge: %s.", strings.Join(locations, ", "))
	if problem != nil {
		detail += " Another connection failed: " + fault.From(problem).Detail
	}
	return detail, nil
}
