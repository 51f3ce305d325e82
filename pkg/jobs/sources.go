package jobs

import (
	"sync"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/spool"
)

// sources counts the jobs that need each source in the spool; the last release
// deletes it.
type sources struct {
	spool *spool.Spool
	log   *zap.Logger

	mu    sync.Mutex
	users map[string]int // by digest
}

// retain prevents a source from being deleted until release. It may be called
// before the source is stored.
func (s *sources) retain(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[digest]++
}

func (s *sources) needed(digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[digest] > 0
}

// release undoes retain, and deletes the source if no other job needs it.
func (s *sources) release(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[digest]--; s.users[digest] > 0 {
		return
	}
	delete(s.users, digest)
	if err := s.spool.Remove(digest); err != nil {
		s.log.Error("cannot delete source; it stays until the next start", zap.Error(err))
		return
	}
	s.log.Debug("source deleted", zap.String("source", digest))
}
