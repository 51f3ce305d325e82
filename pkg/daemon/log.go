package daemon

import (
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

// Of log lines with the same level and message, logLines per logTime are
// written; the next line after that reports how many were suppressed. A client
// that sends refused requests all day must not wear out an SD card.
const (
	logLines = 120
	logTime  = time.Minute
)

// NewLogger returns a logger that writes to f: JSON with times in UTC, or text with
// local times for a terminal. At level debug no lines are suppressed.
func NewLogger(c config.Log, f *os.File) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, err
	}
	terminal := term.IsTerminal(int(f.Fd()))
	var core zapcore.Core
	if c.Format == "console" || c.Format == "auto" && terminal {
		core = console{LevelEnabler: level, out: zapcore.Lock(f), colors: terminal && os.Getenv("NO_COLOR") == ""}
	} else {
		encoding := zap.NewProductionEncoderConfig()
		encoding.TimeKey = "time"
		encoding.EncodeTime = func(t time.Time, e zapcore.PrimitiveArrayEncoder) { zapcore.ISO8601TimeEncoder(t.UTC(), e) }
		encoding.EncodeDuration = zapcore.SecondsDurationEncoder
		core = zapcore.NewCore(zapcore.NewJSONEncoder(encoding), zapcore.Lock(f), level)
	}
	if level > zapcore.DebugLevel {
		core = bounded(core)
	}
	return zap.New(core), nil
}

func bounded(core zapcore.Core) zapcore.Core {
	var leftOut atomic.Int64
	sampled := zapcore.NewSamplerWithOptions(core, logTime, logLines, 0, zapcore.SamplerHook(
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
	return withDeletions{sampled, core}
}

// withDeletions writes every deletion by retention, and samples the other lines.
type withDeletions struct {
	zapcore.Core
	all zapcore.Core
}

// With implements zapcore.Core.
func (w withDeletions) With(fields []zapcore.Field) zapcore.Core {
	return withDeletions{w.Core.With(fields), w.all.With(fields)}
}

// Check implements zapcore.Core.
func (w withDeletions) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Message == catalog.DeletedMessage {
		return w.all.Check(e, checked)
	}
	return w.Core.Check(e, checked)
}
