package daemon

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap/zapcore"
)

// console is a zapcore.Core that writes human-readable lines: date and local time,
// level, part and message in columns, then the fields as key=value.
type console struct {
	zapcore.LevelEnabler
	out    zapcore.WriteSyncer
	colors bool
	fields []zapcore.Field
}

// The column widths. Longer values push the rest to the right.
const (
	consoleTime    = "2006-01-02 15:04:05.000"
	loggerColumn   = 7
	messageColumn  = 24
	resetColor     = "\x1b[0m"
	faint          = "\x1b[2m"
	roundDurations = 100 * time.Microsecond
)

var levelColors = map[zapcore.Level]string{
	zapcore.DebugLevel: "\x1b[35m", zapcore.InfoLevel: "\x1b[34m", zapcore.WarnLevel: "\x1b[33m", zapcore.ErrorLevel: "\x1b[31m",
}

// With implements zapcore.Core.
func (c console) With(fields []zapcore.Field) zapcore.Core {
	c.fields = slices.Concat(c.fields, fields)
	return c
}

// Check implements zapcore.Core.
func (c console) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c console) Write(e zapcore.Entry, fields []zapcore.Field) error {
	var line bytes.Buffer
	level := fmt.Sprintf("%-5s", e.Level.CapitalString())
	if c.colors {
		level = levelColors[e.Level] + level + resetColor
	}
	fmt.Fprintf(&line, "%s  %s  %-*s  %-*s", e.Time.Format(consoleTime), level, loggerColumn, e.LoggerName, messageColumn, e.Message)
	for _, f := range slices.Concat(c.fields, fields) {
		c.writeField(&line, f)
	}
	_, err := c.out.Write(append(bytes.TrimRight(line.Bytes(), " "), '\n'))
	return err
}

// writeField writes one field, unless it is empty.
func (c console) writeField(line *bytes.Buffer, f zapcore.Field) {
	values := zapcore.NewMapObjectEncoder()
	f.AddTo(values)
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		text := consoleValue(values.Fields[key])
		if text == "" {
			continue
		}
		if c.colors {
			key = faint + key + "=" + resetColor
		} else {
			key += "="
		}
		fmt.Fprintf(line, "  %s%s", key, text)
	}
}

func consoleValue(value any) string {
	if d, ok := value.(time.Duration); ok {
		return d.Round(roundDurations).String()
	}
	text := fmt.Sprintf("%+v", value) // of structs, with the names of their fields
	if strings.ContainsFunc(text, needsQuotes) {
		return strconv.Quote(text)
	}
	return text
}

// needsQuotes reports whether a character ends a value, or could control a terminal.
func needsQuotes(r rune) bool { return r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }

// Sync implements zapcore.Core.
func (c console) Sync() error { return c.out.Sync() }
