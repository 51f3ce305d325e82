package jobs

import (
	"sync"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/spool"
)

// sources counts references: the jobs that need each source in the spool. The
// last release deletes it, except a stored one that is set aside.
type sources struct {
	spool    *spool.Spool
	setAside func(digest string) bool // a record that cannot be read may need it
	log      *zap.Logger

	mu    sync.Mutex
	users map[string]map[string]bool // jobs by digest
}

// retain prevents a source from being deleted until the job releases it. It may be
// called before the source is stored, and more than once.
func (s *sources) retain(digest, jobID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[digest] == nil {
		s.users[digest] = make(map[string]bool)
	}
	s.users[digest][jobID] = true
}

func (s *sources) needed(digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.users[digest]) > 0 || s.setAside(digest)
}

// release undoes retain, and deletes the source if no other job needs it.
func (s *sources) release(digest, jobID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.users[digest], jobID); len(s.users[digest]) > 0 {
		return
	}
	delete(s.users, digest)
	remove := s.spool.Remove
	if s.setAside(digest) {
		remove = s.spool.RemoveHeld
	}
	if err := remove(digest); err != nil {
		s.log.Error("cannot delete source; it stays until the next start", zap.Error(err))
		return
	}
	s.log.Debug("source deleted", zap.String("source", digest))
}
