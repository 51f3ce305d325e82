package filepages_test

import (
	"testing"

	"github.com/prometheus/procfs"

	"github.com/optimizerd/optimizerd/pkg/filepages"
)

func TestDropReturnsWhatTheStartRead(t *testing.T) {
	before := fileBytes(t)
	filepages.Drop()
	if after := fileBytes(t); after >= before {
		t.Errorf("%d bytes of files in memory, %d before", after, before)
	}
}

// fileBytes returns how many bytes of files this process has in memory.
func fileBytes(t *testing.T) uint64 {
	t.Helper()
	self, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	status, err := self.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return status.RssFile
}
