package notify

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	firstWait  = 5 * time.Second
	maxWait    = time.Hour
	giveUpTime = 24 * time.Hour // after which no further try is made,
	minTries   = 5              // unless there were fewer since the start
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

// retryAfter is what the header of that name asks for: seconds, or a date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(seconds, int(maxWait/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return at.Sub(now)
	}
	return 0
}
