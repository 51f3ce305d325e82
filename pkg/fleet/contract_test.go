//go:build fleet

package fleet

import (
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/jobs/queuetest"
)

func TestFleetIsAQueue(t *testing.T) {
	url := fleettest.Start(t, 1).Servers[0].URL
	queuetest.Run(t, func(t *testing.T) queuetest.Queue {
		o := options(t, "pi-1", url)
		_, name, _ := strings.Cut(t.Name(), "/")
		o.Name, o.MaxPending = strings.ReplaceAll(name, ",", ""), queuetest.Places
		return joinWith(t, o)
	})
}
