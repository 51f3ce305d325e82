package spool_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/spool"
)

const memory = 100

func openWithMemory(t *testing.T) (s *spool.Spool, dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := spool.Open(spool.Config{Dir: dir, MaxBytes: 1000, MinFree: 1, Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// gifOf returns this many bytes that look like a GIF.
func gifOf(length int) string { return "GIF89a" + strings.Repeat("x", length-6) }

func inMemory(t *testing.T, s *spool.Spool, body string) *spool.Upload {
	t.Helper()
	u, err := s.ReceiveInMemory(strings.NewReader(body), "cat.gif")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func source(t *testing.T, s *spool.Spool, digest string) string {
	t.Helper()
	f, err := s.Source(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHeldUploadIsNowhereOnTheDisk(t *testing.T) {
	s, dir := openWithMemory(t)
	u := inMemory(t, s, gifOf(60))
	u.Hold()
	u.Discard()
	for range 2 { // each reader has its own offset
		if got := source(t, s, u.Digest()); got != gifOf(60) {
			t.Errorf("it reads %q", got)
		}
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("on the disk: %v", left)
	}
	if err := s.Remove(u.Digest()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Source(u.Digest()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after its removal: %v", err)
	}
}

func TestHeldUploadCanBeMadeToPersist(t *testing.T) {
	s, dir := openWithMemory(t)
	u := inMemory(t, s, gifOf(60))
	u.Hold()
	for range 2 {
		if err := s.Persist(u.Digest()); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, u.Digest()))
	if err != nil || string(b) != gifOf(60) || len(names(t, dir)) != 1 {
		t.Errorf("on the disk: %q, %v, %v", b, err, names(t, dir))
	}
	if err := s.Remove(u.Digest()); err != nil || len(names(t, dir)) != 0 {
		t.Errorf("after its removal: %v, %v", err, names(t, dir))
	}
	if err := s.Persist(u.Digest()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is not there persists: %v", err)
	}
}

func TestFailureToPersistIsTriedAgain(t *testing.T) {
	s, dir := openWithMemory(t)
	u := inMemory(t, s, gifOf(60))
	u.Hold()
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Persist(u.Digest()); err == nil {
		t.Error("it persists nowhere")
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Persist(u.Digest()); err != nil || len(names(t, dir)) != 1 {
		t.Errorf("%v, %v", err, names(t, dir))
	}
}

func TestUploadGoesOnToTheDiskWhenMemoryIsFull(t *testing.T) {
	s, dir := openWithMemory(t)
	first := inMemory(t, s, gifOf(60))
	second := inMemory(t, s, gifOf(61))
	if !first.InMemory() || second.InMemory() || len(names(t, dir)) != 1 {
		t.Errorf("in memory: %v and %v; on the disk %v", first.InMemory(), second.InMemory(), names(t, dir))
	}
	if err := second.Keep(); err != nil || source(t, s, second.Digest()) != gifOf(61) {
		t.Errorf("kept: %v", err)
	}
	first.Discard()
	for range 3 { // each releases its memory
		u := inMemory(t, s, gifOf(memory))
		if !u.InMemory() {
			t.Fatal("a discarded upload takes room")
		}
		u.Hold()
		if err := s.Remove(u.Digest()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUploadInMemoryCanBeKept(t *testing.T) {
	s, dir := openWithMemory(t)
	u := inMemory(t, s, gifOf(memory))
	if err := u.Keep(); err != nil {
		t.Fatal(err)
	}
	u.Discard()
	if names := names(t, dir); len(names) != 1 || names[0] != u.Digest() || source(t, s, u.Digest()) != gifOf(memory) {
		t.Errorf("on the disk: %v", names)
	}
	if again := inMemory(t, s, gifOf(memory)); !again.InMemory() {
		t.Error("a kept upload takes room")
	}
}
