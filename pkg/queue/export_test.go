package queue

import "github.com/optimizerd/optimizerd/pkg/jobs"

// TryLease is Lease without waiting: it returns nil if no job is ready.
func (q *Queue) TryLease(stage jobs.Stage) (jobs.Lease, error) {
	l, err := q.tryLease(stage)
	if l == nil {
		return nil, err
	}
	return l, err
}
