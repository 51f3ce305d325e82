package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Lock is a folder that this process has for itself.
type Lock struct{ dir *os.File }

// LockDir takes a folder for this process alone, until the lock is closed or
// the process ends. It fails at once when another one has it.
func LockDir(dir string) (*Lock, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		return nil, fmt.Errorf("another optimizerd works in %s: stop it, or choose another folder", dir)
	}
	return &Lock{d}, nil
}

// Close gives the folder back, also where a child that is about to start its
// program still has the descriptor.
func (l *Lock) Close() error {
	return errors.Join(syscall.Flock(int(l.dir.Fd()), syscall.LOCK_UN), l.dir.Close())
}
