package thermal

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Reading is what kernel and firmware report about a board's temperature.
type Reading struct {
	Zone      string   // type of the hottest processor zone; "" if there is none
	Celsius   float64  // temperature of the zone
	Limit     float64  // temperature at which the zone is throttled, or about to be, °C
	Throttled []string // active causes of throttling, for display
}

// Known reports whether anything could be read; most virtual machines have
// nothing.
func (r Reading) Known() bool { return r.Zone != "" || len(r.Throttled) > 0 }

// Hot reports whether the board is throttled, or about to be.
func (r Reading) Hot() bool { return len(r.Throttled) > 0 || (r.Zone != "" && r.Celsius >= r.Limit) }

// cool reports whether the temperature is below the limit by a margin, so that
// work does not stop and start around the limit.
func (r Reading) cool() bool { return !r.Hot() && (r.Zone == "" || r.Celsius <= r.Limit-margin) }

func (r Reading) String() string {
	var parts []string
	if r.Zone != "" {
		parts = append(parts, fmt.Sprintf("%s is at %.0f °C (throttled from %.0f °C)", r.Zone, r.Celsius, r.Limit))
	}
	return strings.Join(append(parts, r.Throttled...), ", ")
}

const (
	margin = 8 // °C

	// defaultLimit is where the firmware of a Raspberry Pi starts throttling,
	// which it does not report to the kernel.
	defaultLimit  = 80 // °C
	belowCritical = 10 // °C below the critical temperature
)

// Read reads sysfs; root is the directory that contains sys: "/", except in
// tests. Missing files are ignored.
func Read(root string) Reading {
	s := sysfs(filepath.Join(root, "sys"))
	var r Reading
	for _, zone := range s.glob("class/thermal/thermal_zone*") {
		kind, celsius, ok := zone.temperature()
		if !ok {
			continue
		}
		limit := zone.limit()
		if r.Zone == "" || celsius-limit > r.Celsius-r.Limit {
			r.Zone, r.Celsius, r.Limit = kind, celsius, limit
		}
	}
	for _, device := range s.glob("class/thermal/cooling_device*") {
		state, _ := device.number("cur_state")
		if state > 0 && strings.Contains(device.text("type"), "cpufreq") {
			r.Throttled = append(r.Throttled, "the kernel has lowered the CPU clock")
			break
		}
	}
	r.Throttled = append(r.Throttled, s.firmware()...)
	return r
}

// firmwareBits are the low bits of a Raspberry Pi's throttling status, which
// describe the current state; the high bits describe the past.
var firmwareBits = []string{
	"undervoltage: use a better power supply",
	"the firmware has capped the CPU clock",
	"the firmware is throttling the CPU",
	"the firmware's soft temperature limit is reached",
}

func (s sysfs) firmware() (said []string) {
	word := s.text("devices/platform/soc/soc:firmware/get_throttled")
	bits, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 32)
	if err != nil {
		return nil
	}
	for bit, words := range firmwareBits {
		if bits&(1<<bit) != 0 {
			said = append(said, words)
		}
	}
	return said
}

// sysfs is a directory in sysfs.
type sysfs string

func (s sysfs) glob(pattern string) (found []sysfs) {
	names, _ := filepath.Glob(s.path(pattern)) // the patterns are valid
	for _, name := range names {
		found = append(found, sysfs(name))
	}
	return found
}

func (s sysfs) path(name string) string { return filepath.Join(string(s), name) }

func (s sysfs) text(name string) string {
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (s sysfs) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(s.text(name), 10, 64)
	return n, err == nil
}

// temperature returns the temperature of a processor zone. Others, such as
// those of disks and radios, are no reason to throttle.
func (s sysfs) temperature() (kind string, celsius float64, ok bool) {
	kind = s.text("type")
	if !strings.Contains(kind, "cpu") && !strings.Contains(kind, "soc") && !strings.Contains(kind, "core") && !strings.Contains(kind, "x86_pkg") {
		return kind, 0, false
	}
	thousandths, ok := s.number("temp")
	return kind, float64(thousandths) / 1000, ok
}

// limit returns the lowest trip point of a zone that causes throttling.
func (s sysfs) limit() float64 {
	limit, slows := float64(defaultLimit), false
	for _, trip := range s.glob("trip_point_*_type") {
		thousandths, ok := sysfs(strings.TrimSuffix(string(trip), "_type") + "_temp").number("")
		celsius := float64(thousandths) / 1000
		if !ok || celsius <= 0 { // disabled
			continue
		}
		switch trip.text("") {
		case "passive", "hot":
			if !slows || celsius < limit {
				limit, slows = celsius, true
			}
		case "critical":
			if !slows {
				limit = min(limit, celsius-belowCritical)
			}
		}
	}
	return limit
}
