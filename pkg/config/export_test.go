package config

import "testing"

// SetService replaces where the service's configuration and credentials are, until
// the test ends.
func SetService(t *testing.T, config, credentials string) {
	old := service
	service.config, service.credentials = config, credentials
	t.Cleanup(func() { service = old })
}
