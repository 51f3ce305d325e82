package durable

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Lock is an exclusive lock on a directory.
type Lock struct{ dir *os.File }

// LockDir locks dir until the lock is closed or the process ends. It does not
// block: it fails if another process holds the lock.
func LockDir(dir string) (*Lock, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("%s is in use by another optimizerd: stop it, or choose another directory", dir)
	}
	return &Lock{d}, nil
}

// Close releases the lock, even if a child that is about to exec still has the
// descriptor.
func (l *Lock) Close() error {
	return errors.Join(syscall.Flock(int(l.dir.Fd()), syscall.LOCK_UN), l.dir.Close())
}
