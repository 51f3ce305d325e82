package thermal_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/leaktest"
	"github.com/optimizerd/optimizerd/pkg/thermal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leaktest.Settle(m)) }

const (
	zone     = "class/thermal/thermal_zone0/"
	clock    = "class/thermal/cooling_device0/"
	firmware = "devices/platform/soc/soc:firmware/get_throttled"
)

// board writes files of its sysfs.
func board(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, "sys", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBoardIsHot(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		hot   bool
		says  string
	}{
		"nothing to read":           {nil, false, ""},
		"a Raspberry Pi at work":    {map[string]string{zone + "type": "cpu-thermal", zone + "temp": "71234", zone + "trip_point_0_type": "critical", zone + "trip_point_0_temp": "110000", firmware: "0"}, false, "cpu-thermal is at 71 °C"},
		"a Raspberry Pi in the sun": {map[string]string{zone + "type": "cpu-thermal", zone + "temp": "80000", zone + "trip_point_0_type": "critical", zone + "trip_point_0_temp": "110000"}, true, "at 80 °C"},
		"slowed down by firmware":   {map[string]string{zone + "type": "cpu-thermal", zone + "temp": "61000", firmware: "e0008"}, true, "soft temperature limit"},
		"a weak power supply":       {map[string]string{firmware: "50005"}, true, "voltage"},
		"slowed down in the past":   {map[string]string{zone + "type": "cpu-thermal", zone + "temp": "61000", firmware: "e0000"}, false, "61 °C"},
		"slowed down by the kernel": {map[string]string{clock + "type": "cpufreq-cpu0", clock + "cur_state": "2"}, true, "the kernel"},
		"a fan that turns":          {map[string]string{clock + "type": "pwm-fan", clock + "cur_state": "3"}, false, ""},
		"a trip point":              {map[string]string{zone + "type": "soc-thermal", zone + "temp": "70500", zone + "trip_point_0_type": "passive", zone + "trip_point_0_temp": "70000", zone + "trip_point_1_type": "critical", zone + "trip_point_1_temp": "115000"}, true, "from 70 °C"},
		"a trip point that is off":  {map[string]string{zone + "type": "x86_pkg_temp", zone + "temp": "75000", zone + "trip_point_0_type": "passive", zone + "trip_point_0_temp": "-274000"}, false, "from 80 °C"},
		"an end that is near":       {map[string]string{zone + "type": "cpu-thermal", zone + "temp": "75000", zone + "trip_point_0_type": "critical", zone + "trip_point_0_temp": "85000"}, true, "from 75 °C"},
		"a hot disk":                {map[string]string{zone + "type": "nvme", zone + "temp": "95000"}, false, ""},
		"a zone that is asleep":     {map[string]string{zone + "type": "cpu-thermal"}, false, ""},
		"the zone nearest its limit": {map[string]string{
			zone + "type": "cpu-thermal", zone + "temp": "60000",
			"class/thermal/thermal_zone1/type": "bigcore0-thermal", "class/thermal/thermal_zone1/temp": "82000",
		}, true, "bigcore0-thermal"},
	} {
		root := t.TempDir()
		board(t, root, tc.files)
		r := thermal.Read(root)
		if r.Hot() != tc.hot || !strings.Contains(r.String(), tc.says) || r.Known() != (tc.says != "") {
			t.Errorf("%s: hot %v, %q", name, r.Hot(), r)
		}
	}
}

func TestBoardMustHaveBeenCoolForAWhile(t *testing.T) {
	root := t.TempDir()
	board(t, root, map[string]string{zone + "type": "cpu-thermal", zone + "temp": "60000"})
	g := thermal.New(root, zaptest.NewLogger(t))
	at := func(temperature string) {
		t.Helper()
		board(t, root, map[string]string{zone + "temp": temperature})
		g.Update()
	}
	cool := g.Cool()
	if at("79900"); g.Hot() || cool.Err() != nil {
		t.Fatal("it is hot below its limit")
	}
	if at("80100"); !g.Hot() || cool.Err() == nil {
		t.Fatal("it is not hot at its limit")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if g.Wait(ended) == nil {
		t.Error("no worker waits while it is hot")
	}
	waited := make(chan error)
	go func() { waited <- g.Wait(t.Context()) }()
	for range 5 {
		at("71000")
	}
	at("75000") // not hot, and not cool
	for range 5 {
		at("71000")
	}
	if !g.Hot() {
		t.Error("it is not hot any more, so soon")
	}
	at("71000")
	if err := <-waited; err != nil || g.Hot() || g.Wait(ended) != nil {
		t.Errorf("hot %v, %v after it has cooled down", g.Hot(), err)
	}
}
