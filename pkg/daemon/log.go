package daemon

import (
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// Of log lines with the same level and message, logLines per logTime are
// written; the next line after that reports how many were suppressed. A client
// that sends refused requests all day must not wear out an SD card.
const (
	logLines = 120
	logTime  = time.Minute
)

// NewLogger returns a logger that writes to f: JSON, or text for a terminal. At
// level debug no lines are suppressed.
func NewLogger(c config.Log, f *os.File) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, err
	}
	console := c.Format == "console" || (c.Format == "auto" && term.IsTerminal(int(f.Fd())))
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey = "time"
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	encoding.EncodeDuration = zapcore.SecondsDurationEncoder
	encoder := zapcore.NewJSONEncoder(encoding)
	if console {
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding.EncodeDuration = zapcore.StringDurationEncoder
		encoding.EncodeLevel = zapcore.CapitalColorLevelEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(f), level)
	if level > zapcore.DebugLevel {
		core = bounded(core)
	}
	return zap.New(core), nil
}

func bounded(core zapcore.Core) zapcore.Core {
	var leftOut atomic.Int64
	return zapcore.NewSamplerWithOptions(core, logTime, logLines, 0, zapcore.SamplerHook(
		func(e zapcore.Entry, decision zapcore.SamplingDecision) {
			if decision == zapcore.LogDropped {
				leftOut.Add(1)
				return
			}
			if n := leftOut.Swap(0); n > 0 {
				entry := zapcore.Entry{Level: zapcore.WarnLevel, Time: e.Time, Message: "similar log lines suppressed"}
				_ = core.Write(entry, []zapcore.Field{zap.Int64("lines", n)}) // a failing log has nowhere to report to
			}
		}))
}
