package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

// A file whose results cannot be written beside it, for example, is read and reported
// each time.
func TestWatchPausesBetweenAttemptsThatFail(t *testing.T) {
	dir := t.TempDir()
	journal, err := client.OpenJournal(filepath.Join(t.TempDir(), "j"))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	photo := filepath.Join(dir, "cat.jpg")
	put(t, photo, smallPhoto(t, 1))
	const every = 5 * time.Second
	w := &watcher{uploader: &uploader{journal: journal}, dir: dir, every: every, seen: make(map[string]sighting)}
	var attempts []time.Duration
	began := time.Now()
	for at := time.Duration(0); at <= time.Hour; at += every {
		ready, err := w.look(began.Add(at))
		if err != nil {
			t.Fatal(err)
		}
		for range ready {
			attempts = append(attempts, at)
			w.note(photo, failed(photo, fault.InsufficientStorage, "full"), began.Add(at))
		}
	}
	if n := len(attempts); n < 10 || n > 15 || attempts[1] != every {
		t.Errorf("%d attempts in an hour: %v; want the second at the next look, and ever fewer", n, attempts)
	}
	put(t, photo, smallPhoto(t, 2)) // changed, it is new
	if ready, err := w.look(began.Add(time.Hour + every)); err != nil || len(ready) != 1 {
		t.Errorf("after a change: %v, %v", ready, err)
	}
}
