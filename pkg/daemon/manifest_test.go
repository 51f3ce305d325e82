package daemon_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// manifestOf is the manifest in an answer of one of the statuses.
func (a answer) manifestOf(t *testing.T, statuses ...int) manifest.Manifest {
	t.Helper()
	var m manifest.Manifest
	a.into(t, &m, statuses...)
	return m
}

// expected is what a test knows of its source.
type expected struct {
	source        []byte
	filename      string
	format        string
	width, height int // as seen
	frames        int
	base          string // of the URLs; "" is the daemon's own address
}

// holds checks every field of a manifest by the rules of the contract, computed
// here again, and every file that it names.
func (c *client) holds(m manifest.Manifest, want expected) {
	c.t.Helper()
	t := c.t
	digest := sha256.Sum256(want.source)
	recipe := c.config.Ladder.Recipe()
	fingerprint := recipe.Fingerprint()
	both := sha256.Sum256(append(digest[:], fingerprint[:]...))
	id := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(both[:16]))
	wantSource := manifest.Source{
		SHA256: hex.EncodeToString(digest[:]), Filename: want.filename, Format: want.format, Bytes: int64(len(want.source)),
		Width: want.width, Height: want.height, Frames: want.frames,
	}
	if m.Version != 1 || m.ID != id || m.Recipe != hex.EncodeToString(fingerprint[:4]) {
		t.Errorf("version %d, id %s, recipe %s; want 1, %s, %x", m.Version, m.ID, m.Recipe, id, fingerprint[:4])
	}
	if m.Source != wantSource || m.Width != want.width || m.Height != want.height {
		t.Errorf("source %+v, %d × %d; want %+v", m.Source, m.Width, m.Height, wantSource)
	}
	if m.CreatedAt.Before(c.began) || m.CreatedAt.After(time.Now()) {
		t.Errorf("created_at is %v, want it between the start of the test at %v and now", m.CreatedAt, c.began)
	}
	if n := len(m.Placeholder.ThumbHash); n < 5 || n > 25 {
		t.Errorf("the ThumbHash has %d bytes, want 5 to 25", n)
	}
	c.holdsVariants(m, want)
	c.holdsFolder(m)
}

// rungs are the sizes that the contract asks for.
func rungs(widths []int, width, height int) (list [][2]int) {
	add := func(w int) {
		h := max(1, int(math.Round(float64(height)*float64(w)/float64(width))))
		list = append(list, [2]int{w, h})
	}
	for _, w := range widths {
		if w <= width {
			add(w)
		}
	}
	if !slices.Contains(widths, width) && width < widths[len(widths)-1] {
		add(width)
	}
	return list
}

func (c *client) holdsVariants(m manifest.Manifest, want expected) {
	c.t.Helper()
	base := want.base
	if base == "" {
		base = c.url
	}
	var listed []manifest.Variant
	srcset := make(map[ladder.Format]string)
	for _, format := range c.config.Ladder.Formats {
		var candidates []string
		for _, size := range rungs(c.config.Ladder.Widths, want.width, want.height) {
			ext := map[ladder.Format]string{"webp": "webp", "jpeg": "jpg", "avif": "avif"}[format]
			key := fmt.Sprintf("%s/%d.%s", m.ID, size[0], ext)
			if slices.ContainsFunc(m.Omitted, func(o ladder.Omission) bool { return o.Format == format && o.Width == size[0] }) {
				continue
			}
			candidates = append(candidates, fmt.Sprintf("%s %dw", key, size[0]))
			listed = append(listed, manifest.Variant{
				Key: key, URL: base + "/files/" + key, Format: format, ContentType: "image/" + string(format), Width: size[0], Height: size[1],
			})
		}
		if len(candidates) > 0 {
			srcset[format] = strings.Join(candidates, ", ")
		}
	}
	if len(m.Variants) != len(listed) || len(listed) == 0 {
		c.t.Fatalf("%d variants %+v, want %d", len(m.Variants), m.Variants, len(listed))
	}
	for i, v := range m.Variants {
		c.holdsFile(v)
		v.Bytes, v.SHA256 = 0, ""
		if v != listed[i] {
			c.t.Errorf("variant %d is %+v, want %+v", i, v, listed[i])
		}
	}
	for format, candidates := range srcset {
		if m.Srcset[format] != candidates {
			c.t.Errorf("srcset of %s is %q, want %q", format, m.Srcset[format], candidates)
		}
	}
	if len(m.Srcset) != len(srcset) {
		c.t.Errorf("srcset %v, want %v", m.Srcset, srcset)
	}
}

// holdsFile fetches a variant by its key, as the Worker does.
func (c *client) holdsFile(v manifest.Variant) {
	c.t.Helper()
	a := c.get("/files/" + v.Key)
	digest := sha256.Sum256(a.body)
	switch {
	case a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != v.ContentType:
		c.t.Errorf("%s: got %s of %s, want 200 of %s", v.Key, a.Status, a.Header.Get("Content-Type"), v.ContentType)
	case int64(len(a.body)) != v.Bytes || hex.EncodeToString(digest[:]) != v.SHA256:
		c.t.Errorf("%s: %d bytes with SHA-256 %x, want %d with %s", v.Key, len(a.body), digest, v.Bytes, v.SHA256)
	}
	if err := decodes(v.Format, a.body, v.Width, v.Height); err != nil {
		c.t.Errorf("%s: %v", v.Key, err)
	}
}

// decodes reports whether the bytes are a picture of the format and size.
func decodes(format ladder.Format, b []byte, width, height int) error {
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

// holdsFolder checks that the served folder has these files and no others.
func (c *client) holdsFolder(m manifest.Manifest) {
	c.t.Helper()
	want := []string{"manifest.json"}
	for _, v := range m.Variants {
		want = append(want, strings.TrimPrefix(v.Key, m.ID+"/"))
	}
	slices.Sort(want)
	if got := c.names("files", m.ID); !slices.Equal(got, want) {
		c.t.Errorf("the served folder has %v, want %v", got, want)
	}
	c.emptied("spool")
}

// thumbhashText is the placeholder as it stands in the JSON.
func thumbhashText(t *testing.T, body []byte) string {
	t.Helper()
	var m struct{ Placeholder struct{ Thumbhash string } }
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(m.Placeholder.Thumbhash); err != nil {
		t.Errorf("thumbhash %q is not standard base64: %v", m.Placeholder.Thumbhash, err)
	}
	return m.Placeholder.Thumbhash
}
