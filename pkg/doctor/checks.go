package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/durable/diskspace"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

func one(check string, status Status, found, advice string) []Finding {
	return []Finding{{check, status, found, advice}}
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

func checkConfiguration(f Facts) []Finding {
	const check = "configuration"
	c := f.Configuration
	from := c.File
	if from == "" {
		from = "no file, defaults and environment"
	}
	if c.Settings != nil {
		return one(check, OK, "valid: "+from, "")
	}
	var findings []Finding
	for mistake := range strings.Lines(c.Problem.Error()) {
		findings = append(findings, Finding{
			check, Fail, strings.TrimSpace(mistake),
			"Fix this first; checks that need a valid configuration were skipped. config.example.yaml lists every setting.",
		})
	}
	return findings
}

func (f Facts) settings() *Settings { return f.Configuration.Settings }

// greeted reports whether a codec process has sent its greeting.
func (f Facts) greeted() bool { return f.settings() != nil && f.Codec.Problem == nil }

func checkCodec(f Facts) []Finding {
	const check = "codec"
	if f.settings() == nil {
		return nil
	}
	if err := f.Codec.Problem; err != nil {
		return one(check, Fail, err.Error(),
			"Install both binaries from one build, and libvips. 'optimizerd version' shows what the codec prints when it starts.")
	}
	a := f.Codec.About
	return one(check, OK, fmt.Sprintf("%s %s, libvips %s, bimg %s", f.Codec.Path, a.Version, a.Libvips, a.Bimg), "")
}

func checkFormats(f Facts) []Finding {
	const check = "formats"
	if !f.greeted() {
		return nil
	}
	a := f.Codec.About
	writes := func(format ladder.Format) bool {
		return slices.Contains(a.Outputs, format) && !slices.Contains(a.Off, "write "+string(format))
	}
	var findings []Finding
	for _, format := range f.settings().Formats {
		if !writes(format) {
			findings = append(findings, Finding{
				check, Fail, fmt.Sprintf("ladder.formats lists %s, which this libvips cannot write", format),
				fmt.Sprintf("Remove %s from ladder.formats, or install the libraries that libvips needs for it.", format) + plugins(string(format)),
			})
		}
	}
	for _, format := range f.settings().Unmade {
		findings = append(findings, Finding{
			check, Warn, fmt.Sprintf("ladder.formats lists %s, but ladder.format_widths.%s includes none of ladder.widths", format, format),
			fmt.Sprintf("Extend ladder.format_widths.%s, or remove %s from ladder.formats.", format, format),
		})
	}
	if len(a.Off) > 0 {
		findings = append(findings, Finding{
			check, Warn, "disabled because the codec's self-test failed: " + strings.Join(a.Off, ", "),
			"Update libvips and its libraries." + plugins(strings.Join(a.Off, " ")),
		})
	}
	var missing []string
	for _, format := range imagefile.Formats {
		if !slices.Contains(a.Inputs, format) && !slices.Contains(a.Off, "read "+format) {
			missing = append(missing, format)
		}
	}
	if len(missing) > 0 {
		findings = append(findings, Finding{
			check, Warn, "this libvips cannot read: " + strings.Join(missing, ", "),
			"Uploads in these formats are refused as unsupported." + plugins(strings.Join(missing, " ")),
		})
	}
	if len(findings) > 0 {
		return findings
	}
	return one(check, OK, fmt.Sprintf("reads %s; writes %v", strings.Join(a.Inputs, " "), a.Outputs), "")
}

// plugins returns advice on the packages that Debian 13 separates from libvips.
func plugins(formats string) string {
	if strings.Contains(formats, "heic") || strings.Contains(formats, "avif") {
		return " On Debian 13: apt install libheif-plugin-libde265 libheif-plugin-dav1d libheif-plugin-aomenc."
	}
	return ""
}

func checkVector(f Facts) []Finding {
	const check = "vector code"
	switch {
	case !f.greeted():
		return nil
	case f.Codec.About.Vector:
		return one(check, OK, "libvips uses vector instructions", "")
	default:
		return one(check, Warn, "libvips runs without vector instructions, so some images take longer",
			"Unset VIPS_NOVECTOR. If it is not set, libvips 8.14 may not compile them here, because memory cannot be writable and executable, or the self-test found them faulty: update libvips.")
	}
}

func checkSeccomp(f Facts) []Finding {
	const check = "seccomp"
	switch {
	case !f.greeted():
		return nil
	case f.Codec.About.Sandbox.Seccomp:
		return one(check, OK, "the codec's system calls are filtered", "")
	default:
		return one(check, Fail, "the codec's system calls are not filtered: a vulnerability in a decoder exposes this machine",
			"Use a kernel with CONFIG_SECCOMP_FILTER, such as those of Debian and Raspberry Pi OS.")
	}
}

func checkLandlock(f Facts) []Finding {
	const check = "landlock"
	if !f.greeted() {
		return nil
	}
	if abi := f.Codec.About.Sandbox.Landlock; abi > 0 {
		return one(check, OK, fmt.Sprintf("the codec cannot open any file (ABI %d)", abi), "")
	}
	found := "not in this kernel; the codec's system call filter still applies"
	if !f.Codec.About.Sandbox.Seccomp {
		found = "not in this kernel, and no system call filter applies either"
	}
	if f.Machine.raspberryPi() {
		return one(check, Warn, found, "No setting enables it: Raspberry Pi OS builds its kernel without Landlock. Debian's own kernel has it.")
	}
	return one(check, Warn, found, "Debian's kernels have it; elsewhere enable CONFIG_SECURITY_LANDLOCK and add 'landlock' to lsm= on the kernel command line.")
}

func (m Machine) raspberryPi() bool { return strings.Contains(m.Model, "Raspberry Pi") }

// codecNeed returns the most memory that daemon and codec processes can use
// together, in bytes; 0 if unlimited.
func (f Facts) codecNeed() int64 {
	if !f.greeted() || f.Codec.About.Sandbox.Memory == 0 {
		return 0
	}
	return int64(f.Codec.Processes)*f.Codec.About.Sandbox.Memory + f.settings().DaemonMemory
}

func checkCodecMemory(f Facts) []Finding {
	const check = "codec memory"
	if !f.greeted() {
		return nil
	}
	need := f.codecNeed()
	if need == 0 {
		return one(check, Warn, "codec processes have no memory limit: one image can use all memory",
			"The daemon's log says why. Until then only limits.max_memory and the unit's MemoryMax apply.")
	}
	found := fmt.Sprintf("codec processes: %d, at most %s each", f.Codec.Processes, size(f.Codec.About.Sandbox.Memory))
	if total := f.Machine.Total; total > 0 && need > total {
		return one(check, Warn, fmt.Sprintf("%s; with the daemon %s, more than this machine's %s", found, size(need), size(total)),
			"Lower codec.processes, or limits.max_memory together with codec.memory.")
	}
	return one(check, OK, found, "")
}

func checkPageSize(f Facts) []Finding {
	const check = "page size"
	switch n := f.Machine.PageSize; n {
	case 0:
		return nil
	case 4 << 10:
		return one(check, OK, "4 KiB", "")
	case 16 << 10:
		return one(check, OK, "16 KiB, as on a Raspberry Pi 5; every component supports it",
			"Do not preload a jemalloc built for 4 KiB pages. If another program needs 4 KiB, set kernel=kernel8.img in config.txt.")
	default:
		return one(check, Warn, size(int64(n))+", not tested with optimizerd", "Please report how it works.")
	}
}

func checkMemory(f Facts) []Finding {
	const check = "memory"
	m := f.Machine
	if m.Total == 0 {
		return one(check, OK, "size unknown", "")
	}
	found := fmt.Sprintf("%s, %s available", size(m.Total), size(m.Available))
	if s := f.settings(); s != nil && !f.Port.Running && m.Available < s.MaxMemory {
		return one(check, Warn, fmt.Sprintf("%s, less than limits.max_memory (%s) allows for one image", found, size(s.MaxMemory)),
			"Stop other programs, or lower limits.max_memory so that larger images are refused instead of swapped.")
	}
	return one(check, OK, found, "")
}

func checkCgroup(f Facts) []Finding {
	const check = "memory cgroup"
	g := f.Machine.Cgroup
	switch {
	case !g.Known:
		return one(check, OK, "the limits in force cannot be read here", "")
	case !g.Memory:
		found := "the kernel does not limit memory: MemoryMax of a systemd unit is accepted but not enforced"
		if g.Disabled {
			found += " (cgroup_disable=memory on the kernel command line)"
		}
		line := "the kernel command line (on a Raspberry Pi the single line of /boot/firmware/cmdline.txt)"
		if f.Machine.raspberryPi() {
			line = "the single line of /boot/firmware/cmdline.txt, where Raspberry Pi OS omits it by default"
		}
		return one(check, Warn, found, "Add cgroup_enable=memory to "+line+" and restart. Until then only the codec's own limit applies.")
	case g.Max == 0:
		return one(check, OK, "no limit for "+g.Name, "")
	}
	found := fmt.Sprintf("%s is limited to %s", g.Name, size(g.Max))
	if need := f.codecNeed(); need > g.Max {
		return one(check, Warn, fmt.Sprintf("%s, but daemon and codec may need %s: the kernel would kill one of them", found, size(need)),
			"Raise MemoryMax, or lower codec.processes.")
	}
	return one(check, OK, found, "")
}

func checkHeat(f Facts) []Finding {
	const check = "heat"
	r := f.Machine.Heat
	switch {
	case !r.Known():
		return nil // as in most virtual machines
	case r.Hot():
		return one(check, Warn, r.String()+": only one image is processed at a time",
			"Improve cooling (airflow, a heat sink or a fan), and use the recommended power supply.")
	default:
		return one(check, OK, r.String(), "")
	}
}

func checkData(f Facts) []Finding {
	const check = "data folder"
	d := f.Data
	if f.settings() == nil {
		return nil
	}
	if err := d.Problem; err != nil {
		found := fmt.Sprintf("%s: %v", d.Dir, reason(err))
		switch {
		case errors.Is(err, fs.ErrPermission) && d.Exists:
			return one(check, Fail, found, fmt.Sprintf("You are user %d; the folder belongs to user %d. Run doctor as the daemon's user, or change the owner with chown.", d.User, d.Owner))
		case errors.Is(err, fs.ErrPermission):
			return one(check, Fail, found, "Run doctor as the daemon's user. If you did, create the folder with sudo and chown it to this user, or change storage.dir.")
		case errors.Is(err, syscall.EROFS):
			return one(check, Fail, found, "Set storage.dir to a folder on a writable file system. One that turned read-only is often a failing SD card: check 'dmesg'.")
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			return one(check, Fail, found, "Free space, or move storage.dir to a larger disk.")
		default:
			return one(check, Fail, found, "Set storage.dir to a folder that the daemon can write to.")
		}
	}
	switch {
	case !d.Exists:
		return one(check, OK, d.Dir+" does not exist yet; serve will create it", "")
	case d.Mode.Perm()&0o002 != 0:
		return one(check, Warn, fmt.Sprintf("%s is writable by everyone (%v)", d.Dir, d.Mode.Perm()), "chmod o-w "+d.Dir)
	case d.User == 0 && d.Owner != 0:
		return one(check, OK, fmt.Sprintf("%s of user %d is writable by root", d.Dir, d.Owner), "Run doctor as the daemon's user to check that user's access.")
	default:
		return one(check, OK, d.Dir+" is writable", "")
	}
}

// reason returns err without the operation and path of a file error.
func reason(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

func checkSpace(f Facts) []Finding {
	const check = "free space"
	d := f.Data
	if f.settings() == nil || d.Total == 0 {
		return nil
	}
	floor := diskspace.Reserve{MinFree: f.settings().MinFree}.Of(d.Total)
	found := fmt.Sprintf("%s of %s free, %s reserved", size(d.Free), size(d.Total), size(floor))
	switch {
	case d.MaxFiles > 0 && d.FreeFiles == 0:
		return one(check, Fail, "the file system has no free inodes", "Delete files; 'du --inodes' shows where they are.")
	case d.Free < floor:
		return one(check, Fail, found+": every upload is refused", "Free space, move storage.dir, set retention.max_bytes, or lower storage.min_free.")
	case d.Free < 2*floor:
		return one(check, Warn, found, "Uploads will be refused soon: free space, or set retention.max_bytes.")
	default:
		return one(check, OK, found, "")
	}
}

func checkDevice(f Facts) []Finding {
	const check = "storage"
	d := f.Data
	if f.settings() == nil || d.FileSystem == "" {
		return nil
	}
	found := d.FileSystem
	if d.Device.Name != "" {
		found += fmt.Sprintf(" on %s", d.Device.Name)
	}
	if d.Device.Kind != "" {
		found += fmt.Sprintf(", %s", d.Device.Kind)
	}
	switch d.FileSystem {
	case "tmpfs", "ramfs":
		return one(check, Warn, found+": in memory, and lost at the next reboot", "Set storage.dir to a folder on a disk.")
	case "overlay", "aufs":
		return one(check, Warn, found+": part of a container, and lost with it", "Mount a volume there, or point storage.dir to one.")
	case "nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs":
		return one(check, Warn, found+": on another machine, which may not sync files as durably as it reports", "Keep storage.dir on a local disk.")
	case "vfat", "exfat", "msdos", "fuseblk":
		return one(check, Warn, found+": a file system without owners and permissions, and possibly without a journal", "Use ext4 for storage.dir.")
	}
	if d.Device.Kind == SDCard || d.Device.Kind == Stick {
		return one(check, OK, found, "It syncs slowly and wears out; an SSD on USB is faster and lasts longer.")
	}
	return one(check, OK, found, "")
}

func checkQuarantine(f Facts) []Finding {
	const check = "quarantine"
	q := f.Data.Quarantine
	switch {
	case f.settings() == nil:
		return nil
	case q.Problem != nil && f.Data.Problem != nil:
		return nil // reported with the data folder
	case q.Problem != nil:
		return one(check, Warn, q.Problem.Error(), "Images that crash the codec are processed again each time; repair the folder or delete it.")
	}
	found := fmt.Sprintf("images refused: %d", q.Counting)
	if q.Old > 0 {
		found += fmt.Sprintf("; %d more are from another libvips and ignored", q.Old)
	}
	switch {
	case q.Unreadable > 0:
		return one(check, Warn, fmt.Sprintf("%s; %d more are unreadable and ignored", found, q.Unreadable), "'optimizerd quarantine list' shows them, 'clear' deletes them.")
	case q.Counting > 0:
		return one(check, OK, found, "'optimizerd quarantine list' shows which and why.")
	default:
		return one(check, OK, found, "")
	}
}

func checkAside(f Facts) []Finding {
	n := len(f.Data.SetAside)
	if n == 0 {
		return nil
	}
	return one("records", Warn, fmt.Sprintf("jobs and webhooks that were set aside, as they cannot be read: %d, such as %s", n, f.Data.SetAside[0]),
		"If a newer version has written them, install it again: it takes them back (docs/upgrade.md). Otherwise they are damaged: delete them.")
}

// A clock outside these years is wrong.
const firstYear, lastYear = 2025, 2100

func checkStore(f Facts) []Finding {
	const check = "object store"
	switch {
	case f.settings() == nil || f.settings().Store == nil:
		return nil
	case f.Store != nil:
		return one(check, Fail, f.Store.Error(), "docs/r2.md says what the store and its key must allow.")
	default:
		return one(check, OK, fmt.Sprintf("%s at %s: written once, read, listed and deleted", f.settings().Store.Bucket, f.settings().Store.Endpoint), "")
	}
}

func checkClock(f Facts) []Finding {
	const check = "clock"
	m := f.Machine
	found := m.Now.UTC().Format("2006-01-02 15:04:05 UTC")
	const set = "Enable network time: timedatectl set-ntp true."
	switch {
	case m.Now.Year() < firstYear || m.Now.Year() > lastYear:
		return one(check, Fail, found+", which is implausible: certificates will be rejected, and retention deletes by time", set)
	case m.Synced == nil:
		return one(check, OK, found+"; cannot tell whether it is synchronized", "")
	case !*m.Synced && !m.RTC:
		return one(check, Warn, found+", not synchronized with network time, and this machine has no battery-backed clock",
			set+" If it is enabled, allow a minute after boot.")
	case !*m.Synced:
		return one(check, Warn, found+", not synchronized with network time", set)
	default:
		return one(check, OK, found+", synchronized with network time", "")
	}
}

func checkAddress(f Facts) []Finding {
	const check = "address"
	s := f.settings()
	switch {
	case s == nil:
		return nil
	case !httpapi.LoopbackOnly(s.Listen):
		return one(check, OK, s.Listen+" is reachable from other machines, unencrypted",
			"Tokens and images can be intercepted: use it only on a trusted network, or put a tunnel or a TLS proxy in front of it.")
	default:
		return one(check, OK, s.Listen+" is reachable from this machine only", "")
	}
}

func checkAdmin(f Facts) []Finding {
	s := f.settings()
	if s == nil || s.AdminListen == "" || httpapi.LoopbackOnly(s.AdminListen) {
		return nil
	}
	return one("admin address", Warn, "admin.listen "+s.AdminListen+" is reachable from other machines, unencrypted: the tokens sent for metrics and pprof can be intercepted",
		"Set admin.listen to 127.0.0.1:9180 or leave it empty, unless the network is trusted.")
}

func checkPort(f Facts) []Finding {
	const check = "port"
	p := f.Port
	switch {
	case f.settings() == nil:
		return nil
	case p.Problem != nil:
		return one(check, Fail, "http.listen: "+p.Problem.Error(), httpapi.ListenAdvice(p.Problem))
	case len(p.NotReady) > 0:
		return one(check, Warn, "optimizerd is running, but not ready: "+strings.Join(p.NotReady, "; "), "See its log: journalctl -u optimizerd.")
	case p.Running:
		return one(check, OK, "optimizerd is running and ready", "")
	default:
		return one(check, OK, "free; optimizerd is not running", "")
	}
}

func checkTunnel(f Facts) []Finding {
	const check = "tunnel"
	s := f.settings()
	switch {
	case s == nil:
		return nil
	case s.Tunnel.Mode == tunnel.Off:
		return one(check, OK, "off: requests arrive at http.listen only", "")
	case f.Tunnel.OpenToken:
		return one(check, Fail, s.Tunnel.TokenFile+" is readable by everyone on this machine, and whoever has the token can impersonate this daemon",
			"chmod 600 "+s.Tunnel.TokenFile+", and rotate the token at Cloudflare.")
	case f.Tunnel.Edge != nil:
		return one(check, Fail, fault.From(f.Tunnel.Edge).Detail, edgeAdvice)
	case f.Port.Tunnel.Down:
		return one(check, Fail, "not connected. "+f.Port.Tunnel.Detail, edgeAdvice+" See the daemon's log: journalctl -u optimizerd.")
	case s.Tunnel.Mode == tunnel.External:
		return one(check, OK, strings.TrimSpace("external, at "+s.Tunnel.Socket+". "+f.Port.Tunnel.Detail), "")
	case !f.Port.Running:
		return one(check, OK, "embedded; Cloudflare's edge is reachable", "")
	default:
		return one(check, OK, strings.TrimSpace("embedded. "+f.Port.Tunnel.Detail), "")
	}
}

const edgeAdvice = "The tunnel dials out: it needs DNS and outgoing TCP to port 7844. No port has to be opened, but a firewall must not block these."

// checkServable checks whether the daemon would start with the configuration as
// seen here. Only root can read the service's secrets; a running daemon has them.
func checkServable(f Facts) []Finding {
	s := f.settings()
	if s == nil || f.Port.Running {
		return nil
	}
	if err := s.NotServable; err != nil {
		return one("secrets", Warn, err.Error(), "Only root can read the service's secrets: run doctor with sudo. If it still fails, add the missing secret: docs/secrets.md.")
	}
	return nil
}

func checkTokens(f Facts) []Finding {
	const check = "tokens"
	if f.settings() == nil {
		return nil
	}
	n := len(f.settings().Tokens)
	if n == 0 {
		return one(check, OK, "none: any program on this machine can use the API", "If the service has tokens, run doctor with sudo to see them. Otherwise add one (docs/secrets.md) before a tunnel or a proxy exposes the API.")
	}
	return one(check, OK, fmt.Sprintf("set: %d", n), "")
}

func checkOpenFiles(f Facts) []Finding {
	const check, enough = "open files", 1024
	switch n := f.Machine.OpenFiles; {
	case n == 0:
		return nil
	case n < enough:
		return one(check, Warn, fmt.Sprintf("at most %d, and each connection needs one", n), "Raise it: LimitNOFILE= in the unit, or ulimit -n.")
	default:
		return one(check, OK, fmt.Sprintf("at most %d", n), "")
	}
}

func checkWebhooks(f Facts) []Finding {
	const check = "webhooks"
	w := f.Data.Webhooks
	switch {
	case f.settings() == nil:
		return nil
	case w.Problem != nil && f.Data.Problem != nil:
		return nil // reported with the data folder
	case w.Problem != nil:
		return one(check, Warn, w.Problem.Error(), "Webhooks cannot be stored until they are delivered; repair the folder or delete it.")
	}
	found := fmt.Sprintf("pending: %d", w.Pending)
	switch {
	case w.GivenUp > 0:
		return one(check, Warn, fmt.Sprintf("%s; given up: %d", found, w.GivenUp), "The files in outbox/failed/ name the receiver and the error; they are deleted after jobs.keep.")
	case !f.settings().Webhooks:
		return one(check, OK, found, "Without a webhook secret, webhook_url is refused; add one to accept it: docs/secrets.md.")
	default:
		return one(check, OK, found, "")
	}
}

func checkFetching(f Facts) []Finding {
	const check = "fetching"
	switch s := f.settings(); {
	case s == nil:
		return nil
	case s.AllowPrivate:
		return one(check, Warn, "URLs may point to this machine and its local network", "Set fetch.allow_private to false, unless you trust every token holder with access to your router and printer.")
	case len(s.AllowHosts) > 0:
		return one(check, OK, "from "+strings.Join(s.AllowHosts, ", "), "")
	default:
		return one(check, OK, "from the public internet", "")
	}
}

func checkCertificates(f Facts) []Finding {
	const check = "certificates"
	switch {
	case f.settings() == nil:
		return nil
	case f.Machine.NoRoots:
		return one(check, Fail, "no trusted certificate authorities: https downloads and webhooks fail", "sudo apt install ca-certificates")
	default:
		return one(check, OK, "trusted certificate authorities are installed", "")
	}
}
