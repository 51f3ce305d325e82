package queue

import "github.com/optimizerd/optimizerd/pkg/jobs"

// TryLease is Lease for a caller who does not wait: it returns nil if no job can
// go on.
func (q *Queue) TryLease(stage jobs.Stage) (jobs.Lease, error) {
	l, err := q.tryLease(stage)
	if l == nil {
		return nil, err
	}
	return l, err
}
