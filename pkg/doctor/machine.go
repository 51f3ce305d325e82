package doctor

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/thermal"
)

// root is the folder under which proc and sys are: "/", but for tests.
type root string

// text is the content of a file without the white space around it; "" if it
// cannot be read. Files of the kernel are missing for many good reasons: an
// older one, a container, systemd's ProcSubset.
func (r root) text(path ...string) string {
	b, err := os.ReadFile(r.path(path...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.TrimRight(string(b), "\x00")) // a device tree ends its strings so
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

// roots reports whether any are installed.
func roots() bool {
	pool, err := x509.SystemCertPool()
	return err == nil && !pool.Equal(x509.NewCertPool())
}

// synced asks the kernel, which the program that keeps time tells.
func synced() *bool {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return nil
	}
	ok := t.Status&unix.STA_UNSYNC == 0
	return &ok
}

func (r root) memory() (total, available int64) {
	for line := range strings.Lines(r.text("proc/meminfo")) {
		name, value, _ := strings.Cut(line, ":")
		var kilobytes int64
		if _, err := fmt.Sscan(value, &kilobytes); err != nil {
			continue
		}
		switch name {
		case "MemTotal":
			total = kilobytes << 10
		case "MemAvailable":
			available = kilobytes << 10
		}
	}
	return total, available
}

// service is where systemd has the daemon, if it runs as the unit that comes
// with it. Its limit is of more interest than that of whoever asks.
const service = "system.slice/optimizerd.service"

// cgroup finds the memory controller and the least limit on the way up from a
// group: the service's if it runs, else our own.
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
		case fields[1] == "memory": // version 1 has a tree for each controller
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
			group, g.Memory = fields[2], true
		case fields[0] == "0" && !g.Memory:
			group = fields[2]
		}
	}
	// Only groups below the first have the file, and a kernel without the
	// controller has it nowhere.
	g.Memory = g.Memory || strings.Contains(" "+r.text(mount, "cgroup.controllers")+" ", " memory ")
	g.Name = "this session"
	if r.has(mount, service) {
		g.Name, group = "optimizerd.service", service
	}
	for dir := filepath.Clean("/" + group); ; dir = filepath.Dir(dir) {
		if text := r.text(mount, dir, file); text != "" {
			g.Memory = true
			// "max", or in version 1 a number close to the largest, is no limit.
			if n, err := strconv.ParseInt(text, 10, 64); err == nil && n < math.MaxInt64/2 && (g.Max == 0 || n < g.Max) {
				g.Max = n
			}
		}
		if dir == "/" {
			return g
		}
	}
}

// mount is one line of mountinfo.
type mount struct{ device, point, fileSystem, source string }

// mountOf returns the mount that a folder is on: the last of those with the
// longest path above it, since a later one hides an earlier.
func mountOf(mountinfo []byte, dir string) (found mount) {
	for line := range bytes.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(string(line)), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			continue
		}
		m := mount{device: left[2], point: unescape(left[4]), fileSystem: right[0], source: unescape(right[1])}
		if within(dir, m.point) && len(m.point) >= len(found.point) {
			found = m
		}
	}
	return found
}

func within(dir, point string) bool {
	return point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
}

// unescape undoes the octal numbers that stand for white space.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// device follows a mount to the disk below it. File systems like btrfs have
// device numbers of their own; their source then names it.
func (r root) device(m mount) Device {
	dir := r.path("sys/dev/block", m.device)
	if name, ok := strings.CutPrefix(m.source, "/dev/"); ok && !r.has("sys/dev/block", m.device) {
		dir = r.path("sys/class/block", filepath.Base(name))
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Device{}
	}
	return disk(dir)
}

// depth is how far down device mapper, encryption and RAID are looked through.
const depth = 8

// disk is the whole disk that a block device, by its folder in sys, lies on.
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
