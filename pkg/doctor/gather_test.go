package doctor_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/doctor"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

// tree makes a folder with these files; what begins with "-> " is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// gather looks at a machine without a codec and, unless a change sets another
// one, with a free port.
func gather(t *testing.T, root, data string, changes ...func(*doctor.Settings)) doctor.Facts {
	t.Helper()
	s := doctor.Settings{Codec: codec.Config{Path: "/nowhere"}, Listen: "127.0.0.1:0", DataDir: data, Tunnel: tunnel.DefaultConfig()}
	for _, change := range changes {
		change(&s)
	}
	return doctor.Gather(t.Context(), doctor.Configuration{Settings: &s}, root)
}

// listen sets the address of a server that is running.
func listen(l net.Listener) func(*doctor.Settings) {
	return func(s *doctor.Settings) { s.Listen = l.Addr().String() }
}

func TestStartingDaemonLearnsThatNothingLimitsMemory(t *testing.T) {
	off := tree(t, map[string]string{
		"proc/self/cgroup":                 "0::/system.slice/optimizerd.service\n",
		"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n",
	})
	f := doctor.MemoryCgroup(off)
	if f.Status != doctor.Warn || !strings.Contains(f.Found, "MemoryMax") || !strings.Contains(f.Advice, "cgroup_enable=memory") {
		t.Errorf("got %+v", f)
	}
	on := tree(t, map[string]string{
		"proc/self/cgroup": "0::/system.slice/optimizerd.service\n",
		"sys/fs/cgroup/system.slice/optimizerd.service/memory.max": "700000000\n",
	})
	if f := doctor.MemoryCgroup(on); f.Status != doctor.OK {
		t.Errorf("got %+v", f)
	}
}

func TestMemoryCgroup(t *testing.T) {
	const service = "sys/fs/cgroup/system.slice/optimizerd.service/"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  doctor.Cgroup
	}{
		{"systemd's ProcSubset or no Linux", nil, doctor.Cgroup{}},
		{"Debian, a shell", map[string]string{
			"proc/self/cgroup":                 "0::/user.slice/user-1000.slice/session-1.scope\n",
			"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
			"sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope/memory.max": "max\n",
		}, doctor.Cgroup{Known: true, Memory: true, Name: "this session"}},
		{"a limit above", map[string]string{
			"proc/self/cgroup":                    "0::/a/b\n",
			"sys/fs/cgroup/a/memory.max":          "1000000\n",
			"sys/fs/cgroup/a/b/memory.max":        "max\n",
			"sys/fs/cgroup/elsewhere/memory.max":  "5\n",
			"sys/fs/cgroup/a/b/cgroup.controller": "memory\n",
		}, doctor.Cgroup{Known: true, Memory: true, Name: "this session", Max: 1000000}},
		{"the service runs", map[string]string{
			"proc/self/cgroup":                 "0::/user.slice\n",
			"sys/fs/cgroup/cgroup.controllers": "memory\n",
			service + "memory.max":             "536870912\n",
		}, doctor.Cgroup{Known: true, Memory: true, Name: "optimizerd.service", Max: 512 << 20}},
		{"Raspberry Pi OS", map[string]string{
			"proc/self/cgroup":                 "0::/system.slice/optimizerd.service\n",
			"proc/cmdline":                     "coherent_pool=1M cgroup_disable=memory root=PARTUUID=1-02\n",
			"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n",
			service + "cpu.max":                "max 100000\n",
		}, doctor.Cgroup{Known: true, Disabled: true, Name: "optimizerd.service"}},
		{"a container", map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "268435456\n",
		}, doctor.Cgroup{Known: true, Memory: true, Name: "this session", Max: 256 << 20}},
		{"version 1, no limit", map[string]string{
			"proc/self/cgroup":                             "5:memory:/x\n1:cpu:/\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   "9223372036854771712\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712\n",
		}, doctor.Cgroup{Known: true, Memory: true, Name: "this session"}},
		{"version 1, seen from a container", map[string]string{
			"proc/self/cgroup":                           "5:memory:/docker/123\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "100000000\n",
		}, doctor.Cgroup{Known: true, Memory: true, Name: "this session", Max: 100000000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, gather(t, tree(t, test.files), t.TempDir()).Machine.Cgroup); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMachineModelAndMemory(t *testing.T) {
	m := gather(t, tree(t, map[string]string{
		"proc/device-tree/model":     "Raspberry Pi 4 Model B Rev 1.4\x00",
		"proc/meminfo":               "MemTotal:        1000 kB\nMemFree:  1 kB\nMemAvailable:    500 kB\nHugePages_Total:       0\n",
		"sys/class/rtc/rtc0/hctosys": "1",

		"sys/class/thermal/thermal_zone0/type": "cpu-thermal",
		"sys/class/thermal/thermal_zone0/temp": "48000",
		"proc/self/not-a-cgroup-file":          "",
	}), t.TempDir()).Machine
	if m.Model != "Raspberry Pi 4 Model B Rev 1.4" || m.Total != 1000<<10 || m.Available != 500<<10 || !m.RTC {
		t.Errorf("got %+v", m)
	}
	if m.Heat.Zone != "cpu-thermal" || m.Heat.Celsius != 48 || m.Heat.Hot() {
		t.Errorf("heat: %+v", m.Heat)
	}
	if m.PageSize == 0 || m.OpenFiles == 0 || m.Now.IsZero() {
		t.Errorf("the kernel was not asked: %+v", m)
	}
}

func TestKindOfDisk(t *testing.T) {
	const devices = "sys/devices/platform/"
	for _, test := range []struct {
		name  string
		mount string // of the data folder: device, file system and source
		files map[string]string
		want  doctor.Device
	}{
		{"an SD card", "179:2 ext4 /dev/mmcblk0p2", map[string]string{
			"sys/dev/block/179:2":                      "-> ../../devices/platform/mmcblk0/mmcblk0p2",
			devices + "mmcblk0/mmcblk0p2/partition":    "2\n",
			devices + "mmcblk0/queue/rotational":       "0\n",
			devices + "mmcblk0/device/type":            "SD\n",
			devices + "mmcblk0/mmcblk0p2/queue/unused": "",
		}, doctor.Device{Name: "mmcblk0", Kind: doctor.SDCard}},
		{"eMMC", "179:0 ext4 /dev/mmcblk1", map[string]string{
			"sys/dev/block/179:0":           "-> ../../devices/platform/mmcblk1",
			devices + "mmcblk1/device/type": "MMC\n",
		}, doctor.Device{Name: "mmcblk1", Kind: doctor.EMMC}},
		{"an SSD", "259:1 ext4 /dev/nvme0n1p1", map[string]string{
			"sys/dev/block/259:1":                      "-> ../../devices/platform/nvme0n1/nvme0n1p1",
			devices + "nvme0n1/nvme0n1p1/partition":    "1\n",
			devices + "nvme0n1/queue/rotational":       "0\n",
			devices + "nvme0n1/removable":              "0\n",
			devices + "nvme0n1/nvme0n1p1/start":        "2048\n",
			devices + "unrelated/sda/queue/rotational": "1\n",
		}, doctor.Device{Name: "nvme0n1", Kind: doctor.SSD}},
		{"an encrypted rotating disk", "253:0 ext4 /dev/mapper/data", map[string]string{
			"sys/dev/block/253:0":              "-> ../../devices/platform/dm-0",
			devices + "dm-0/slaves/sda1":       "-> ../../sda/sda1",
			devices + "dm-0/queue/rotational":  "0\n",
			devices + "sda/sda1/partition":     "1\n",
			devices + "sda/queue/rotational":   "1\n",
			devices + "sda/removable":          "0\n",
			devices + "sda/sda1/holders/dm-0x": "",
		}, doctor.Device{Name: "sda", Kind: doctor.Rotating}},
		{"a stick with btrfs", "0:35 btrfs /dev/sdb1", map[string]string{
			"sys/class/block/sdb1":           "-> ../../devices/platform/sdb/sdb1",
			devices + "sdb/sdb1/partition":   "1\n",
			devices + "sdb/queue/rotational": "1\n",
			devices + "sdb/removable":        "1\n",
		}, doctor.Device{Name: "sdb", Kind: doctor.Stick}},
		{"a virtual machine's", "254:0 xfs /dev/vda", map[string]string{
			"sys/dev/block/254:0":            "-> ../../devices/platform/vda",
			devices + "vda/queue/rotational": "1\n",
		}, doctor.Device{Name: "vda", Kind: doctor.Virtual}},
		{"none", "0:40 tmpfs tmpfs", nil, doctor.Device{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "the data")
			if err := os.Mkdir(data, 0o750); err != nil {
				t.Fatal(err)
			}
			m := strings.Fields(test.mount)
			escaped := strings.ReplaceAll(data, " ", `\040`)
			files := map[string]string{"proc/self/mountinfo": fmt.Sprintf(`20 1 8:1 / / rw - ext3 /dev/root rw
21 20 8:2 / %s rw - hidden /dev/hidden rw
22 20 %s / %s rw,noatime shared:1 - %s %s rw
23 20 8:3 / %s/below rw - other /dev/other rw
24 20 8:3 / %s-beside rw - other /dev/other rw
`, escaped, m[0], escaped, m[1], m[2], escaped, escaped)}
			for name, content := range test.files {
				files[name] = content
			}
			d := gather(t, tree(t, files), data).Data
			if d.FileSystem != m[1] || d.Device != test.want {
				t.Errorf("got %s on %+v, want %s on %+v", d.FileSystem, d.Device, m[1], test.want)
			}
		})
	}
}

func TestDataFolderIsLeftAsItWas(t *testing.T) {
	dir := t.TempDir()
	d := gather(t, t.TempDir(), dir).Data
	if d.Problem != nil || !d.Exists || d.Total == 0 || d.Owner != os.Getuid() {
		t.Errorf("got %+v", d)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	missing := filepath.Join(dir, "not", "there")
	d = gather(t, t.TempDir(), missing).Data
	if d.Problem != nil || d.Exists || d.Total == 0 {
		t.Errorf("one that can be made: %+v", d)
	}
	if _, err := os.Stat(filepath.Dir(missing)); err == nil {
		t.Error("it was made")
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if d := gather(t, t.TempDir(), path).Data; d.Problem == nil || !strings.Contains(d.Problem.Error(), "not a directory") {
			t.Errorf("%s: %v", path, d.Problem)
		}
	}
}

func TestRecordsThatWereSetAsideAreFound(t *testing.T) {
	dir := t.TempDir()
	want := []string{"queue/pending/job_1.json.unreadable", "queue/running/job_2.json.unreadable", "outbox/msg_1.json.unreadable"}
	for _, name := range append([]string{"queue/pending/job_3.json"}, want...) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if got := gather(t, t.TempDir(), dir).Data.SetAside; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestQuarantinedSourcesAreCounted(t *testing.T) {
	dir := t.TempDir()
	store, err := quarantine.Open(filepath.Join(dir, quarantine.Folder), "8.14.1")
	if err != nil {
		t.Fatal(err)
	}
	e := quarantine.Entry{SHA256: strings.Repeat("a", 64), Reason: "it ended", At: strictjson.At(healthy().Machine.Now)}
	if err := store.Add(e); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, quarantine.Folder, strings.Repeat("b", 64)+".json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if q := gather(t, t.TempDir(), dir).Data.Quarantine; q != (doctor.Quarantine{Counting: 1, Unreadable: 1}) {
		t.Errorf("got %+v", q)
	}
}

func TestPortHasItsOwnerNamed(t *testing.T) {
	daemon := func(health, ready string) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, health) })
		mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, ready)
		})
		return mux
	}
	for _, test := range []struct {
		name    string
		handler http.Handler
		running bool
		parts   string
	}{
		{"a daemon", daemon(`{"status":"ok"}`, `{"status":"ready","parts":{"disk":{"status":"ready"},"tunnel":{"status":"off"}}}`), true, ""},
		{"one with a full disk", daemon(`{"status":"ok"}`, `{"status":"not_ready","parts":{"queue":{"status":"ready"},"disk":{"status":"not_ready","detail":"It is full."}}}`), true, "disk: It is full."},
		{"another program", http.NotFoundHandler(), false, ""},
		{"another program with health", daemon("ok", ""), false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			p := gather(t, t.TempDir(), t.TempDir(), listen(server.Listener)).Port
			if p.Running != test.running || (p.Problem == nil) != test.running || strings.Join(p.NotReady, ";") != test.parts {
				t.Errorf("got %+v", p)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		if p := gather(t, t.TempDir(), t.TempDir()).Port; p.Problem != nil || p.Running {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("one who hangs up", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		if p := gather(t, t.TempDir(), t.TempDir(), listen(l)).Port; p.Problem == nil || p.Running {
			t.Errorf("got %+v", p)
		}
		l.Close()
		<-done
	})
}

func TestEdgeCanBeReached(t *testing.T) {
	e := edgetest.Start(t)
	embedded := func(address string) func(*doctor.Settings) {
		return func(s *doctor.Settings) {
			s.Tunnel.Mode, s.Tunnel.TokenFile = tunnel.Embedded, e.TokenFile
			s.Tunnel.EdgeRoots, s.Tunnel.EdgeAddresses = e.RootsFile, []string{address}
		}
	}
	f := gather(t, t.TempDir(), t.TempDir(), embedded(e.Addresses[0]))
	if f.Tunnel.Edge != nil || f.Tunnel.OpenToken {
		t.Errorf("an edge that can be reached, and a token of mode 0600: got %+v", f.Tunnel)
	}
	if n := len(e.Registrations()) + e.Refusals(); n != 0 {
		t.Errorf("to look was to register: %d", n)
	}
	if err := os.Chmod(e.TokenFile, 0o644); err != nil {
		t.Fatal(err)
	}
	f = gather(t, t.TempDir(), t.TempDir(), embedded("127.0.0.1:1"))
	if f.Tunnel.Edge == nil || !f.Tunnel.OpenToken {
		t.Errorf("an edge that cannot be reached, and a token of mode 0644: got %+v", f.Tunnel)
	}
}

func TestRunningDaemonReportsItsTunnel(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"ok","parts":{"tunnel":{"status":"ready","detail":"It goes to fra08."}}}`)
	}))
	defer server.Close()
	if got := gather(t, t.TempDir(), t.TempDir(), listen(server.Listener)).Port.Tunnel; got.Down || got.Detail != "It goes to fra08." {
		t.Errorf("the state is %+v", got)
	}
}

func TestBadConfigurationIsAFact(t *testing.T) {
	f := doctor.Gather(t.Context(), doctor.Configuration{Problem: errors.New("http.listn: unknown setting")}, "/")
	if f.Codec.Problem != nil || f.Data.Dir != "" || f.Machine.PageSize == 0 {
		t.Errorf("got %+v", f)
	}
}
