package notify

import (
	"math/rand/v2"
	"time"
)

const (
	firstWait   = 5 * time.Second
	maxWait     = time.Hour
	giveUpAfter = 24 * time.Hour // no further attempts after this time,
	minAttempts = 5              // unless fewer than this were made since startup
)

// wait returns the time until the next attempt: doubled for each failed
// attempt, with jitter of up to 50 % so that receivers that failed together are
// not retried together.
func wait(attempts int) time.Duration {
	d := maxWait
	if doublings := attempts - 1; doublings < 10 { // 5 s × 2^10 is over an hour
		d = firstWait << doublings
	}
	return d/2 + rand.N(d)
}
