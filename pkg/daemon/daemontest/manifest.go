package daemontest

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Manifest is the manifest in an answer of one of the statuses.
func (a Answer) Manifest(t *testing.T, statuses ...int) manifest.Manifest {
	t.Helper()
	var m manifest.Manifest
	a.Decode(t, &m, statuses...)
	return m
}

// Expected is what a test knows of its source.
type Expected struct {
	Source        []byte
	Filename      string
	Format        string
	Width, Height int // as seen
	Frames        int
	base          string // of the URLs; "" is the daemon's own address
}

// CheckManifest checks every field of a manifest by the rules of the contract, computed
// here again, and every file that it names.
func (c *Client) CheckManifest(m manifest.Manifest, want Expected) {
	c.T.Helper()
	t := c.T
	digest := sha256.Sum256(want.Source)
	recipe := c.Config.Ladder.Recipe()
	fingerprint := recipe.Fingerprint()
	both := sha256.Sum256(append(digest[:], fingerprint[:]...))
	id := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(both[:16]))
	wantSource := manifest.Source{
		SHA256: hex.EncodeToString(digest[:]), Filename: want.Filename, Format: want.Format, Bytes: int64(len(want.Source)),
		Width: want.Width, Height: want.Height, Frames: want.Frames,
	}
	if m.Version != 1 || m.ID != id || m.Recipe != hex.EncodeToString(fingerprint[:4]) {
		t.Errorf("version %d, id %s, recipe %s; want 1, %s, %x", m.Version, m.ID, m.Recipe, id, fingerprint[:4])
	}
	if m.Source != wantSource || m.Width != want.Width || m.Height != want.Height {
		t.Errorf("source %+v, %d × %d; want %+v", m.Source, m.Width, m.Height, wantSource)
	}
	if m.CreatedAt.Before(c.began) || m.CreatedAt.After(time.Now()) {
		t.Errorf("created_at is %v, want it between the start of the test at %v and now", m.CreatedAt, c.began)
	}
	if n := len(m.Placeholder.ThumbHash); n < 5 || n > 25 {
		t.Errorf("the ThumbHash has %d bytes, want 5 to 25", n)
	}
	c.checkVariants(m, want)
	c.CheckDir(m)
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

func (c *Client) checkVariants(m manifest.Manifest, want Expected) {
	c.T.Helper()
	base := want.base
	if base == "" {
		base = c.URL
	}
	var listed []manifest.Variant
	srcset := make(map[ladder.Format]string)
	for _, format := range c.Config.Ladder.Formats {
		var candidates []string
		for _, size := range rungs(c.Config.Ladder.Widths, want.Width, want.Height) {
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
		c.T.Fatalf("%d variants %+v, want %d", len(m.Variants), m.Variants, len(listed))
	}
	for i, v := range m.Variants {
		c.CheckFile(v)
		v.Bytes, v.SHA256 = 0, ""
		if v != listed[i] {
			c.T.Errorf("variant %d is %+v, want %+v", i, v, listed[i])
		}
	}
	for format, candidates := range srcset {
		if m.Srcset[format] != candidates {
			c.T.Errorf("srcset of %s is %q, want %q", format, m.Srcset[format], candidates)
		}
	}
	if len(m.Srcset) != len(srcset) {
		c.T.Errorf("srcset %v, want %v", m.Srcset, srcset)
	}
}

// CheckFile fetches a variant by its key, as the Worker does.
func (c *Client) CheckFile(v manifest.Variant) {
	c.T.Helper()
	a := c.Get("/files/" + v.Key)
	digest := sha256.Sum256(a.Body)
	switch {
	case a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != v.ContentType:
		c.T.Errorf("%s: got %s of %s, want 200 of %s", v.Key, a.Status, a.Header.Get("Content-Type"), v.ContentType)
	case int64(len(a.Body)) != v.Bytes || hex.EncodeToString(digest[:]) != v.SHA256:
		c.T.Errorf("%s: %d bytes with SHA-256 %x, want %d with %s", v.Key, len(a.Body), digest, v.Bytes, v.SHA256)
	}
	if err := CheckFormat(v.Format, a.Body, v.Width, v.Height); err != nil {
		c.T.Errorf("%s: %v", v.Key, err)
	}
}

// CheckDir checks that the served folder has these files and no others.
func (c *Client) CheckDir(m manifest.Manifest) {
	c.T.Helper()
	want := []string{"manifest.json"}
	for _, v := range m.Variants {
		want = append(want, strings.TrimPrefix(v.Key, m.ID+"/"))
	}
	slices.Sort(want)
	if got := c.Names("files", m.ID); !slices.Equal(got, want) {
		c.T.Errorf("the served folder has %v, want %v", got, want)
	}
	c.CheckEmpty("spool")
}
