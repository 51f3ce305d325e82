package jobs

import "sync"

// shortages knows which jobs wait for space on the disk. Their images are not rendered
// again just to find that they still do not fit: that wears out an SD card and keeps a
// worker busy.
type shortages struct {
	mu    sync.Mutex
	bytes map[string]int64 // that the files of a job's set need, as far as known; by job id
}

// of returns how many bytes must be free for a job, 0 if that is not known.
func (s *shortages) of(jobID string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes[jobID]
}

func (s *shortages) set(jobID string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes == nil {
		s.bytes = make(map[string]int64)
	}
	s.bytes[jobID] = bytes
}

// drop removes a job that has ended here, or on another machine.
func (s *shortages) drop(jobID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bytes, jobID)
}
