package spool_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// gif is a minimal image.
const gif = "GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

func open(t *testing.T) (*spool.Spool, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := spool.Open(spool.Config{Dir: dir, MaxBytes: 1 << 20, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestKeptUploadLiesUnderItsDigest(t *testing.T) {
	s, dir := open(t)
	u, err := s.Receive(strings.NewReader(gif), "a.gif")
	if err != nil {
		t.Fatal(err)
	}
	if u.SHA256 != sha256.Sum256([]byte(gif)) || u.Bytes != int64(len(gif)) || u.Filename != "a.gif" {
		t.Errorf("got %x, %d bytes, name %q", u.SHA256, u.Bytes, u.Filename)
	}
	if err := u.Keep(); err != nil {
		t.Fatal(err)
	}
	u.Discard()
	if got := names(t, dir); len(got) != 1 || got[0] != u.Digest() {
		t.Errorf("the spool has %v", got)
	}
	f, err := s.Source(u.Digest())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, _ := io.ReadAll(f); string(got) != gif {
		t.Errorf("it contains %q", got)
	}
	for range 2 {
		if err := s.Remove(u.Digest()); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusedBodiesLeaveNothing(t *testing.T) {
	s, dir := open(t)
	slow := fault.New(fault.UploadTimeout, "Too slow.")
	for name, tc := range map[string]struct {
		body io.Reader
		want fault.Code
	}{
		"empty":             {strings.NewReader(""), fault.InvalidRequest},
		"text":              {strings.NewReader("hello, world"), fault.UnsupportedFormat},
		"html":              {strings.NewReader("<!doctype html><title>x</title>"), fault.UnsupportedFormat},
		"svg":               {strings.NewReader(`<svg xmlns="http://www.w3.org/2000/svg"/>`), fault.UnsupportedFormat},
		"pdf":               {strings.NewReader("%PDF-1.7\n"), fault.UnsupportedFormat},
		"too large":         {io.MultiReader(strings.NewReader(gif), bytes.NewReader(make([]byte, 1<<20))), fault.TooLarge},
		"fault in the head": {iotest.ErrReader(slow), fault.UploadTimeout},
		"fault half-way":    {io.MultiReader(strings.NewReader(gif+strings.Repeat("x", 5000)), iotest.ErrReader(slow)), fault.UploadTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Receive(tc.body, "")
			if got := fault.CodeOf(err); got != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if left := names(t, dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestDiscardedUploadIsGone(t *testing.T) {
	s, dir := open(t)
	u, err := s.Receive(strings.NewReader(gif), "")
	if err != nil {
		t.Fatal(err)
	}
	u.Discard()
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOpenSweepsHalfReceivedFilesOnly(t *testing.T) {
	s, dir := open(t)
	u, err := s.Receive(strings.NewReader(gif), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Keep(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "123.part"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Open(spool.Config{Dir: dir, MaxBytes: 1}); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != u.Digest() {
		t.Errorf("the spool has %v", got)
	}
	if err := s.Sweep(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("after a sweep of unused files it has %v", got)
	}
}

func TestSourceIsRefusedWithoutSpaceForIt(t *testing.T) {
	s, err := spool.Open(spool.Config{Dir: t.TempDir(), MaxBytes: 1, MinFree: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(0, 0); fault.CodeOf(err) != fault.InsufficientStorage {
		t.Errorf("got %v, want %q", err, fault.InsufficientStorage)
	}
}

func TestReceiveInAMissingFolderIsAnInternalError(t *testing.T) {
	s, dir := open(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err := s.Receive(strings.NewReader(gif), "")
	if fault.CodeOf(err) != fault.Internal || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
