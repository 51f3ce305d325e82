package main

import (
	"testing"
	"time"
)

func TestTimesOfWorkAreEstimatedIfItsEndIsKnown(t *testing.T) {
	for _, tc := range []struct {
		done, total int
		want        string
	}{
		{0, 4, "10s elapsed"},
		{1, 4, "10s elapsed, about 30s left"},
		{4, 4, "10s elapsed"},
		{1000, 0, "10s elapsed"},
	} {
		if got := describeTimes(10*time.Second, tc.done, tc.total); got != tc.want {
			t.Errorf("%d of %d: %q, want %q", tc.done, tc.total, got, tc.want)
		}
	}
}
