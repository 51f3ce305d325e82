package queue_test

import (
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/jobs/queuetest"
	"github.com/optimizerd/optimizerd/pkg/queue"
)

func TestDirectoryIsAQueue(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Queue {
		q, err := queue.Open(queue.Config{Dir: t.TempDir(), MaxPending: queuetest.Places, Keep: time.Hour, Resolvers: 4}, zaptest.NewLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { crash(t, q) })
		return q
	})
}
