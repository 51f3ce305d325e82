package queue

// TryLease is Lease for a caller who does not wait: it returns nil when no job
// can go on.
func (q *Queue) TryLease(stage Stage) (*Lease, error) { return q.tryLease(stage) }
