package strictjson_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

func TestJSONAlwaysHasMillisecondsInUTC(t *testing.T) {
	cest := time.FixedZone("CEST", 2*60*60)
	for want, in := range map[string]time.Time{
		`"2026-11-21T20:46:00.000Z"`: time.Date(2026, 11, 21, 22, 46, 0, 999, cest),
		`"2026-11-21T20:46:00.120Z"`: time.Date(2026, 11, 21, 20, 46, 0, 120_456_789, time.UTC),
	} {
		got, err := json.Marshal(strictjson.At(in))
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
		var back strictjson.Time
		if err := json.Unmarshal(got, &back); err != nil || !back.Equal(strictjson.At(in).Time) {
			t.Errorf("%s came back as %v, %v", got, back, err)
		}
	}
}

func TestTimesOfOtherFormsAreRefused(t *testing.T) {
	for _, bad := range []string{`"yesterday"`, `5`, `""`, `"2026-11-21T20:46:00Z"`, `"`} {
		var at strictjson.Time
		if err := at.UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s is taken for a time", bad)
		}
	}
}
