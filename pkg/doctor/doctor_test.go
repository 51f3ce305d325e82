package doctor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/doctor"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/leaktest"
	"github.com/optimizerd/optimizerd/pkg/thermal"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leaktest.Settle(m)) }

// healthy are the facts of a Raspberry Pi on which all is well.
func healthy() doctor.Facts {
	settings := doctor.Settings{
		Listen: "127.0.0.1:8080", AdminListen: "127.0.0.1:9180", Tokens: []string{"hunter2hunter2hunter2hunter2"}, Webhooks: true,
		DataDir: "/var/lib/optimizerd", MaxMemory: 384 << 20, DaemonMemory: 128 << 20,
		Formats: []ladder.Format{ladder.WebP, ladder.JPEG}, Tunnel: tunnel.DefaultConfig(),
	}
	synced := true
	return doctor.Facts{
		Configuration: doctor.Configuration{File: "/etc/optimizerd/config.yaml", Settings: &settings},
		Codec: doctor.Codec{
			Path: "/usr/bin/optimizerd-codec", Processes: 2,
			About: codec.About{
				Version: "1.2.3", Libvips: "8.16.1", Bimg: "1.1.9", Vector: true,
				Inputs:  []string{"jpeg", "png", "webp", "gif", "heic", "avif", "tiff"},
				Outputs: []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF},
				Sandbox: codec.Sandbox{Memory: 512 << 20, Seccomp: true, Landlock: 6},
			},
		},
		Machine: doctor.Machine{
			Model: "Raspberry Pi 5 Model B Rev 1.0", PageSize: 4096, Total: 4 << 30, Available: 3 << 30,
			Cgroup:    doctor.Cgroup{Known: true, Memory: true, Name: "optimizerd.service", Max: 2 << 30},
			Heat:      thermal.Reading{Zone: "cpu-thermal", Celsius: 52, Limit: 80},
			OpenFiles: 65536, Now: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), Synced: &synced, RTC: true,
		},
		Data: doctor.Data{
			Dir: settings.DataDir, Exists: true, Mode: fs.ModeDir | 0o700, Owner: 990, User: 990,
			Free: 50 << 30, Total: 100 << 30, FreeFiles: 1e6, MaxFiles: 2e6,
			FileSystem: "ext4", Device: doctor.Device{Name: "sda", Kind: doctor.SSD},
		},
		Port: doctor.Port{Running: true},
	}
}

func TestHealthyMachineHasNothingToFix(t *testing.T) {
	r := doctor.Examine(healthy())
	if r.Status != doctor.OK {
		t.Errorf("status %s", r.Status)
	}
	for _, f := range r.Findings {
		if f.Status != doctor.OK || f.Advice != "" || f.Found == "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestDoctorNamesEachProblemWithItsRemedy(t *testing.T) {
	unsynced := false
	for _, test := range []struct {
		name          string
		ail           func(*doctor.Facts)
		status        doctor.Status
		check         string
		found, advice string
	}{
		{"no codec", func(f *doctor.Facts) {
			f.Codec = doctor.Codec{Problem: errors.New("codec.path: no executable at [/nowhere]")}
		}, doctor.Fail, "codec", "/nowhere", "Install both binaries"},
		{"a format that is wanted and missing", func(f *doctor.Facts) {
			f.Configuration.Settings.Formats = []ladder.Format{ladder.AVIF, ladder.JPEG}
			f.Codec.About.Outputs = []ladder.Format{ladder.WebP, ladder.JPEG}
		}, doctor.Fail, "formats", "avif", "Remove avif from ladder.formats"},
		{"a format without widths", func(f *doctor.Facts) {
			f.Configuration.Settings.Unmade = []ladder.Format{ladder.AVIF}
		}, doctor.Warn, "formats", "includes none of ladder.widths", "Extend ladder.format_widths.avif"},
		{"a format that is wanted and off", func(f *doctor.Facts) {
			f.Codec.About.Off = []string{"write webp"}
		}, doctor.Fail, "formats", "webp", "Remove webp from"},
		{"a format that is off and not wanted", func(f *doctor.Facts) {
			f.Codec.About.Off = []string{"read heic", "write avif"}
		}, doctor.Warn, "formats", "read heic, write avif", "libheif-plugin-aomenc"},
		{"a format that this libvips lacks", func(f *doctor.Facts) {
			f.Codec.About.Inputs = []string{"jpeg", "png", "webp", "gif", "avif"}
		}, doctor.Warn, "formats", "heic, tiff", "unsupported"},
		{"no vector code", func(f *doctor.Facts) { f.Codec.About.Vector = false }, doctor.Warn, "vector code", "longer", "VIPS_NOVECTOR"},
		{"a tunnel's token that everybody can read", func(f *doctor.Facts) {
			f.Configuration.Settings.Tunnel.Mode, f.Configuration.Settings.Tunnel.TokenFile, f.Tunnel.OpenToken = tunnel.Embedded, "/etc/optimizerd/tunnel-token", true
		}, doctor.Fail, "tunnel", "readable by everyone", "chmod 600 /etc/optimizerd/tunnel-token"},
		{"an edge that is out of reach", func(f *doctor.Facts) {
			f.Configuration.Settings.Tunnel.Mode, f.Port = tunnel.Embedded, doctor.Port{}
			f.Tunnel.Edge = fault.New(fault.Internal, "DNS does not answer.")
		}, doctor.Fail, "tunnel", "DNS does not answer", "port 7844"},
		{"a tunnel that is down", func(f *doctor.Facts) {
			f.Configuration.Settings.Tunnel.Mode = tunnel.Embedded
			f.Port.Tunnel = doctor.TunnelState{Down: true, Detail: "The token is refused."}
		}, doctor.Fail, "tunnel", "The token is refused", "journalctl"},
		{"a secret that only root can read", func(f *doctor.Facts) {
			f.Configuration.Settings.NotServable, f.Port = errors.New("tunnel.token_file: must name a file"), doctor.Port{}
		}, doctor.Warn, "secrets", "tunnel.token_file", "with sudo"},
		{"no seccomp", func(f *doctor.Facts) { f.Codec.About.Sandbox.Seccomp = false }, doctor.Fail, "seccomp", "not filtered", "CONFIG_SECCOMP_FILTER"},
		{"no Landlock on a Pi", func(f *doctor.Facts) { f.Codec.About.Sandbox.Landlock = 0 }, doctor.Warn, "landlock", "filter still applies", "Raspberry Pi OS builds its kernel without"},
		{"no Landlock elsewhere", func(f *doctor.Facts) {
			f.Machine.Model, f.Codec.About.Sandbox = "", codec.Sandbox{Memory: 1 << 20}
		}, doctor.Warn, "landlock", "no system call filter applies either", "CONFIG_SECURITY_LANDLOCK"},
		{"no limit of a child", func(f *doctor.Facts) { f.Codec.About.Sandbox.Memory = 0 }, doctor.Warn, "codec memory", "no memory limit", "limits.max_memory"},
		{"too many children", func(f *doctor.Facts) { f.Codec.Processes = 8 }, doctor.Warn, "codec memory", "4.1 GiB, more than this machine's 4.0 GiB", "codec.processes"},
		{"16 KiB pages", func(f *doctor.Facts) { f.Machine.PageSize = 16384 }, doctor.OK, "page size", "16 KiB", "jemalloc"},
		{"64 KiB pages", func(f *doctor.Facts) { f.Machine.PageSize = 65536 }, doctor.Warn, "page size", "64 KiB", "report"},
		{"little memory", func(f *doctor.Facts) {
			f.Machine.Available, f.Port = 100<<20, doctor.Port{}
		}, doctor.Warn, "memory", "100 MiB available, less than limits.max_memory (384 MiB)", "limits.max_memory"},
		{"a hot board", func(f *doctor.Facts) { f.Machine.Heat.Celsius = 83 }, doctor.Warn, "heat", "83 °C", "heat sink"},
		{"a weak power supply", func(f *doctor.Facts) { f.Machine.Heat.Throttled = []string{"undervoltage"} }, doctor.Warn, "heat", "voltage", "power supply"},
		{"no memory cgroup on a Pi", func(f *doctor.Facts) {
			f.Machine.Cgroup = doctor.Cgroup{Known: true, Disabled: true}
		}, doctor.Warn, "memory cgroup", "not enforced (cgroup_disable=memory", "cgroup_enable=memory to the single line of /boot/firmware/cmdline.txt"},
		{"a limit below what the children may take", func(f *doctor.Facts) {
			f.Machine.Cgroup.Max = 512 << 20
		}, doctor.Warn, "memory cgroup", "limited to 512 MiB, but daemon and codec may need 1.1 GiB", "MemoryMax"},
		{"a data folder of another user", func(f *doctor.Facts) {
			f.Data.User, f.Data.Problem = 1000, &fs.PathError{Op: "open", Path: "/var/lib/optimizerd/.doctor-1", Err: syscall.EACCES}
		}, doctor.Fail, "data folder", "/var/lib/optimizerd: permission denied", "You are user 1000; the folder belongs to user 990"},
		{"a data folder that cannot be made", func(f *doctor.Facts) {
			f.Data.Exists, f.Data.Problem = false, fmt.Errorf("does not exist, and cannot be created in /var/lib: %w", syscall.EACCES)
		}, doctor.Fail, "data folder", "cannot be created in /var/lib", "sudo"},
		{"a read-only disk", func(f *doctor.Facts) { f.Data.Problem = syscall.EROFS }, doctor.Fail, "data folder", "read-only", "failing SD card"},
		{"a full disk", func(f *doctor.Facts) { f.Data.Problem = syscall.ENOSPC }, doctor.Fail, "data folder", "no space", "Free space"},
		{"a data folder for everybody", func(f *doctor.Facts) { f.Data.Mode |= 0o077 }, doctor.Warn, "data folder", "by everyone", "chmod o-w /var/lib/optimizerd"},
		{"root looks", func(f *doctor.Facts) { f.Data.User = 0 }, doctor.OK, "data folder", "user 990", "as the daemon's user"},
		{"below the floor", func(f *doctor.Facts) { f.Data.Free = 200 << 20 }, doctor.Fail, "free space", "200 MiB of 100 GiB free, 256 MiB reserved", "storage.min_free"},
		{"below the floor that is set", func(f *doctor.Facts) { f.Configuration.Settings.MinFree = 60 << 30 }, doctor.Fail, "free space", "60 GiB reserved", "retention.max_bytes"},
		{"close to the floor", func(f *doctor.Facts) { f.Data.Free = 300 << 20 }, doctor.Warn, "free space", "300 MiB", "soon"},
		{"no more files", func(f *doctor.Facts) { f.Data.FreeFiles = 0 }, doctor.Fail, "free space", "no free inodes", "du --inodes"},
		{"an SD card", func(f *doctor.Facts) {
			f.Data.Device = doctor.Device{Name: "mmcblk0", Kind: doctor.SDCard}
		}, doctor.OK, "storage", "ext4 on mmcblk0, SD card", "SSD"},
		{"memory for a disk", func(f *doctor.Facts) {
			f.Data.FileSystem, f.Data.Device = "tmpfs", doctor.Device{}
		}, doctor.Warn, "storage", "lost at the next reboot", "on a disk"},
		{"a container's layer", func(f *doctor.Facts) { f.Data.FileSystem = "overlay" }, doctor.Warn, "storage", "container", "volume"},
		{"a network share", func(f *doctor.Facts) { f.Data.FileSystem = "nfs4" }, doctor.Warn, "storage", "another machine", "local disk"},
		{"a camera's card", func(f *doctor.Facts) { f.Data.FileSystem = "vfat" }, doctor.Warn, "storage", "without owners", "ext4"},
		{"quarantined images", func(f *doctor.Facts) {
			f.Data.Quarantine = doctor.Quarantine{Counting: 3, Old: 2}
		}, doctor.OK, "quarantine", "refused: 3; 2 more are from another libvips", "quarantine list"},
		{"a damaged quarantine", func(f *doctor.Facts) { f.Data.Quarantine.Unreadable = 1 }, doctor.Warn, "quarantine", "1 more are unreadable", "quarantine list"},
		{"webhooks that were given up", func(f *doctor.Facts) { f.Data.Webhooks = doctor.Webhooks{Pending: 2, GivenUp: 1} }, doctor.Warn, "webhooks", "pending: 2; given up: 1", "outbox/failed/"},
		{"no secret for webhooks", func(f *doctor.Facts) { f.Configuration.Settings.Webhooks = false }, doctor.OK, "webhooks", "pending: 0", "docs/secrets.md"},
		{"records of a newer version", func(f *doctor.Facts) {
			f.Data.SetAside = []string{"queue/pending/job_1.json.unreadable", "outbox/msg_1.json.unreadable"}
		}, doctor.Warn, "records", "2, such as queue/pending/job_1", "docs/upgrade.md"},
		{"a damaged outbox", func(f *doctor.Facts) { f.Data.Webhooks.Problem = syscall.ENOTDIR }, doctor.Warn, "webhooks", "not a directory", "repair the folder"},
		{"a way into the home network", func(f *doctor.Facts) { f.Configuration.Settings.AllowPrivate = true }, doctor.Warn, "fetching", "its local network", "fetch.allow_private"},
		{"no certificates", func(f *doctor.Facts) { f.Machine.NoRoots = true }, doctor.Fail, "certificates", "certificate authorities", "ca-certificates"},
		{"no time", func(f *doctor.Facts) { f.Machine.Now = time.Unix(0, 0) }, doctor.Fail, "clock", "1970-01-01 00:00:00 UTC, which is implausible", "timedatectl"},
		{"no network time", func(f *doctor.Facts) { f.Machine.Synced = &unsynced }, doctor.Warn, "clock", "not synchronized", "timedatectl"},
		{"no network time on a Pi", func(f *doctor.Facts) {
			f.Machine.Synced, f.Machine.RTC = &unsynced, false
		}, doctor.Warn, "clock", "no battery-backed clock", "allow a minute"},
		{"an open address", func(f *doctor.Facts) { f.Configuration.Settings.Listen = ":8080" }, doctor.OK, "address", "from other machines, unencrypted", "TLS"},
		{"an open admin address", func(f *doctor.Facts) { f.Configuration.Settings.AdminListen = "0.0.0.0:9180" }, doctor.Warn, "admin address", "pprof", "127.0.0.1:9180"},
		{"a taken port", func(f *doctor.Facts) {
			f.Port = doctor.Port{Problem: fmt.Errorf("listen tcp 127.0.0.1:8080: %w", syscall.EADDRINUSE)}
		}, doctor.Fail, "port", "in use", "ss -ltnp"},
		{"a port of root's", func(f *doctor.Facts) { f.Port = doctor.Port{Problem: syscall.EACCES} }, doctor.Fail, "port", "denied", "below 1024"},
		{"an address of another machine", func(f *doctor.Facts) { f.Port = doctor.Port{Problem: syscall.EADDRNOTAVAIL} }, doctor.Fail, "port", "assign", "ip address"},
		{"a daemon that is not ready", func(f *doctor.Facts) {
			f.Port.NotReady = []string{"disk: Not enough disk space: 1 MiB free."}
		}, doctor.Warn, "port", "disk: Not enough disk space: 1 MiB free.", "journalctl"},
		{"no token", func(f *doctor.Facts) { f.Configuration.Settings.Tokens = nil }, doctor.OK, "tokens", "any program", "docs/secrets.md"},
		{"few files", func(f *doctor.Facts) { f.Machine.OpenFiles = 256 }, doctor.Warn, "open files", "at most 256", "LimitNOFILE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts := healthy()
			test.ail(&facts)
			r := doctor.Examine(facts)
			found := false
			for _, f := range r.Findings {
				found = found || f.Check == test.check && f.Status == test.status &&
					strings.Contains(f.Found, test.found) && strings.Contains(f.Advice, test.advice)
				if f.Status != doctor.OK && f.Advice == "" {
					t.Errorf("%q is bad news without advice", f.Found)
				}
				if strings.Contains(f.Found+f.Advice, "hunter2") {
					t.Errorf("%q shows a token", f.Found)
				}
			}
			if !found {
				t.Errorf("no finding %s %q with %q and %q in\n%s", test.status, test.check, test.found, test.advice, text(t, r, doctor.Style{}))
			}
			want := test.status
			if test.name == "no Landlock elsewhere" {
				want = doctor.Fail // for the filter that is missing too
			}
			if r.Status != want {
				t.Errorf("the worst is %s, want %s", r.Status, want)
			}
		})
	}
}

func TestBrokenConfigurationLeavesTheMachineToLookAt(t *testing.T) {
	f := healthy()
	f.Configuration = doctor.Configuration{Problem: errors.New("http.listn: unknown setting\nOPTIMIZERD_X: unknown environment variable")}
	f.Codec, f.Data, f.Port = doctor.Codec{}, doctor.Data{}, doctor.Port{}
	r := doctor.Examine(f)
	var checks []string
	for _, f := range r.Findings {
		checks = append(checks, f.Check)
	}
	if got, want := strings.Join(checks, ","), "configuration,configuration,page size,memory,memory cgroup,heat,clock,open files"; got != want {
		t.Errorf("looked at %s, want %s", got, want)
	}
	if r.Status != doctor.Fail || !strings.Contains(r.Findings[0].Found, "http.listn") {
		t.Errorf("%s: %+v", r.Status, r.Findings[0])
	}
}

func TestDoctorFindsNothingWrongInNothing(t *testing.T) {
	f := healthy()
	f.Machine = doctor.Machine{Now: f.Machine.Now}
	f.Data = doctor.Data{Dir: f.Data.Dir}
	f.Port = doctor.Port{}
	if r := doctor.Examine(f); r.Status != doctor.OK {
		t.Errorf("got\n%s", text(t, r, doctor.Style{}))
	}
}

func text(t *testing.T, r doctor.Report, style doctor.Style) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Print(&b, style); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDoctorPrints(t *testing.T) {
	r := doctor.Report{Status: doctor.Fail, Findings: []doctor.Finding{
		{"codec", doctor.OK, "there", ""},
		{"storage", doctor.Warn, "in memory, and lost at the next restart", "Set storage.dir to a folder on a disk."},
		{"port", doctor.Fail, "taken by \x1b]0;evil\x07", "Stop it."},
	}}
	const want = `ok    codec    there
warn  storage  in memory, and lost at the
               next restart
               → Set storage.dir to a
                 folder on a disk.
fail  port     taken by ]0;evil
               → Stop it.

fail  1 failure, 1 warning
`
	if diff := cmp.Diff(want, text(t, r, doctor.Style{Width: 42})); diff != "" {
		t.Errorf("the text differs (-want +got):\n%s", diff)
	}
	colored := text(t, r, doctor.Style{Width: 42, Color: true})
	plain := colored
	for _, code := range []string{"\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"} {
		if !strings.Contains(colored, code) {
			t.Errorf("no %q in it", code)
		}
		plain = strings.ReplaceAll(plain, code, "")
	}
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Errorf("color changes the text (-want +got):\n%s", diff)
	}
}

func TestReportFitsTheScreen(t *testing.T) {
	f := healthy()
	f.Codec.About.Sandbox.Landlock, f.Machine.Cgroup.Memory, f.Data.FileSystem = 0, false, "tmpfs"
	for line := range strings.Lines(text(t, doctor.Examine(f), doctor.Style{Width: 80})) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestJSONHasEveryField(t *testing.T) {
	b, err := json.Marshal(doctor.Report{Status: doctor.OK, Findings: []doctor.Finding{{"codec", doctor.OK, "there", ""}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"status":"ok","findings":[{"check":"codec","status":"ok","found":"there","advice":""}]}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
}

func TestDoctorReportsAFaultOnce(t *testing.T) {
	f := healthy()
	f.Data.Problem, f.Data.Quarantine.Problem = syscall.EACCES, fmt.Errorf("open quarantine: %w", syscall.EACCES)
	f.Codec = doctor.Codec{Problem: errors.New("it does not start")}
	var bad []string
	for _, f := range doctor.Examine(f).Findings {
		if f.Status != doctor.OK {
			bad = append(bad, f.Check)
		}
	}
	if got := strings.Join(bad, ","); got != "codec,data folder" {
		t.Errorf("bad are %s, want codec,data folder", got)
	}
}
