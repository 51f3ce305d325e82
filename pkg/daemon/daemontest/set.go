package daemontest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"net/http"
	"os"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// CheckSet checks the set in the response to an upload: the manifest against the
// source, and every file against the manifest, the directory, and its format.
func (c *Client) CheckSet(a Answer, source []byte) (manifest.Manifest, error) {
	var m manifest.Manifest
	if err := json.Unmarshal(a.Body, &m); err != nil {
		return m, err
	}
	digest := sha256.Sum256(source)
	if m.Source.SHA256 != hex.EncodeToString(digest[:]) || m.Source.Bytes != int64(len(source)) {
		return m, fmt.Errorf("the manifest is of %s, want %x", m.Source.SHA256, digest)
	}
	planned := 0
	for range c.Config.Ladder.Formats {
		planned += len(rungs(c.Config.Ladder.Widths, m.Width, m.Height))
	}
	if len(m.Variants)+len(m.Omitted) != planned {
		return m, fmt.Errorf("%d variants and %d omitted for %d × %d, want %d in all", len(m.Variants), len(m.Omitted), m.Width, m.Height, planned)
	}
	for _, v := range m.Variants {
		if err := c.checkFile(v); err != nil {
			return m, fmt.Errorf("%s: %w", v.Key, err)
		}
	}
	if c.Config.Storage.S3.Enabled() {
		return m, nil // there is no directory
	}
	entries, err := os.ReadDir(c.Path("files", m.ID))
	if err != nil || len(entries) != len(m.Variants)+1 {
		return m, fmt.Errorf("the served directory has %v, %w; want %d files and the manifest", entries, err, len(m.Variants))
	}
	return m, nil
}

// checkFile checks the file of a variant as served.
func (c *Client) checkFile(v manifest.Variant) error {
	file, err := c.Try(http.MethodGet, "/files/"+v.Key, nil)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(file.Body)
	if file.StatusCode != http.StatusOK || int64(len(file.Body)) != v.Bytes || hex.EncodeToString(digest[:]) != v.SHA256 {
		return fmt.Errorf("got %s, %d bytes with SHA-256 %x; want %d with %s", file.Status, len(file.Body), digest, v.Bytes, v.SHA256)
	}
	if err := CheckFormat(v.Format, file.Body, v.Width, v.Height); err != nil {
		return err
	}
	return checkSize(v.Format, file.Body, v.Width, v.Height)
}

// checkSize checks the size in the header of a WebP or AVIF.
func checkSize(format ladder.Format, b []byte, width, height int) error {
	le24 := func(at int) int { return int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16 }
	be32 := func(at int) int { return int(b[at])<<24 | int(b[at+1])<<16 | int(b[at+2])<<8 | int(b[at+3]) }
	w, h := width, height
	switch {
	case format == ladder.WebP && string(b[12:16]) == "VP8X":
		w, h = le24(24)+1, le24(27)+1
	case format == ladder.WebP && string(b[12:16]) == "VP8L":
		bits := le24(21) | int(b[24])<<24
		w, h = bits&0x3fff+1, bits>>14&0x3fff+1
	case format == ladder.WebP:
		w, h = le24(26)&0x3fff, le24(28)&0x3fff
	case format == ladder.AVIF:
		at := bytes.Index(b, []byte("ispe"))
		if at < 0 || at+16 > len(b) {
			return fmt.Errorf("the AVIF has no size")
		}
		w, h = be32(at+8), be32(at+12)
	}
	if w != width || h != height {
		return fmt.Errorf("the %s is %d × %d, want %d × %d", format, w, h, width, height)
	}
	return nil
}

// CheckFormat returns an error unless b is an image of this format and size.
func CheckFormat(format ladder.Format, b []byte, width, height int) error {
	switch format {
	case ladder.JPEG:
		img, err := jpeg.Decode(bytes.NewReader(b))
		if err != nil {
			return err
		}
		if size := img.Bounds().Size(); size.X != width || size.Y != height {
			return fmt.Errorf("the JPEG is %v, want %d × %d", size, width, height)
		}
	case ladder.WebP:
		if len(b) < 30 || string(b[:4]) != "RIFF" || string(b[8:15]) != "WEBPVP8" || int(binary.LittleEndian.Uint32(b[4:])) != len(b)-8 {
			return fmt.Errorf("%.30q does not start a WebP of %d bytes", b, len(b))
		}
	case ladder.AVIF:
		if len(b) < 12 || string(b[4:12]) != "ftypavif" {
			return fmt.Errorf("%.12q does not start an AVIF", b)
		}
	}
	return nil
}
