package notify

import (
	"math/rand/v2"
	"time"
)

// The backoff between attempts, and the time limit.
const (
	firstWait   = 5 * time.Second
	MaxWait     = time.Hour
	GiveUpAfter = 24 * time.Hour // no further attempts after this time,
	MinAttempts = 5              // unless fewer than this were made since startup
)

// Wait returns the time until the next attempt: exponential backoff, with
// jitter of up to 50 % so that receivers that failed together are not retried
// together.
func Wait(attempts int) time.Duration {
	d := MaxWait
	if doublings := attempts - 1; doublings < 10 { // 5 s × 2^10 is over an hour
		d = firstWait << doublings
	}
	return d/2 + rand.N(d)
}
