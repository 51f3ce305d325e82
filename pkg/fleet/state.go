package fleet

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/optimizerd/optimizerd/pkg/httpapi/signedurl"
)

// URLKey returns the key with which all nodes sign file URLs.
func (f *Fleet) URLKey() (key signedurl.Key, err error) {
	_, _ = rand.Read(key[:]) // never fails
	_, err = f.state.put("url-key", key[:], 0, 0)
	if !errors.Is(err, errChanged) {
		return key, err
	}
	v, err := f.state.get("url-key")
	if err != nil {
		return key, err
	}
	if len(v.data) != len(key) {
		return key, fmt.Errorf("the fleet's url-key has %d bytes, want %d", len(v.data), len(key))
	}
	return signedurl.Key(v.data), nil
}
