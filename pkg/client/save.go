package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// ManifestFile is the name of the manifest that Save writes, last.
const ManifestFile = "manifest.json"

// Save writes the files of a set and its manifest into a directory. Each file is
// checked against its digest in the manifest.
func (c *Client) Save(ctx context.Context, id, dir string) error {
	a, err := c.get(ctx, "/v1/images/"+url.PathEscape(id))
	if err != nil {
		return err
	}
	var m struct {
		Variants []struct {
			Key    string `json:"key"`
			SHA256 string `json:"sha256"`
		} `json:"variants"`
	}
	if err := json.Unmarshal(a.body, &m); err != nil {
		return fmt.Errorf("the answer of %s is not a manifest: %w", c.name, err)
	}
	for _, v := range m.Variants {
		name, ok := strings.CutPrefix(v.Key, id+"/")
		if !ok || name != filepath.Base(name) || strings.HasPrefix(name, ".") || name == ManifestFile {
			return fmt.Errorf("the manifest of %s has the key %.100q, which is none of its files", id, v.Key)
		}
		file, err := c.get(ctx, "/files/"+v.Key)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(file.body); hex.EncodeToString(sum[:]) != v.SHA256 {
			return fmt.Errorf("%s differs from its digest in the manifest", v.Key)
		}
		if err := os.WriteFile(filepath.Join(dir, name), file.body, 0o644); err != nil { //nolint:gosec // results are for others too
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, ManifestFile), a.body, 0o644) //nolint:gosec // the same
}
