package imaging

import (
	"sync"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// animationMode decides once for all rungs of an animation whether its WebP is
// lossless. Drawings often are a tenth of the size that way, and filmed scenes
// a multiple; libwebp's mixed mode, which decides frame by frame, is the
// alternative. The smallest rung is encoded in both, to see which is smaller.
type animationMode struct {
	once     sync.Once
	lossless bool
	err      error
}

func (m *animationMode) decide(smallest *rung, e ladder.Encoder, background ladder.RGB) (lossless bool, err error) {
	m.once.Do(func() {
		defer smallest.release() // the use that newCascade counted for it
		p, err := smallest.pixels()
		if err != nil {
			m.err = err
			return
		}
		var sizes [2]int64
		for i, lossless := range []bool{false, true} {
			file, err := p.encode(e, background, lossless)
			if err != nil {
				m.err = err
				return
			}
			sizes[i] = file.size()
			file.free()
		}
		m.lossless = sizes[1] < sizes[0]
	})
	return m.lossless, m.err
}

// larger returns the animated WebP of a rung as an omission if it is larger
// than the source, which is the animation in full size. A requested single
// variant is always made.
func (w *work) larger(sizes map[ladder.Format]int64) []ladder.Format {
	if size, made := sizes[ladder.WebP]; w.animated && w.ladder && made && size > w.sourceBytes {
		return []ladder.Format{ladder.WebP}
	}
	return nil
}
