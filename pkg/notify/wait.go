package notify

import (
	"math/rand/v2"
	"time"
)

const (
	firstWait   = 5 * time.Second
	maxWait     = time.Hour
	giveUpAfter = 24 * time.Hour // after which no further try is made,
	minAttempts = 5              // unless there were fewer since the start
)

// wait is how long to wait after so many failed tries: twice as long each
// time, and by chance up to half more or less, so that those who failed
// together do not come back together.
func wait(attempts int) time.Duration {
	d := maxWait
	if doublings := attempts - 1; doublings < 10 { // 5 s × 2^10 is over an hour
		d = firstWait << doublings
	}
	return d/2 + rand.N(d)
}
