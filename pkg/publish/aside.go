package publish

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/durable"
)

// AsideDir is the directory, within the served one, of damaged sets. They are
// neither served nor listed; each is deleted when its image is made again, or by
// Delete. Their originals stay.
const AsideDir = ".damaged"

// damagedError is the error of a manifest that does not belong to its set.
type damagedError struct{ error }

func (e *damagedError) Unwrap() error { return e.error }

// damaged reports whether err is about the content of a set: its bytes are wrong
// or cannot be read from the disk. Trying again does not help.
func damaged(err error) bool {
	var d *damagedError
	return errors.As(err, &d) || Lost(err)
}

// Lost reports whether an error of reading a file means that its bytes are lost. After
// another one, such as that of a missing permission, the file may be sound.
func Lost(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EUCLEAN) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTDIR)
}

func (s *Store) aside(id string) string { return filepath.Join(s.config.Dir, AsideDir, id) }

func (s *Store) isAside(id string) bool {
	_, err := os.Lstat(s.aside(id))
	return err == nil
}

// setAside moves a damaged set away, so that its image can be made again.
func (s *Store) setAside(id string, cause error) {
	s.moves.Lock()
	defer s.moves.Unlock()
	log := s.log.With(zap.String("image_id", id), zap.NamedError("damage", cause))
	s.Drop(id) // even if it cannot be moved: publishing replaces it
	if err := SetAside(s.config.Dir, id); err != nil {
		log.Error("damaged image set cannot be set aside", zap.Error(err))
		return
	}
	log.Error("damaged image set aside; upload the image again")
}

// SetAside moves the set id from a served directory to its AsideDir. A daemon
// that has the directory open notices. A set that is gone already is not an
// error.
func SetAside(dir, id string) error {
	to := filepath.Join(dir, AsideDir, id)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err := durable.Rename(filepath.Join(dir, id), to)
	if errors.Is(err, fs.ErrExist) { // of an earlier damage
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		err = durable.Rename(filepath.Join(dir, id), to)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
