package daemon_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

// The fields of records in version 0.1.0, which refuses others.
var firstFields = map[string]string{
	"job":      "id status input options metadata webhooks source recipe image_id error attempts created_at started_at finished_at timings",
	"source":   "sha256 filename bytes",
	"recipe":   "engine widths fit encoders background",
	"encoders": "format quality effort chroma",
	"webhooks": "url base",
	"webhook":  "id job attempts next_at created_at last_error",
}

// checkFields reports the fields of a record that version 0.1.0 refuses.
func checkFields(t *testing.T, path, kind string, value any) {
	t.Helper()
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			checkFields(t, path, kind, v)
		}
	case map[string]any:
		known, limited := firstFields[kind]
		for field, v := range value {
			if limited && !slices.Contains(strings.Fields(known), field) {
				t.Errorf("%s: version 0.1.0 does not know %s of a %s", path, field, kind)
			}
			checkFields(t, path, field, v)
		}
	}
}

// An upload that waits during a downgrade is lost if the older version cannot read its
// record.
func TestRecordsCanBeReadByTheFirstVersion(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome, daemontest.OneCodec)
	_, away, _ := unreachable(t)
	s.AwaitJob(submitWithWebhook(s, away, 640).ID)
	s.AwaitJob(s.PostJob(`{"input": "`+away+`/a.jpg", "options": {"width": 8}, "metadata": {"a": 1}}`).Job(t, http.StatusAccepted).ID)
	_, thaw := s.Freeze()
	defer thaw()
	const uploads = 3
	for seed := range uint64(uploads) {
		submitWithWebhook(s, away, 641+seed)
	}
	s.AwaitJobs(1, uploads-1)
	for pattern, kind := range map[string]string{
		"queue/pending/*.json": "job", "queue/running/*.json": "job", "queue/done/*.json": "job", "queue/failed/*.json": "job", "outbox/*.json": "webhook",
	} {
		paths, err := filepath.Glob(s.Path(pattern))
		if err != nil || len(paths) == 0 {
			t.Errorf("%s: %d records, %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			var record map[string]any
			if err := json.Unmarshal(daemontest.ReadFile(t, path), &record); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			checkFields(t, path, kind, record)
		}
	}
}
