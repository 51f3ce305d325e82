package render

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// History is the fingerprints of all ladders so far, current first. It finds the
// set that an earlier ladder made from a source, since ids are derived from source
// and fingerprint.
type History [][32]byte

// maxHistory bounds the look-ups for one image.
const maxHistory = 100

// OpenHistory returns the history in the file at path, which need not exist, with
// present as its first entry. If the file cannot be written, the history returned
// with the error is still correct.
func OpenHistory(path string, present ladder.Recipe) (History, error) {
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return History{present.Fingerprint()}, fmt.Errorf("read history of ladders: %w", err)
	}
	known := parseHistory(content)
	if len(known) > 0 && known[0] == present.Fingerprint() {
		return known, nil
	}
	h := History{present.Fingerprint()}
	if known == nil { // a new data folder, or that of a version without this file
		known = earlierEngines(present)
	}
	for _, f := range known {
		if f != h[0] && len(h) < maxHistory {
			h = append(h, f)
		}
	}
	if err := durable.Write(path, h.format()); err != nil {
		return h, fmt.Errorf("write history of ladders: %w", err)
	}
	return h, nil
}

// earlierEngines returns the fingerprints of the same ladder with each earlier engine,
// newest first.
func earlierEngines(r ladder.Recipe) (h History) {
	for r.Engine--; r.Engine > 0; r.Engine-- {
		h = append(h, r.Fingerprint())
	}
	return h
}

// parseHistory returns the fingerprints in a file, one a line; other lines are
// skipped.
func parseHistory(content []byte) (h History) {
	for line := range bytes.FieldsSeq(content) {
		if f, err := hex.DecodeString(string(line)); err == nil && len(f) == 32 {
			h = append(h, [32]byte(f))
		}
	}
	return h
}

func (h History) format() (content []byte) {
	for _, f := range h {
		content = append(hex.AppendEncode(content, f[:]), '\n')
	}
	return content
}

// predecessor returns the id of the newest set for which has is true and that an
// earlier ladder made from a source, given its lower-case hex SHA-256; "" if there
// is none, or if recipe is not the current ladder.
func (h History) predecessor(recipe ladder.Recipe, sha256 string, has func(id string) bool) string {
	source, err := hex.DecodeString(sha256)
	if err != nil || len(source) != 32 || len(h) == 0 || recipe.Fingerprint() != h[0] {
		return ""
	}
	earlier := slices.IndexFunc(h[1:], func(f [32]byte) bool { return has(ladder.ID([32]byte(source), f)) })
	if earlier < 0 {
		return ""
	}
	return ladder.ID([32]byte(source), h[1+earlier])
}
