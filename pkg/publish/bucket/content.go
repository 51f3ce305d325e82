package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/optimizerd/optimizerd/pkg/s3"
)

// content reads an object. A request is sent by the first Read after a Seek, or by
// Prepare. A body that is cut short is continued by another request.
type content struct {
	ctx    context.Context
	store  *Store
	id     string
	key    string
	size   int64
	offset int64
	body   io.ReadCloser // from offset on; nil before the request
	cuts   int
}

// maxCuts is how often one reader continues after a cut.
const maxCuts = 3

// Prepare requests n bytes from the current offset on, so that a failure is known
// before a response to the client begins.
func (c *content) Prepare(n int64) error {
	c.stop()
	body, _, err := c.store.bucket.Get(c.ctx, c.key, c.offset, n)
	if s3.Is(err, s3.NotFound) && c.id != "" {
		c.store.dropMissing(c.id) // deleted by hand; it can be made again
	}
	if err != nil {
		return c.store.fault(err)
	}
	c.body = body
	return nil
}

// Read implements io.Reader.
func (c *content) Read(b []byte) (int, error) {
	for {
		if c.offset >= c.size {
			return 0, io.EOF
		}
		if c.body == nil {
			if err := c.Prepare(c.size - c.offset); err != nil {
				return 0, err
			}
		}
		n, err := c.body.Read(b[:min(int64(len(b)), c.size-c.offset)])
		c.offset += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		c.stop()
		if errors.Is(err, io.EOF) {
			continue // the end of a prepared part
		}
		if c.ctx.Err() != nil {
			return 0, fmt.Errorf("read %s: %w", c.key, err)
		}
		if c.cuts++; c.cuts > maxCuts {
			return 0, c.store.fault(fmt.Errorf("read %s: %w: %w", c.key, errBrokenOff, err))
		}
	}
}

// Seek implements io.Seeker. It sends no request.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.offset
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek %s: negative offset", c.key)
	}
	if offset != c.offset {
		c.stop()
		c.offset = offset
	}
	return offset, nil
}

func (c *content) stop() {
	if c.body != nil {
		_ = c.body.Close() // it was only read
		c.body = nil
	}
}

// Close implements io.Closer.
func (c *content) Close() error {
	c.stop()
	return nil
}
