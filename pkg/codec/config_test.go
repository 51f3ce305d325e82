package codec

import "testing"

func TestTheNumberOfProcessesFollowsCoresAndMemory(t *testing.T) {
	const gib = 1 << 30
	for _, tc := range []struct {
		board  string
		cores  int
		memory int64
		want   int
	}{
		{"Pi Zero 2", 4, gib / 2, 1},
		{"Pi 4, 1 GB", 4, gib, 1},
		{"Pi 4, 2 GB", 4, 2 * gib, 2},
		{"Pi 5, 8 GB", 4, 8 * gib, 2},
		{"a large machine", 16, 64 * gib, 8},
		{"a large machine with a small cgroup", 16, 2 * gib, 3},
		{"one core", 1, 8 * gib, 1},
		{"unknown memory", 4, 0, 1},
	} {
		if got := processesFor(tc.cores, tc.memory, 448<<20); got != tc.want {
			t.Errorf("%s: %d processes, want %d", tc.board, got, tc.want)
		}
	}
}
