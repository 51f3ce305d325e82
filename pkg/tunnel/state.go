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

// Stats are statistics since startup.
type Stats struct {
	Locations  []string  // locations of the connected edge servers, such as fra08
	Registered int64     // connections registered with the edge
	Lost       int64     // registered connections that were lost
	Failed     int64     // failed attempts
	Failure    time.Time // time of the last failed or lost connection; zero if none
}

// state is the state of all links.
type state struct {
	mu      sync.Mutex
	links   map[*link]string // registered links, with their locations
	stats   Stats
	failing map[int]error // last error of each unregistered link, by index
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
		return // not a failure
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

// awaitUnregistered waits until no link is registered, at most longest.
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

// Stats returns the current statistics.
func (t *Tunnel) Stats() Stats {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	stats := t.state.stats
	stats.Locations = slices.Sorted(maps.Values(t.state.links))
	return stats
}

// Check returns an error unless at least one connection is registered. The
// detail lists the locations, and the error of another link.
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
