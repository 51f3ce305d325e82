package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

// asideDir holds the sets that were set aside.
const asideDir = "files/" + publish.AsideDir

// sets adds the published sets, and the originals of those that are damaged.
func (b *backup) sets(ctx context.Context) error {
	for _, dir := range []string{"files", asideDir} {
		sets, err := os.ReadDir(b.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, s := range sets {
			if !ladder.ValidID(s.Name()) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := b.set(ctx, dir, s.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// path returns the path of a file by its name in the data folder.
func (b *backup) path(name string) string { return filepath.Join(b.Dir, filepath.FromSlash(name)) }

var errAside = errors.New("this set was set aside as damaged, and its image was not made again")

// set adds a set, or reports that it is damaged and adds its original.
func (b *backup) set(ctx context.Context, dir, id string) error {
	name, err := path.Join(dir, id), error(&localError{errAside})
	if dir == asideDir {
		if _, err := os.Lstat(b.path("files/" + id)); err == nil {
			return nil // made again
		}
	} else {
		name, err = b.sound(ctx, id)
		if isLocal(err) { // it may have been deleted and made again meanwhile
			name, err = b.sound(ctx, id)
		}
	}
	if !isLocal(err) {
		return err
	}
	if _, err := os.Lstat(b.path(path.Join(dir, id))); errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	b.damaged(name, err)
	return b.aside(ctx, dir, id)
}

// sound adds a set if all of its files are sound. Otherwise it returns the name of the
// one that is not.
func (b *backup) sound(ctx context.Context, id string) (name string, err error) {
	name = path.Join("files", id, manifest.FileName)
	content, err := os.ReadFile(b.path(name))
	if err != nil {
		return name, &localError{err}
	}
	m, err := manifest.Decode(content)
	if err == nil && m.ID != id {
		err = fmt.Errorf("it is the manifest of %s", m.ID)
	}
	if err != nil {
		return name, &localError{err}
	}
	for _, v := range m.Variants {
		if _, err := b.blob(ctx, "files/"+v.Key, v.SHA256); err != nil {
			return "files/" + v.Key, err
		}
	}
	e := entry{Path: name, SHA256: digestOf(content), Bytes: int64(len(content))}
	if _, err := b.blob(ctx, name, e.SHA256); err != nil {
		return name, err
	}
	original := "originals/" + id
	switch _, err := b.blob(ctx, original, m.Source.SHA256); {
	case err == nil:
		e.Original = true
		b.mark(e.SHA256, neededWithOriginal)
		b.totals.Originals++
	case errors.Is(err, fs.ErrNotExist): // not kept
	case isLocal(err):
		b.damaged(original, err)
	default:
		return original, err
	}
	b.found = append(b.found, e)
	b.totals.Sets++
	b.variants(id)
	return name, nil
}

// aside adds the original of a set that is damaged: the image can be made again from it.
// It is restored as that of a set that was set aside.
func (b *backup) aside(ctx context.Context, dir, id string) error {
	original := "originals/" + id
	digest, err := digestOfFile(b.path(original))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // not kept
	case err != nil:
		b.damaged(original, err)
		return nil
	}
	content, _ := os.ReadFile(b.path(path.Join(dir, id, manifest.FileName))) // it may be what is damaged
	if m, err := manifest.Decode(content); err == nil && m.ID == id && m.Source.SHA256 != digest {
		b.damaged(original, errDamaged)
		return nil
	}
	bytes, err := b.blob(ctx, original, digest)
	if isLocal(err) {
		b.damaged(original, err)
		return nil
	}
	if err != nil {
		return err
	}
	b.found = append(b.found,
		entry{Path: path.Join(asideDir, id, manifest.FileName), Content: content},
		entry{Path: original, SHA256: digest, Bytes: bytes})
	b.totals.Originals++
	return nil
}

// variants adds the records of what was made on demand from an image. They are empty
// files: their names say all.
func (b *backup) variants(id string) {
	dir := path.Join("files", id, catalog.VariantsDir)
	entries, err := os.ReadDir(b.path(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.damaged(dir, err)
	}
	for _, e := range entries {
		if ladder.ValidID(e.Name()) {
			b.found = append(b.found, entry{Path: path.Join(dir, e.Name())})
			b.totals.Records++
		}
	}
}
