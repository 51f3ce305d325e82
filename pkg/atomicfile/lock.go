package atomicfile

import (
	"fmt"
	"os"
	"syscall"
)

// LockDir takes a folder for this process alone, until the file is closed or
// the process ends. It fails at once when another one has it.
func LockDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		return nil, fmt.Errorf("another optimizerd works in %s: stop it, or choose another folder", dir)
	}
	return d, nil
}
