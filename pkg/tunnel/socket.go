package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// socketMode lets the group in: cloudflared runs as another user.
const socketMode = 0o660

// Listen opens the unix socket for a cloudflared beside the daemon. One that
// an earlier process left behind is replaced, one at which somebody listens is
// not.
func Listen(path string) (net.Listener, error) {
	if err := clear(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EINVAL) {
		return nil, fmt.Errorf("%s: the path is too long for a unix socket (107 bytes)", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		_ = l.Close() // nothing was accepted
		return nil, err
	}
	return l, nil
}

// clear removes a socket of which the other end is gone.
func clear(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: there is something else than a socket; remove it, or choose another path", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close() // nothing was sent
		return fmt.Errorf("%s: another program listens there; stop it, or choose another path", path)
	}
	return os.Remove(path)
}
