package tunnel

import (
	"encoding/json"

	"github.com/rs/zerolog"
	"go.uber.org/zap"
)

// zapWriter forwards log lines of cloudflared's packages, which use zerolog, at
// debug level: errors are also returned.
type zapWriter struct{ log *zap.Logger }

// Write implements io.Writer.
func (w zapWriter) Write(line []byte) (int, error) {
	fields := make(map[string]any)
	if err := json.Unmarshal(line, &fields); err != nil {
		return len(line), nil // a malformed log line must not abort a lookup
	}
	message, _ := fields[zerolog.MessageFieldName].(string)
	delete(fields, zerolog.MessageFieldName)
	w.log.Debug(message, zap.Any("cloudflared", fields))
	return len(line), nil
}
