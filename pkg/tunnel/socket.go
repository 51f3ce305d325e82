package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// socketMode admits the group: cloudflared runs as another user. Until it is
// set, the umask applies, which in the systemd unit admits no one.
const socketMode = 0o660

// Listen opens the unix socket for an external cloudflared. A stale socket is
// replaced, one in use is not.
func Listen(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil, fmt.Errorf("%s: the path is too long for a unix socket (107 bytes)", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: no such directory; systemd creates it for the service (RuntimeDirectory=optimizerd), elsewhere choose another path", filepath.Dir(path))
	case err != nil:
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		_ = l.Close() // no connection was accepted
		return nil, err
	}
	return l, nil
}

// removeStale deletes a socket without a listener.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: not a socket; delete it, or choose another path", path)
	}
	c, err := net.Dial("unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	if err == nil {
		_ = c.Close() // nothing was sent
	}
	return fmt.Errorf("%s: another program is listening there; stop it, or choose another path", path)
}
