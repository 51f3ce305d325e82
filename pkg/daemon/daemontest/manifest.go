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

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Manifest returns the manifest in a response with one of the statuses.
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
	Width, Height int // as displayed
	Frames        int
}

// CheckManifest checks every field of a manifest against the rules of the contract,
// recomputed here, and every file that it names.
func (c *Client) CheckManifest(got manifest.Manifest, e Expected) {
	c.T.Helper()
	digest := sha256.Sum256(e.Source)
	recipe := c.Config.Ladder.Recipe()
	fingerprint := recipe.Fingerprint()
	both := sha256.Sum256(append(digest[:], fingerprint[:]...))
	want := manifest.Manifest{
		Version: 1,
		ID:      strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(both[:16])),
		Recipe:  hex.EncodeToString(fingerprint[:4]),
		Source: manifest.Source{
			SHA256: hex.EncodeToString(digest[:]), Filename: e.Filename, Format: e.Format, Bytes: int64(len(e.Source)),
			Width: e.Width, Height: e.Height, Frames: e.Frames,
			TakenAt: got.Source.TakenAt, // unknown here
		},
		Width: e.Width, Height: e.Height,
		Variants: c.variants(got),
		Srcset:   make(map[ladder.Format]string),
		// Unknown here:
		CreatedAt: got.CreatedAt, Placeholder: got.Placeholder, Omitted: got.Omitted, Timings: got.Timings,
	}
	for _, v := range want.Variants {
		want.Srcset[v.Format] = strings.TrimPrefix(want.Srcset[v.Format]+fmt.Sprintf(", %s %dw", v.Key, v.Width), ", ")
	}
	without := got
	without.Variants = slices.Clone(got.Variants)
	for i := range without.Variants {
		c.CheckFile(without.Variants[i])
		without.Variants[i].Bytes, without.Variants[i].SHA256 = 0, "" // checked against the file
	}
	if diff := cmp.Diff(want, without); diff != "" {
		c.T.Errorf("the manifest differs (-want +got):\n%s", diff)
	}
	if len(got.Variants) == 0 {
		c.T.Error("the set has no variants")
	}
	if got.CreatedAt.Before(c.began) || got.CreatedAt.After(time.Now()) {
		c.T.Errorf("created_at is %v, want it between the start of the test at %v and now", got.CreatedAt, c.began)
	}
	if n := len(got.Placeholder.ThumbHash); n < 5 || n > 25 {
		c.T.Errorf("the ThumbHash has %d bytes, want 5 to 25", n)
	}
	c.CheckDir(got)
}

// rungs returns the sizes required by the contract.
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

// variants returns the variants required by the contract, except those that m omits,
// without their sizes and digests.
func (c *Client) variants(m manifest.Manifest) (list []manifest.Variant) {
	for _, format := range c.Config.Ladder.Formats {
		for _, size := range rungs(c.Config.Ladder.Widths, m.Source.Width, m.Source.Height) {
			if slices.ContainsFunc(m.Omitted, func(o ladder.Omission) bool { return o.Format == format && o.Width == size[0] }) {
				continue
			}
			ext := map[ladder.Format]string{"webp": "webp", "jpeg": "jpg", "avif": "avif"}[format]
			key := fmt.Sprintf("%s/%d.%s", m.ID, size[0], ext)
			list = append(list, manifest.Variant{
				Key: key, URL: c.URL + "/files/" + key, Format: format, ContentType: "image/" + string(format), Width: size[0], Height: size[1],
			})
		}
	}
	return list
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

// CheckDir checks that the served directory has exactly the files of a set.
func (c *Client) CheckDir(m manifest.Manifest) {
	c.T.Helper()
	want := []string{"manifest.json"}
	for _, v := range m.Variants {
		want = append(want, strings.TrimPrefix(v.Key, m.ID+"/"))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, c.Names("files", m.ID)); diff != "" {
		c.T.Errorf("the served directory differs (-want +got):\n%s", diff)
	}
	c.CheckEmpty("spool")
}
