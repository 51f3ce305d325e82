package doctor

import (
	"crypto/x509"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/thermal"
)

// root is the directory that contains proc and sys: "/", except in tests.
type root string

// text returns the content of a file without surrounding white space, or "" if
// it cannot be read. Kernel files are missing for many harmless reasons: an
// older kernel, a container, systemd's ProcSubset.
func (r root) text(path ...string) string {
	b, err := os.ReadFile(r.path(path...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.TrimRight(string(b), "\x00")) // device tree strings end with NUL
}

func (r root) path(path ...string) string {
	return filepath.Join(string(r), filepath.Join(path...))
}

func (r root) has(path ...string) bool {
	_, err := os.Stat(r.path(path...))
	return err == nil
}

func machine(r root) Machine {
	m := Machine{
		Model:    r.model(),
		PageSize: os.Getpagesize(),
		Cgroup:   r.cgroup(),
		Now:      time.Now(),
		Synced:   synced(),
		RTC:      r.has("sys/class/rtc/rtc0"),
		NoRoots:  !roots(),
		Heat:     thermal.Read(string(r)),
	}
	m.Total, m.Available = r.memory()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		m.OpenFiles = limit.Max // Go raises the soft limit to the hard one
	}
	return m
}

func (r root) model() string { return r.text("proc/device-tree/model") }

// roots reports whether certificate authorities are installed.
func roots() bool {
	pool, err := x509.SystemCertPool()
	return err == nil && !pool.Equal(x509.NewCertPool())
}

// synced reports whether the kernel considers its clock synchronized; nil if
// unknown.
func synced() *bool {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return nil
	}
	ok := t.Status&unix.STA_UNSYNC == 0
	return &ok
}

// memory returns 0 for what is unknown.
func (r root) memory() (total, available int64) {
	proc, err := procfs.NewFS(r.path("proc"))
	if err != nil {
		return 0, 0
	}
	m, err := proc.Meminfo()
	if err != nil || m.MemTotalBytes == nil || m.MemAvailableBytes == nil {
		return 0, 0
	}
	return int64(*m.MemTotalBytes), int64(*m.MemAvailableBytes)
}

// service is the cgroup of the daemon under the shipped unit. Its limit matters
// more than the caller's.
const service = "system.slice/optimizerd.service"

// cgroup finds the memory controller and the lowest limit between a group and
// the root. The group is the service's if it is running, otherwise this
// process's.
func (r root) cgroup() Cgroup {
	own := r.text("proc/self/cgroup")
	if own == "" {
		return Cgroup{}
	}
	g := Cgroup{Known: true, Disabled: strings.Contains(r.text("proc/cmdline"), "cgroup_disable=memory")}
	mount, file, group := "sys/fs/cgroup", "memory.max", "/"
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[1] == "memory": // version 1 has one hierarchy per controller
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
			group, g.Memory = fields[2], true
		case fields[0] == "0" && !g.Memory:
			group = fields[2]
		}
	}
	// The root group has no memory.max, and a kernel without the controller has
	// none at all.
	g.Memory = g.Memory || strings.Contains(" "+r.text(mount, "cgroup.controllers")+" ", " memory ")
	g.Name = "this session"
	if r.has(mount, service) {
		g.Name, group = "optimizerd.service", service
	}
	for dir := filepath.Clean("/" + group); ; dir = filepath.Dir(dir) {
		g.limit(r.text(mount, dir, file))
		if dir == "/" {
			return g
		}
	}
}

// limit lowers the limit to that of a group, given as in its file.
func (g *Cgroup) limit(text string) {
	if text == "" {
		return
	}
	g.Memory = true
	// "max", or a number close to MaxInt64 in version 1, means unlimited.
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n < math.MaxInt64/2 && (g.Max == 0 || n < g.Max) {
		g.Max = n
	}
}

// mountOf returns the mount that contains dir: the last one with the longest
// mount point above it, since later mounts hide earlier ones. It is nil if that is
// unknown.
func (r root) mountOf(dir string) (found *mountinfo.Info) {
	file, err := os.Open(r.path("proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	defer file.Close()
	above, err := mountinfo.GetMountsFromReader(file, mountinfo.ParentsFilter(dir))
	if err != nil {
		return nil
	}
	for _, m := range above {
		if found == nil || len(m.Mountpoint) >= len(found.Mountpoint) {
			found = m
		}
	}
	return found
}

// device returns the disk of a mount. File systems such as btrfs have their own
// device numbers; for them the mount's source names the device.
func (r root) device(m *mountinfo.Info) Device {
	number := fmt.Sprintf("%d:%d", m.Major, m.Minor)
	dir := r.path("sys/dev/block", number)
	if name, ok := strings.CutPrefix(m.Source, "/dev/"); ok && !r.has("sys/dev/block", number) {
		dir = r.path("sys/class/block", filepath.Base(name))
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Device{}
	}
	return disk(dir)
}

// depth limits how many layers of device mapper, encryption and RAID are
// followed.
const depth = 8

// disk returns the disk below a block device, given by its sysfs directory.
func disk(dir string) Device {
	for range depth {
		r := root(dir)
		if r.has("partition") {
			dir = filepath.Dir(dir)
			continue
		}
		below, err := os.ReadDir(r.path("slaves"))
		if err != nil || len(below) == 0 {
			break
		}
		next, err := filepath.EvalSymlinks(r.path("slaves", below[0].Name()))
		if err != nil {
			break
		}
		dir = next
	}
	r := root(dir)
	d := Device{Name: filepath.Base(dir)}
	switch prefix := func(s string) bool { return strings.HasPrefix(d.Name, s) }; {
	case prefix("mmcblk") && r.text("device/type") == "MMC":
		d.Kind = EMMC
	case prefix("mmcblk"):
		d.Kind = SDCard
	case prefix("vd"), prefix("xvd"), prefix("loop"), prefix("zram"), prefix("nbd"):
		d.Kind = Virtual
	case r.text("removable") == "1":
		d.Kind = Stick
	case r.text("queue/rotational") == "1":
		d.Kind = Rotating
	case r.text("queue/rotational") == "0":
		d.Kind = SSD
	}
	return d
}
