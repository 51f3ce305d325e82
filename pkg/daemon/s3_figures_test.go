//go:build versitygw

package daemon_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

var s3Uploads = flag.Int("s3.uploads", 1, "uploads whose time in a bucket and in a directory is measured")

// What a bucket adds to the time from the last byte of an upload to its manifest. Only
// that all files are made is asserted.
func TestS3TimeOfAnUploadBesideADirectory(t *testing.T) {
	ladder := func(c *config.Config) { c.Ladder.Widths = config.Default().Ladder.Widths }
	bucket := daemontest.Start(t, inBucket(s3test.Start(t).URL), ladder, daemontest.OneCodec)
	directory := daemontest.Start(t, ladder, daemontest.OneCodec)
	photo := daemontest.BimgImage(t, "test_exif_full.jpg")
	total := regexp.MustCompile(`total;dur=([0-9.]+)`)
	took := make(map[*daemontest.Server][]float64)
	for i := range *s3Uploads {
		source := fmt.Appendf(bytes.Clone(photo), "%d", i) // the same image, another source
		for _, s := range []*daemontest.Server{directory, bucket} {
			a := s.Upload(source)
			if m := a.Manifest(t, http.StatusCreated); len(m.Variants) != 14 {
				t.Fatalf("%d files, want 14", len(m.Variants))
			}
			ms, err := strconv.ParseFloat(total.FindStringSubmatch(a.Header.Get("Server-Timing"))[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			took[s] = append(took[s], ms)
		}
	}
	median := func(s *daemontest.Server) float64 {
		slices.Sort(took[s])
		return took[s][len(took[s])/2]
	}
	figure(t, fmt.Sprintf("last byte to manifest, 14 files of a photo of 12 MP, median of %d", *s3Uploads), "%.0f ms in a bucket, %.0f ms in a directory", median(bucket), median(directory))
}
