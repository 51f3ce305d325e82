package main

import (
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

// bounded is how many images are sent to a daemon that may keep fewer.
var bounded = flag.Int("bounded", 150, "images that TestRetentionIsABound sends")

// blocks returns the space that directories take on the disk, as du counts it.
func blocks(t *testing.T, dirs ...string) (n int64) {
	t.Helper()
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // it was deleted meanwhile
			}
			if info, err := d.Info(); err == nil {
				n += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
			return nil
		})
	}
	return n
}

// While images arrive as fast as the daemon makes them, what it keeps stays within 5 %
// of retention.max_bytes, originals included.
func TestRetentionIsABound(t *testing.T) {
	const clients = 4
	dir := t.TempDir()
	kept := []string{filepath.Join(dir, "files"), filepath.Join(dir, "originals")}
	s := serve(t, dir, "ladder.widths=32", "storage.keep_originals=true")
	s.optimize(t, smallPhoto(t, 0))
	before := blocks(t, kept...)
	s.optimize(t, smallPhoto(t, 1))
	each := blocks(t, kept...) - before
	s.kill(t)
	most := each * int64(*bounded) / 5 // four of five are deleted
	s = serve(t, dir, "ladder.widths=32", "storage.keep_originals=true", fmt.Sprint("retention.max_bytes=", most))
	var load errgroup.Group
	load.SetLimit(clients)
	done := make(chan error, 1)
	go func() {
		for i := range *bounded {
			load.Go(func() error {
				r, err := http.Post(s.url+"/v1/images", "", strings.NewReader(string(smallPhoto(t, i+2))))
				if err != nil {
					return err
				}
				return r.Body.Close()
			})
		}
		done <- load.Wait()
	}()
	var highest int64
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		highest = max(highest, blocks(t, kept...))
	}
	figure(t, "max_bytes, highest, of it", "%d, %d, %.3f", most, highest, float64(highest)/float64(most))
	if highest > most+max(most/20, clients*each) { // of few images, those in progress are more
		t.Errorf("%d bytes are kept, want at most 5 %% more than %d", highest, most)
	}
	if highest < most/2 {
		t.Errorf("only %d bytes are kept of %d", highest, most)
	}
}
