//go:build versitygw

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

func TestS3ImportBringsWhatIsBelowAPrefixOnce(t *testing.T) {
	server := s3test.Start(t)
	bucket, err := s3.Open(s3test.Config(server.URL), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, content := range map[string][]byte{
		"2026/a b.jpg": smallPhoto(t, 1), "2026/deep/c.jpg": smallPhoto(t, 2), "2026/same.jpg": smallPhoto(t, 1),
		"2026/notes.txt": []byte("not a photo"), "2026-other/d.jpg": smallPhoto(t, 3),
	} {
		digest := sha256.Sum256(content)
		o := s3.Object{Key: key, Bytes: int64(len(content)), SHA256: hex.EncodeToString(digest[:])}
		if _, _, err := bucket.PutNew(t.Context(), o, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	proxy := s3test.NewProxy(t, server)
	s := serve(t, t.TempDir(), "ladder.widths=32")
	args := []string{
		"import", "--config", "", "--from", "s3://" + s3test.BucketName + "/2026", "--s3-endpoint", proxy.URL, "--s3-region", "us-east-1",
		"--s3-key-file", s3test.KeyFile(t), "--to", s.url, "--journal", filepath.Join(t.TempDir(), "journal"), "--parallel", "1",
	}
	stdout, stderr, status := run(t, args...)
	if counts, images := statuses(t, stdout); status != 0 || counts["made"] != 2 || counts["there"] != 1 || counts["skipped"] != 1 || len(images) != 2 {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	before := proxy.Requests("GET")
	stdout, stderr, status = run(t, args...)
	if counts, _ := statuses(t, stdout); status != 0 || counts["there"] != 3 || counts["made"] != 0 {
		t.Errorf("the second time: status %d: %s%s", status, stdout, stderr)
	}
	if read := proxy.Requests("GET") - before; read != 2 { // the list, and what is no image
		t.Errorf("the second time it made %d requests, want 2", read)
	}
}
