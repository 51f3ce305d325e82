package codec

import (
	"bytes"

	"go.uber.org/zap"
)

// lineLog writes each line of a child's standard error to the log.
type lineLog struct {
	log   *zap.Logger
	line  []byte
	lines int // so far
}

// maxLine bounds how much of one line is kept, maxLines how many of a child
// are: a library that complains of every row would fill the card.
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
