package tunnel

import (
	"encoding/json"

	"github.com/rs/zerolog"
	"go.uber.org/zap"
)

// zapWriter takes the lines of cloudflared's packages, which log by zerolog,
// over into this program's log. All of them are details of something that is
// told by an error as well.
type zapWriter struct{ log *zap.Logger }

// Write implements io.Writer.
func (w zapWriter) Write(line []byte) (int, error) {
	fields := make(map[string]any)
	if err := json.Unmarshal(line, &fields); err != nil {
		return len(line), nil // it is not for us to end a look-up for its log
	}
	message, _ := fields[zerolog.MessageFieldName].(string)
	delete(fields, zerolog.MessageFieldName)
	w.log.Debug(message, zap.Any("cloudflared", fields))
	return len(line), nil
}
