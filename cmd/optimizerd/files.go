package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// foundFile is a regular file to optimize.
type foundFile struct {
	path   string
	walked bool // found in a directory, so it need not be an image
}

func pathOf(f foundFile) string { return f.path }

// imageNames are the extensions of the accepted formats.
var imageNames = []string{
	".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".heic", ".heif", ".hif", ".avif", ".tif", ".tiff",
}

func hasImageName(path string) bool {
	return slices.Contains(imageNames, strings.ToLower(filepath.Ext(path)))
}

// findFiles returns the regular files among the arguments and in those that are
// directories. settled are the outcomes of everything else. The output
// directory is not searched.
func findFiles(args []string, output string) (files []foundFile, settled []outcome) {
	skip, _ := os.Stat(output) // without it there is nothing to skip
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			settled = append(settled, failed(arg, fault.NotFound, "The file cannot be opened: "+errors.Unwrap(err).Error()+"."))
		case info.Mode().IsRegular():
			files = append(files, foundFile{path: arg})
		case info.IsDir():
			found, others := walk(arg, skip)
			files, settled = append(files, found...), append(settled, others...)
		default:
			settled = append(settled, failed(arg, fault.InvalidRequest, "This is a "+kindOf(info.Mode())+", not a file."))
		}
	}
	return files, settled
}

func walk(dir string, skip fs.FileInfo) (files []foundFile, settled []outcome) {
	root := dir
	if !os.IsPathSeparator(dir[len(dir)-1]) {
		root += string(filepath.Separator) // follows a symlink that the user has named
	}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { // the function returns no error but SkipDir
		switch {
		case err != nil:
			var cause *fs.PathError
			text := err.Error()
			if errors.As(err, &cause) {
				text = cause.Err.Error()
			}
			settled = append(settled, failed(path, fault.NotFound, "The directory cannot be read: "+text+"."))
			return fs.SkipDir
		case d.IsDir():
			if info, err := d.Info(); err == nil && path != root && skip != nil && os.SameFile(info, skip) {
				settled = append(settled, outcome{File: path, Status: "skipped", Reason: "output directory"})
				return fs.SkipDir
			}
		case d.Type().IsRegular():
			files = append(files, foundFile{path, true})
		default:
			settled = append(settled, outcome{File: path, Status: "skipped", Reason: kindOf(d.Type())})
		}
		return nil
	})
	return files, settled
}

// kindOf names what is not a regular file.
func kindOf(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeSymlink:
		return "symlink"
	case fs.ModeNamedPipe:
		return "named pipe"
	case fs.ModeSocket:
		return "socket"
	default:
		return "device"
	}
}
