package codec

import "testing"

func TestNumberOfProcessesFollowsCoresAndMemory(t *testing.T) {
	const gib = 1 << 30
	for _, tc := range []struct {
		board      string
		configured int
		cores      int
		memory     int64
		want       int
		apart      bool // and one for images that nobody waits for
	}{
		{"Pi Zero 2", 0, 4, gib / 2, 1, false},
		{"Pi 4, 1 GB", 0, 4, gib, 1, false},
		{"Pi 4, 2 GB", 0, 4, 2 * gib, 2, false},
		{"Pi 5, 8 GB", 0, 4, 8 * gib, 2, false},
		{"a large machine", 0, 16, 64 * gib, 8, false},
		{"a large machine with a small cgroup", 0, 16, 2 * gib, 3, false},
		{"one core", 0, 1, 8 * gib, 1, true},
		{"two cores", 0, 2, 2 * gib, 1, true},
		{"two cores, 1 GB", 0, 2, gib, 1, false},
		{"three cores", 0, 3, 8 * gib, 1, true},
		{"unknown memory", 0, 4, 0, 1, false},
		{"one for all images", 1, 2, 8 * gib, 1, false},
		{"two for all images", 2, 2, 8 * gib, 2, false},
	} {
		c := Config{Processes: tc.configured, Memory: 448 << 20}.sizedFor(tc.cores, tc.memory)
		if c.Processes != tc.want || c.Dedicated != tc.apart {
			t.Errorf("%s: %d processes, one apart: %v; want %d, %v", tc.board, c.Processes, c.Dedicated, tc.want, tc.apart)
		}
		if again := c.sizedFor(64, 64*gib); again != c {
			t.Errorf("%s: sized again: %+v", tc.board, again)
		}
	}
}
