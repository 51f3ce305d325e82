package s3

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Config names a bucket.
type Config struct {
	Endpoint string `mapstructure:"endpoint"` // URL of the store; "" for none
	Bucket   string `mapstructure:"bucket"`
	Region   string `mapstructure:"region"`
	KeyFile  string `mapstructure:"key_file"`
}

// DefaultConfig uses no store.
func DefaultConfig() Config { return Config{Region: "auto"} }

// Enabled reports whether a store is configured.
func (c Config) Enabled() bool { return c.Endpoint != "" }

// bucketName matches the names that every store accepts.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	if !c.Enabled() {
		if c.Bucket != "" {
			return errors.New("storage.s3.endpoint: must be set together with storage.s3.bucket, such as https://ACCOUNT.r2.cloudflarestorage.com")
		}
		return nil
	}
	var errs []error
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		errs = append(errs, fmt.Errorf("storage.s3.endpoint: must be a URL without a path, like https://ACCOUNT.r2.cloudflarestorage.com (got %q)", c.Endpoint))
	}
	if !bucketName.MatchString(c.Bucket) {
		errs = append(errs, fmt.Errorf("storage.s3.bucket: must be the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens (got %q)", c.Bucket))
	}
	if c.Region == "" {
		errs = append(errs, errors.New("storage.s3.region: must be auto, or the region of the bucket, such as eu-central-1"))
	}
	return errors.Join(errs...)
}

// Key is the credential of a store: an access key id and its secret access key.
type Key struct{ ID, secret string }

// NewKey returns the key in the two lines of a key file.
func NewKey(id, secret string) Key { return Key{id, secret} }

// String hides the secret.
func (k Key) String() string { return k.ID + " [redacted]" }

// GoString hides the secret from %#v.
func (k Key) GoString() string { return k.String() }
