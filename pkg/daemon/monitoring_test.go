package daemon_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	metricName = regexp.MustCompile(`optimizerd_[a-z_]+`)
	labelName  = regexp.MustCompile(`(?:by \(([a-z_, ]+)\)|\{\{ ?\$?(?:labels\.)?([a-z]+) ?\}\}|[{,]([a-z_]+)=~?")`)
)

// TestDashboardAndAlertsNameMetricsThatExist checks the metrics and labels in the
// files of packaging/monitoring against those that the daemon exposes.
func TestDashboardAndAlertsNameMetricsThatExist(t *testing.T) {
	t.Parallel()
	labels := []string{"instance", "job", "le", "value"}
	exists, shown := make(map[string]bool), make(map[string]bool)
	for _, row := range metricRows(t) {
		cells := strings.Split(row, "|")
		name := strings.Trim(cells[1], " `")
		exists[name] = true
		if strings.TrimSpace(cells[2]) == "histogram" {
			exists[name+"_bucket"], exists[name+"_sum"], exists[name+"_count"] = true, true, true
			delete(exists, name) // it has no series of this name
		}
		for label := range strings.SplitSeq(cells[3], ",") {
			labels = append(labels, strings.Trim(label, " `"))
		}
	}
	for _, file := range []string{"alerts.yaml", "grafana.json"} {
		b, err := os.ReadFile("../../packaging/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(b), -1) {
			shown[name] = shown[name] || file == "grafana.json"
			if !exists[name] {
				t.Errorf("%s: no metric %s", file, name)
			}
		}
		for _, m := range labelName.FindAllStringSubmatch(strings.ReplaceAll(string(b), `\"`, `"`), -1) {
			for label := range strings.SplitSeq(m[1]+m[2]+m[3], ",") {
				if !slices.Contains(labels, strings.TrimSpace(label)) {
					t.Errorf("%s: no label %q", file, label)
				}
			}
		}
		if file == "grafana.json" && !json.Valid(b) {
			t.Error("the dashboard is no JSON")
		}
	}
	if len(shown) < 25 {
		t.Errorf("the dashboard has %d metrics", len(shown))
	}
}
