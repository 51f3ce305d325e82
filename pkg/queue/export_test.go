package queue

import "github.com/optimizerd/optimizerd/pkg/jobs"

// TryLease is Lease without waiting: it returns nil if no job is ready.
func (q *Queue) TryLease(phase jobs.Phase) (jobs.Lease, error) {
	l, err := q.tryLease(phase)
	if l == nil {
		return nil, err
	}
	return l, err
}
