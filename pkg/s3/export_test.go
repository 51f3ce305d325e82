package s3

import "time"

// SetClock makes the bucket sign with the time that now returns.
func (b *Bucket) SetClock(now func() time.Time) { b.now = now }

// SetFirstWait sets the wait before the second attempt.
func (b *Bucket) SetFirstWait(d time.Duration) { b.wait = d }

// SetStallTime sets how long a body may pause.
func (b *Bucket) SetStallTime(d time.Duration) { b.stallTime = d }
