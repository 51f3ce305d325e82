// Package s3test runs a real S3 server for tests, versitygw over a directory,
// behind a proxy that injects faults and counts requests.
package s3test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/servertest"
)

// BucketName is the name of the server's only bucket.
const BucketName = "images"

// The server's key.
const keyID, keySecret = "test", "test-secret"

// Server is a running versitygw.
type Server struct {
	URL string
	Dir string // of the objects: <Dir>/images/<key>

	*servertest.Process

	t       testing.TB
	sidecar string // <sidecar>/images/<key>/meta/<attribute>
}

// Start runs a server with an empty bucket until the test ends. Its binary must
// have been built.
func Start(t testing.TB) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{Dir: filepath.Join(dir, "objects"), t: t, sidecar: filepath.Join(dir, "metadata")}
	if err := os.MkdirAll(filepath.Join(s.Dir, BucketName), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.sidecar, 0o755); err != nil { // test file systems may lack extended attributes
		t.Fatal(err)
	}
	address := servertest.FreeAddress(t)
	s.URL = "http://" + address
	s.Process = servertest.New(t, "versitygw", s.URL+"/health",
		"--access", keyID, "--secret", keySecret, "--region", "us-east-1", "--port", address, "--health", "/health", "posix", "--sidecar", s.sidecar, s.Dir)
	s.Up()
	return s
}

// DropMetadata removes an object's metadata.
func (s *Server) DropMetadata(key string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.sidecar, BucketName, key, "meta", "metadata")); err != nil {
		s.t.Fatal(err)
	}
}

// TakeKey leaves the state of a server that was killed in the middle of a put: the
// key is taken, and there is no object.
func (s *Server) TakeKey(key string) {
	s.t.Helper()
	dir := filepath.Join(s.sidecar, BucketName, key, "meta")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etag"), []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Config returns the settings of the bucket, with a URL that reaches the server.
func Config(url string) s3.Config {
	return s3.Config{Endpoint: url, Bucket: BucketName, Region: "us-east-1"}
}

// Key returns the server's key.
func Key() s3.Key { return s3.NewKey(keyID, keySecret) }

// KeyFile writes the server's key to a file and returns its path.
func KeyFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s3-key")
	if err := os.WriteFile(path, fmt.Appendf(nil, "%s\n%s\n", keyID, keySecret), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
