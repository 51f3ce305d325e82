package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

func one(check string, status Status, found, advice string) []Finding {
	return []Finding{{check, status, found, advice}}
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

func checkConfiguration(f Facts) []Finding {
	const check = "configuration"
	s := f.Settings
	from := s.File
	if from == "" {
		from = "no file, but defaults and the environment"
	}
	if s.Config != nil {
		return one(check, OK, "valid: "+from, "")
	}
	var findings []Finding
	for mistake := range strings.Lines(s.Problem.Error()) {
		findings = append(findings, Finding{
			check, Fail, strings.TrimSpace(mistake),
			"Fix this first; checks that need a valid configuration were skipped. config.example.yaml has every setting.",
		})
	}
	return findings
}

// greeted reports whether a codec process has told of itself.
func (f Facts) greeted() bool { return f.Settings.Config != nil && f.Codec.Problem == nil }

func checkCodec(f Facts) []Finding {
	const check = "codec"
	if f.Settings.Config == nil {
		return nil
	}
	if err := f.Codec.Problem; err != nil {
		return one(check, Fail, err.Error(),
			"Install both binaries from one build, and libvips; 'optimizerd version' shows what the codec writes when it starts.")
	}
	a := f.Codec.About
	return one(check, OK, fmt.Sprintf("%s %s, libvips %s, bimg %s", f.Codec.Path, a.Version, a.Libvips, a.Bimg), "")
}

// inputs are the formats that the contract promises to take.
var inputs = []string{"jpeg", "png", "webp", "gif", "heic", "avif", "tiff"}

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
	for _, format := range f.Settings.Config.Ladder.Formats {
		if !writes(format) {
			findings = append(findings, Finding{
				check, Fail, fmt.Sprintf("ladder.formats wants %s, which this libvips cannot write", format),
				fmt.Sprintf("Take %s out of ladder.formats, or install what libvips needs for it.", format) + plugins(string(format)),
			})
		}
	}
	if len(a.Off) > 0 {
		findings = append(findings, Finding{
			check, Warn, "switched off, for the self-test of the codec failed: " + strings.Join(a.Off, ", "),
			"Update libvips and its libraries." + plugins(strings.Join(a.Off, " ")),
		})
	}
	var missing []string
	for _, format := range inputs {
		if !slices.Contains(a.Inputs, format) && !slices.Contains(a.Off, "read "+format) {
			missing = append(missing, format)
		}
	}
	if len(missing) > 0 {
		findings = append(findings, Finding{
			check, Warn, "cannot be read by this libvips: " + strings.Join(missing, ", "),
			"Uploads of it are refused as unsupported." + plugins(strings.Join(missing, " ")),
		})
	}
	if len(findings) > 0 {
		return findings
	}
	return one(check, OK, fmt.Sprintf("reads %s; writes %v", strings.Join(a.Inputs, " "), a.Outputs), "")
}

// plugins says what Debian keeps apart from libvips.
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
		return one(check, Warn, "libvips does without vector instructions, so resizing is slower",
			"If VIPS_NOVECTOR is not set, the self-test has found them faulty: update libvips.")
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
		return one(check, Fail, "the codec's system calls are not filtered: a flaw in a decoder is a way into this machine",
			"Use a kernel with CONFIG_SECCOMP_FILTER, as those of Debian and Raspberry Pi OS are.")
	}
}

func checkLandlock(f Facts) []Finding {
	const check = "landlock"
	if !f.greeted() {
		return nil
	}
	if abi := f.Codec.About.Sandbox.Landlock; abi > 0 {
		return one(check, OK, fmt.Sprintf("the codec can open no file (ABI %d)", abi), "")
	}
	found := "the kernel has none; the codec's system call filter still holds"
	if !f.Codec.About.Sandbox.Seccomp {
		found = "the kernel has none, and no filter of system calls holds either"
	}
	if f.Machine.raspberryPi() {
		return one(check, Warn, found, "Nothing can be set: Raspberry Pi OS builds its kernel without it. Debian's own kernel has it.")
	}
	return one(check, Warn, found, "Debian's kernels have it; elsewhere CONFIG_SECURITY_LANDLOCK, and 'landlock' in lsm= on the kernel's command line.")
}

func (m Machine) raspberryPi() bool { return strings.Contains(m.Model, "Raspberry Pi") }

// codecNeed is the most that daemon and children can take together, 0 if
// nothing bounds it.
func (f Facts) codecNeed() int64 {
	if !f.greeted() || f.Codec.About.Sandbox.Memory == 0 {
		return 0
	}
	return int64(f.Codec.Processes)*f.Codec.About.Sandbox.Memory + config.DaemonMemory
}

func checkCodecMemory(f Facts) []Finding {
	const check = "codec memory"
	if !f.greeted() {
		return nil
	}
	need := f.codecNeed()
	if need == 0 {
		return one(check, Warn, "nothing limits a codec process: one picture can take all memory",
			"Look into the log of the daemon for why; limits.max_memory and the unit's MemoryMax are what is left.")
	}
	found := fmt.Sprintf("codec processes: %d, of at most %s each", f.Codec.Processes, size(f.Codec.About.Sandbox.Memory))
	if total := f.Machine.Total; total > 0 && need > total {
		return one(check, Warn, fmt.Sprintf("%s; with the daemon %s, more than this machine's %s", found, size(need), size(total)),
			"Lower codec.processes, or limits.max_memory with the codec's own limit.")
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
		return one(check, OK, "16 KiB, as on a Raspberry Pi 5: all parts work with it",
			"Do not preload a jemalloc that was built for 4 KiB; if some other program needs it, kernel=kernel8.img in config.txt has 4 KiB.")
	default:
		return one(check, Warn, size(int64(n))+", which optimizerd was never tried with", "Report how it works.")
	}
}

func checkMemory(f Facts) []Finding {
	const check = "memory"
	m := f.Machine
	if m.Total == 0 {
		return one(check, OK, "its size is not known here", "")
	}
	found := fmt.Sprintf("%s, %s of it available", size(m.Total), size(m.Available))
	if c := f.Settings.Config; c != nil && !f.Port.Running && m.Available < c.Limits.MaxMemory {
		return one(check, Warn, fmt.Sprintf("%s, less than limits.max_memory (%s) lets one picture take", found, size(c.Limits.MaxMemory)),
			"End other programs, or lower limits.max_memory: larger pictures are then refused instead of swapped.")
	}
	return one(check, OK, found, "")
}

func checkCgroup(f Facts) []Finding {
	const check = "memory cgroup"
	g := f.Machine.Cgroup
	switch {
	case !g.Known:
		return one(check, OK, "what limits hold cannot be seen here", "")
	case !g.Memory:
		found := "the kernel limits no memory: MemoryMax of a systemd unit is accepted, and not enforced"
		if g.Disabled {
			found += " (cgroup_disable=memory on its command line)"
		}
		line := "the kernel's command line (on a Raspberry Pi the one line of /boot/firmware/cmdline.txt)"
		if f.Machine.raspberryPi() {
			line = "the one line of /boot/firmware/cmdline.txt, where Raspberry Pi OS does not have it by default"
		}
		return one(check, Warn, found, "Add cgroup_enable=memory to "+line+" and restart. Until then the codec's own limit is what holds.")
	case g.Max == 0:
		return one(check, OK, "no limit for "+g.Name, "")
	}
	found := fmt.Sprintf("%s may take %s", g.Name, size(g.Max))
	if need := f.codecNeed(); need > g.Max {
		return one(check, Warn, fmt.Sprintf("%s, and daemon and codec can want %s: the kernel then kills one of them", found, size(need)),
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
		return one(check, Warn, r.String()+": one picture is worked at a time",
			"Give the board air, a heat sink or a fan, and the power supply that it was made for.")
	default:
		return one(check, OK, r.String(), "")
	}
}

func checkData(f Facts) []Finding {
	const check = "data folder"
	d := f.Data
	if f.Settings.Config == nil {
		return nil
	}
	if err := d.Problem; err != nil {
		found := fmt.Sprintf("%s: %v", d.Dir, reason(err))
		switch {
		case errors.Is(err, fs.ErrPermission) && d.Exists:
			return one(check, Fail, found, fmt.Sprintf("This is user %d, and it belongs to user %d. Run this as the daemon's user, or change the owner with chown.", d.User, d.Owner))
		case errors.Is(err, fs.ErrPermission):
			return one(check, Fail, found, "Run this as the daemon's user; if it is that, make the folder with sudo and give it to this user, or set storage.dir to another.")
		case errors.Is(err, syscall.EROFS):
			return one(check, Fail, found, "Set storage.dir to a folder on a file system that can be written; one that has become read-only is often a dying SD card: look at 'dmesg'.")
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			return one(check, Fail, found, "Free space, or set storage.dir to a folder on a larger disk.")
		default:
			return one(check, Fail, found, "Set storage.dir to a folder that the daemon can write.")
		}
	}
	switch {
	case !d.Exists:
		return one(check, OK, d.Dir+" is not there yet, and serve can make it", "")
	case d.Mode.Perm()&0o002 != 0:
		return one(check, Warn, fmt.Sprintf("%s can be written by everybody (%v)", d.Dir, d.Mode.Perm()), "chmod o-w "+d.Dir)
	case d.User == 0 && d.Owner != 0:
		return one(check, OK, fmt.Sprintf("%s of user %d can be written by root", d.Dir, d.Owner), "Run this as the daemon's user to know of that one.")
	default:
		return one(check, OK, d.Dir+" can be written", "")
	}
}

// reason is the last part of a file error, without the names that it repeats.
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
	if f.Settings.Config == nil || d.Total == 0 {
		return nil
	}
	floor := f.Settings.Config.Storage.MinFree
	if floor == 0 {
		floor = min(256<<20, d.Total/20) // as package intake has it
	}
	found := fmt.Sprintf("%s of %s, and %s stay free", size(d.Free), size(d.Total), size(floor))
	switch {
	case d.Most > 0 && d.FreeFiles == 0:
		return one(check, Fail, "the file system can hold no more files", "Remove files: du --inodes finds where they are.")
	case d.Free < floor:
		return one(check, Fail, found+": every upload is refused", "Free space, move storage.dir, set retention.max_bytes, or lower storage.min_free.")
	case d.Free < 2*floor:
		return one(check, Warn, found, "Uploads will be refused before long: free space, or set retention.max_bytes.")
	default:
		return one(check, OK, found, "")
	}
}

func checkDevice(f Facts) []Finding {
	const check = "storage"
	d := f.Data
	if f.Settings.Config == nil || d.FileSystem == "" {
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
		return one(check, Warn, found+": in memory, and lost at the next restart", "Set storage.dir to a folder on a disk.")
	case "overlay", "aufs":
		return one(check, Warn, found+": part of a container, and lost with it", "Mount a volume there, or set storage.dir to one.")
	case "nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs":
		return one(check, Warn, found+": on another machine, whose word it is that a synced file survives a power cut", "Keep storage.dir on a disk of this machine.")
	case "vfat", "exfat", "msdos", "fuseblk":
		return one(check, Warn, found+": a file system without owners and rights, and maybe without a journal", "Use ext4 for storage.dir.")
	}
	if d.Device.Kind == SDCard || d.Device.Kind == Stick {
		return one(check, OK, found, "It is slow to sync and wears out: an SSD on USB makes accepted uploads faster and lives longer.")
	}
	return one(check, OK, found, "")
}

func checkQuarantine(f Facts) []Finding {
	const check = "quarantine"
	q := f.Data.Quarantine
	switch {
	case f.Settings.Config == nil:
		return nil
	case q.Problem != nil && f.Data.Problem != nil:
		return nil // it goes with the data folder
	case q.Problem != nil:
		return one(check, Warn, q.Problem.Error(), "Sources that kill the codec are tried each time they come; mend the folder, or remove it.")
	}
	found := fmt.Sprintf("sources refused: %d", q.Counting)
	if q.Old > 0 {
		found += fmt.Sprintf("; %d more are of another libvips and do not count", q.Old)
	}
	switch {
	case q.Unreadable > 0:
		return one(check, Warn, fmt.Sprintf("%s; %d more cannot be read and do not count", found, q.Unreadable), "'optimizerd quarantine list' shows them, 'clear' removes them.")
	case q.Counting > 0:
		return one(check, OK, found, "'optimizerd quarantine list' says which and why.")
	default:
		return one(check, OK, found, "")
	}
}

// No machine that runs this is in a year outside of these.
const firstYear, lastYear = 2025, 2100

func checkClock(f Facts) []Finding {
	const check = "clock"
	m := f.Machine
	found := m.Now.UTC().Format("2006-01-02 15:04:05 UTC")
	const set = "Turn on network time: timedatectl set-ntp true."
	switch {
	case m.Now.Year() < firstYear || m.Now.Year() > lastYear:
		return one(check, Fail, found+", which cannot be: certificates will not hold, and retention deletes by time", set)
	case m.Synced == nil:
		return one(check, OK, found+"; whether it is kept in step cannot be seen here", "")
	case !*m.Synced && !m.RTC:
		return one(check, Warn, found+", not in step with network time, and this machine has no clock that runs without power",
			set+" If it is on, give it a minute after a start.")
	case !*m.Synced:
		return one(check, Warn, found+", not in step with network time", set)
	default:
		return one(check, OK, found+", in step with network time", "")
	}
}

// reachable reports whether other machines may reach the address.
func reachable(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

func checkAddress(f Facts) []Finding {
	const check = "address"
	c := f.Settings.Config
	switch {
	case c == nil:
		return nil
	case reachable(c.HTTP.Listen):
		return one(check, OK, c.HTTP.Listen+" can be reached by other machines, without encryption",
			"Tokens and pictures can be read on the way: use it in a network that you trust, or put a tunnel or a proxy with TLS before it.")
	default:
		return one(check, OK, c.HTTP.Listen+" is for this machine alone", "")
	}
}

func checkAdmin(f Facts) []Finding {
	c := f.Settings.Config
	if c == nil || c.Admin.Listen == "" || !reachable(c.Admin.Listen) {
		return nil
	}
	return one("admin address", Warn, "admin.listen "+c.Admin.Listen+" can be reached by other machines, and pprof and metrics ask for no token",
		"Set admin.listen to 127.0.0.1:9180, or to nothing.")
}

func checkPort(f Facts) []Finding {
	const check = "port"
	p := f.Port
	switch {
	case f.Settings.Config == nil:
		return nil
	case p.Problem != nil:
		advice := "Choose another http.listen."
		switch {
		case errors.Is(p.Problem, syscall.EADDRINUSE):
			advice = "Another program listens there ('ss -ltnp' names it): stop it, or choose another http.listen."
		case errors.Is(p.Problem, fs.ErrPermission):
			advice = "Ports below 1024 are for root; choose another http.listen."
		case errors.Is(p.Problem, syscall.EADDRNOTAVAIL):
			advice = "No interface of this machine has this address now: 'ip address' lists what there is."
		}
		return one(check, Fail, "http.listen: "+p.Problem.Error(), advice)
	case len(p.NotReady) > 0:
		return one(check, Warn, "an optimizerd runs there, and takes no uploads now: "+strings.Join(p.NotReady, "; "), "Its log says more: journalctl -u optimizerd.")
	case p.Running:
		return one(check, OK, "an optimizerd runs there, and is ready", "")
	default:
		return one(check, OK, "free; no optimizerd runs there", "")
	}
}

func checkTunnel(f Facts) []Finding {
	const check = "tunnel"
	c := f.Settings.Config
	switch {
	case c == nil:
		return nil
	case c.Tunnel.Mode == tunnel.Off:
		return one(check, OK, "off: nothing comes from Cloudflare but to http.listen", "")
	case f.Tunnel.OpenToken:
		return one(check, Fail, c.Tunnel.TokenFile+" can be read by everybody on this machine, and whoever has the token can answer in the place of this daemon",
			"chmod 600 "+c.Tunnel.TokenFile+", and have Cloudflare make a new token.")
	case f.Tunnel.Edge != nil:
		return one(check, Fail, fault.From(f.Tunnel.Edge).Detail, edgeAdvice)
	case f.Port.Tunnel.Down:
		return one(check, Fail, "nothing comes through it now. "+f.Port.Tunnel.Detail, edgeAdvice+" The daemon's log says more: journalctl -u optimizerd.")
	case c.Tunnel.Mode == tunnel.External:
		return one(check, OK, strings.TrimSpace("external, at "+c.Tunnel.Socket+". "+f.Port.Tunnel.Detail), "")
	case !f.Port.Running:
		return one(check, OK, "embedded; Cloudflare's edge can be reached", "")
	default:
		return one(check, OK, strings.TrimSpace("embedded. "+f.Port.Tunnel.Detail), "")
	}
}

const edgeAdvice = "The edge is reached from inside, by DNS and by TCP to port 7844: no port has to be opened, but a firewall may not close these."

// checkServable is whether the daemon would start with what is to be seen here.
// Credentials of the service are not: one that runs has what it needs.
func checkServable(f Facts) []Finding {
	c := f.Settings.Config
	if c == nil || f.Port.Running {
		return nil
	}
	if err := c.Servable(); err != nil {
		return one("secrets", Warn, err.Error(), "What systemd gives to the service as a credential cannot be seen from here; 'systemctl start optimizerd' and its log tell.")
	}
	return nil
}

func checkTokens(f Facts) []Finding {
	const check = "tokens"
	if f.Settings.Config == nil {
		return nil
	}
	n := len(f.Settings.Config.Auth.Tokens)
	if n == 0 {
		return one(check, OK, "none: every program on this machine can use the API", "Set auth.tokens before a tunnel or a proxy lets others in.")
	}
	return one(check, OK, fmt.Sprintf("set: %d", n), "")
}

func checkOpenFiles(f Facts) []Finding {
	const check, enough = "open files", 1024
	switch n := f.Machine.OpenFiles; {
	case n == 0:
		return nil
	case n < enough:
		return one(check, Warn, fmt.Sprintf("at most %d, and each connection takes one", n), "Raise it: LimitNOFILE= in the unit, or ulimit -n.")
	default:
		return one(check, OK, fmt.Sprintf("at most %d", n), "")
	}
}

func checkWebhooks(f Facts) []Finding {
	const check = "webhooks"
	w := f.Data.Webhooks
	switch {
	case f.Settings.Config == nil:
		return nil
	case w.Problem != nil && f.Data.Problem != nil:
		return nil // it goes with the data folder
	case w.Problem != nil:
		return one(check, Warn, w.Problem.Error(), "Webhooks cannot be kept until they are delivered; mend the folder, or remove it.")
	}
	found := fmt.Sprintf("to be delivered: %d", w.Pending)
	switch {
	case w.GivenUp > 0:
		return one(check, Warn, fmt.Sprintf("%s; given up: %d", found, w.GivenUp), "The files in outbox/failed/ say whom and why; they go by themselves after jobs.keep.")
	case len(f.Settings.Config.Webhook.Secrets) == 0:
		return one(check, OK, found, "There is no secret to sign with, so webhook_url is refused; set webhook.secrets to change that.")
	default:
		return one(check, OK, found, "")
	}
}

func checkFetching(f Facts) []Finding {
	const check = "fetching"
	switch c := f.Settings.Config; {
	case c == nil:
		return nil
	case c.Fetch.AllowPrivate:
		return one(check, Warn, "URLs may lead to this machine and to the network it is in", "Set fetch.allow_private to false, unless you trust whoever has a token with your router and printer.")
	case len(c.Fetch.AllowHosts) > 0:
		return one(check, OK, "from "+strings.Join(c.Fetch.AllowHosts, ", "), "")
	default:
		return one(check, OK, "from the public internet", "")
	}
}

func checkCertificates(f Facts) []Finding {
	const check = "certificates"
	switch {
	case f.Settings.Config == nil:
		return nil
	case f.Machine.NoRoots:
		return one(check, Fail, "no authority is known that signs them: nothing can be fetched by https, and no webhook be sent", "sudo apt install ca-certificates")
	default:
		return one(check, OK, "those who sign them are known", "")
	}
}
