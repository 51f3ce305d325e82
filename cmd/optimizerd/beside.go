package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

// besideSuffix ends the name of the directory beside a file that has its results.
const besideSuffix = ".optimized"

// save writes the results of a file beside it. They appear complete, and replace those
// of an earlier state of the file.
func (u *uploader) save(ctx context.Context, path, id string) error {
	if hasResults(path, id) {
		return nil
	}
	staged, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return besideFault(err)
	}
	defer os.RemoveAll(staged)
	if err := u.client.Save(ctx, id, staged); err != nil {
		return besideFault(err)
	}
	if err := os.Chmod(staged, 0o755); err != nil { //nolint:gosec // results are for others too
		return besideFault(err)
	}
	if err := os.RemoveAll(path + besideSuffix); err != nil {
		return besideFault(err)
	}
	return besideFault(os.Rename(staged, path+besideSuffix))
}

// besideFault says that results could not be written, for now; faults of the daemon
// stay as they are.
func besideFault(err error) error {
	if err == nil || fault.CodeOf(err) != fault.Internal {
		return err
	}
	return fault.Wrap(fault.InsufficientStorage, err, "The results cannot be written beside the file: %s.", reasonOf(err))
}

// hasResults reports whether the results beside a file are those of a set.
func hasResults(path, id string) bool {
	b, err := os.ReadFile(filepath.Join(path+besideSuffix, client.ManifestFile))
	var m struct{ ID string }
	return err == nil && json.Unmarshal(b, &m) == nil && m.ID == id
}
