//go:build fleet

package fleet

import (
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
)

// After the data of all servers were lost, "fleet rebuild" makes the streams again. A node
// that runs has no consumers there, and follows an index that is gone.
func TestFleetNodeWhoseStreamsWereMadeAgainSaysThatItMustBeRestarted(t *testing.T) {
	url := fleettest.Start(t, 1).Servers[0].URL
	q := join(t, url)
	f := q.f
	f.checkStreams(t.Context())
	if err := f.Reachable(); err != nil {
		t.Fatal(err)
	}
	for name := range f.buckets() {
		if err := f.js.DeleteStream(t.Context(), "KV_"+f.prefix+name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"work", "tell"} {
		if err := f.js.DeleteStream(t.Context(), f.prefix+name); err != nil {
			t.Fatal(err)
		}
	}
	f.checkStreams(t.Context())
	if err := f.Reachable(); fault.CodeOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "gone") {
		t.Errorf("while there are no streams: %v", err)
	}
	command, err := Connect(t.Context(), options(t, "command", url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Close() }) // it only read
	f.checkStreams(t.Context())
	if err := f.Reachable(); fault.CodeOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "restart") {
		t.Errorf("with other streams: %v", err)
	}
	if _, err := q.Reserve(true); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("an upload is accepted: %v", err)
	}
	if _, err := joinAs(t, "pi-1", url).Reserve(true); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}
