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

// Of lines that say the same, but for their fields, logLines are written in
// logTime, and the next line after that time tells how many were left out: who
// sends refused requests all day must not wear out an SD card.
const (
	logLines = 120
	logTime  = time.Minute
)

// NewLogger writes to f, standard error in a daemon: JSON, or for a person at
// a terminal. At the level debug nothing is left out.
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
				told := zapcore.Entry{Level: zapcore.WarnLevel, Time: e.Time, Message: "similar log lines suppressed"}
				_ = core.Write(told, []zapcore.Field{zap.Int64("lines", n)}) // a log that cannot be written has nobody to tell
			}
		}))
}
