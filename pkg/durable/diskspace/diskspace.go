// Package diskspace keeps part of a disk free, since neither the daemon nor
// other programs work on a full one.
package diskspace

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// Reserve is the part of a disk that must stay free.
type Reserve struct {
	Dir     string // a directory on the disk
	MinFree int64  // bytes; 0 is 5 % of the disk, at most 256 MiB
}

// Of returns how many bytes must stay free on a disk of this many.
func (r Reserve) Of(total int64) int64 {
	if r.MinFree == 0 {
		return min(256<<20, total/20)
	}
	return r.MinFree
}

// Usage returns the free and the total bytes of the disk, and how many of them
// must stay free.
func (r Reserve) Usage() (free, total, reserved int64, err error) {
	fs, err := r.stat()
	if err != nil {
		return 0, 0, 0, err
	}
	free, total = sizes(fs)
	return free, total, r.Of(total), nil
}

func sizes(fs unix.Statfs_t) (free, total int64) {
	return int64(fs.Bavail) * int64(fs.Bsize), int64(fs.Blocks) * int64(fs.Bsize)
}

func (r Reserve) stat() (fs unix.Statfs_t, err error) {
	if err := unix.Statfs(r.Dir, &fs); err != nil {
		return fs, fmt.Errorf("check free space: %w", err)
	}
	return fs, nil
}

// Check returns an InsufficientStorage fault if need more bytes (0 for one more
// small file) would leave less than the reserve, and an Unavailable fault if the disk
// is read-only: the kernel remounts one that fails.
func (r Reserve) Check(need int64) error {
	fs, err := r.stat()
	if err != nil {
		return err
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return fault.New(fault.Unavailable, "The disk of this server is read-only; it may be failing, which its kernel log says.")
	}
	free, total := sizes(fs)
	if reserved := r.Of(total); free-max(0, need) < reserved {
		return fault.New(fault.InsufficientStorage, "Not enough disk space: %s free, %s reserved.",
			humanize.IBytes(uint64(max(0, free))), humanize.IBytes(uint64(reserved)))
	}
	return nil
}
