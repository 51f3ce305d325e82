package diskspace_test

import (
	"testing"

	"github.com/optimizerd/optimizerd/pkg/durable/diskspace"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

func TestReserveIsLeftFree(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name          string
		minFree, need int64
		code          fault.Code
	}{
		{"one byte reserved", 1, 1, ""},
		{"a body of unknown length", 1, -1, ""},
		{"a reserve larger than the disk", 1 << 60, 0, fault.InsufficientStorage},
		{"a file larger than the disk", 1, 1 << 60, fault.InsufficientStorage},
	} {
		err := diskspace.Reserve{Dir: dir, MinFree: tc.minFree}.Check(tc.need)
		if fault.CodeOf(err) != tc.code {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.code)
		}
	}
}

func TestReserveByDefaultIsATwentiethOfTheDisk(t *testing.T) {
	for total, want := range map[int64]int64{1 << 30: 1 << 30 / 20, 1 << 40: 256 << 20} {
		if got := (diskspace.Reserve{}).Of(total); got != want {
			t.Errorf("of %d bytes %d are reserved, want %d", total, got, want)
		}
	}
	if got := (diskspace.Reserve{MinFree: 7}).Of(1 << 40); got != 7 {
		t.Errorf("%d bytes are reserved, want 7", got)
	}
}
