package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// bucketFlags say how to reach the store of an s3:// address. What is not given
// is that of storage.s3.
type bucketFlags struct{ endpoint, region, keyFile string }

const bucketScheme = "s3://"

func (f *bucketFlags) addFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.endpoint, "s3-endpoint", "", "`URL` of the store of s3://… (default: storage.s3.endpoint)")
	flags.StringVar(&f.region, "s3-region", "", "`region` of the bucket (default: storage.s3.region)")
	flags.StringVar(&f.keyFile, "s3-key-file", "", "`file` with the access key id and the secret access key, one per line (default: that of storage.s3)")
}

// open opens the bucket of an address like s3://bucket/prefix.
func (f *bucketFlags) open(address string, c config.Config) (objects *s3.Bucket, prefix string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.RawQuery != "" {
		return nil, "", fmt.Errorf("%.200q must be like s3://bucket/prefix", address)
	}
	where := c.Storage.S3
	where.Bucket = u.Host
	if f.endpoint != "" {
		where.Endpoint = f.endpoint
	}
	if f.region != "" {
		where.Region = f.region
	}
	if where.Endpoint == "" {
		return nil, "", errors.New("--s3-endpoint: must be set, such as https://ACCOUNT.r2.cloudflarestorage.com")
	}
	if err := where.Validate(); err != nil {
		return nil, "", err
	}
	key := c.Storage.S3Key
	if f.keyFile != "" {
		read, err := config.ReadS3Key(f.keyFile)
		if err != nil {
			return nil, "", fmt.Errorf("--s3-key-file: %w", err)
		}
		key = &read
	}
	if key == nil {
		return nil, "", errors.New("--s3-key-file: must name a file with the access key id and the secret access key, one per line")
	}
	objects, err = s3.Open(where, *key, nil)
	return objects, strings.Trim(u.Path, "/"), err
}

// connectBucket returns the bucket of storage.s3.
func connectBucket(c config.Config) (*s3.Bucket, error) {
	if !c.Storage.S3.Enabled() {
		return nil, errors.New("storage.s3.endpoint: must be set, with the bucket and the key of the object store")
	}
	if c.Storage.S3Key == nil {
		return nil, errors.New("storage.s3.key_file: must name a file with the access key id and the secret access key, one per line")
	}
	return s3.Open(c.Storage.S3, *c.Storage.S3Key, nil)
}
