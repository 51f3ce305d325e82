package daemon_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"
)

// thumbhashText is the placeholder as it stands in the JSON.
func thumbhashText(t *testing.T, body []byte) string {
	t.Helper()
	var m struct{ Placeholder struct{ Thumbhash string } }
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(m.Placeholder.Thumbhash); err != nil {
		t.Errorf("thumbhash %q is not standard base64: %v", m.Placeholder.Thumbhash, err)
	}
	return m.Placeholder.Thumbhash
}
