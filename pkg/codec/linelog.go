package codec

import (
	"bytes"

	"go.uber.org/zap"
)

// lineLog logs each line of a child's standard error.
type lineLog struct {
	log   *zap.Logger
	line  []byte
	lines int // lines so far
}

// maxLine limits the bytes logged of one line, maxLines the lines of one child:
// a library that complains about every row would fill the disk.
const (
	maxLine  = 2 << 10
	maxLines = 200
)

func (l *lineLog) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		l.line = append(l.line, line[:min(len(line), maxLine-len(l.line))]...)
		if ended {
			if l.lines++; l.lines <= maxLines {
				l.log.Warn("codec output", zap.ByteString("line", l.line))
			}
			l.line = l.line[:0]
		}
		rest = after
	}
	return len(p), nil
}
