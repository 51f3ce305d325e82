package httpapi

import (
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

func TestRetryAfterIsForTemporaryFailures(t *testing.T) {
	for code, want := range map[fault.Code]int{
		fault.Unavailable: 5, fault.QueueFull: 10, fault.ShuttingDown: 10, fault.InsufficientStorage: 10, fault.NotFound: 0, fault.Internal: 0,
	} {
		if got := retryAfter(code); got != want {
			t.Errorf("%s: got %d s, want %d", code, got, want)
		}
	}
}
