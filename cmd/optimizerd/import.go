package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/client/cfimages"
	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// importFlags say where the images of import are.
type importFlags struct {
	list, from string
	bucket     bucketFlags
	account    accountFlags
}

func importCommand(o *options) *cobra.Command {
	var (
		d  destination
		in importFlags
	)
	c := &cobra.Command{
		Use:   "import {--from-list FILE | --from s3://BUCKET/PREFIX | --from cloudflare-images}",
		Short: "Import images from a list of URLs, a bucket or Cloudflare Images",
		Long: `Import images into a daemon, and wait until their ladders are made. The output is
that of upload.

--from-list makes the daemon fetch each URL of a list, one per line, by its own rules
(fetch.allow_hosts, fetch.allow_private) and with a lower priority than uploads. Empty
lines, and lines that begin with #, are skipped.

--from s3://BUCKET/PREFIX sends the objects below a prefix, with the last part of
their keys as their names. Objects that are not images are skipped.

--from cloudflare-images sends the images of a Cloudflare Images account, as they
were uploaded, with their file names. The token needs the permission to read
Cloudflare Images.

A journal records what the daemon has accepted. That is neither fetched nor sent again as
long as it is unchanged and the daemon has its image: an interrupted import resumes.`,
		Example: `  optimizerd import --from-list urls.txt
  sort -u urls.txt | optimizerd import --from-list - --to https://img.example.com --token-file token
  optimizerd import --from s3://photos/2026 --s3-endpoint https://s3.eu-central-1.amazonaws.com --s3-region eu-central-1 --s3-key-file key
  optimizerd import --from cloudflare-images --account-id 023e105f4ecef8ad9ca31a8372d0c353 --account-token-file cloudflare-token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			u, err := d.open(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, u.close()) }()
			if in.list != "" {
				return u.importList(cmd, in.list, d)
			}
			source, err := in.open(cmd, o)
			if err != nil {
				return err
			}
			return u.importAll(cmd.Context(), source, d)
		},
	}
	d.addFlags(c)
	in.addFlags(c)
	return c
}

func (f *importFlags) addFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.list, "from-list", "", "`file` with URLs; - is standard input")
	flags.StringVar(&f.from, "from", "", "`place`: s3://BUCKET/PREFIX or cloudflare-images")
	f.bucket.addFlags(c)
	f.account.addFlags(c)
	c.MarkFlagsOneRequired("from", "from-list")
	c.MarkFlagsMutuallyExclusive("from", "from-list")
}

// item is an image in a place that import reads.
type item struct {
	name     string // of all places, for the journal and people
	filename string
	bytes    int64 // 0 if unknown
	modified time.Time
	open     func(context.Context) (io.ReadCloser, error)
}

// place lists its images.
type place func(context.Context) ([]item, error)

// open returns the place that --from names.
func (f *importFlags) open(cmd *cobra.Command, o *options) (place, error) {
	switch {
	case f.from == cloudflareImages:
		return f.account.open()
	case strings.HasPrefix(f.from, bucketScheme):
		c, err := o.load(cmd)
		if err != nil {
			return nil, err
		}
		objects, prefix, err := f.bucket.open(f.from, c)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) ([]item, error) { return listBucket(ctx, objects, prefix, f.from) }, nil
	default:
		return nil, fmt.Errorf("--from: must be s3://BUCKET/PREFIX or %s (got %.200q)", cloudflareImages, f.from)
	}
}

// importAll brings all images of a place, and reports each.
func (u *uploader) importAll(ctx context.Context, list place, d destination) error {
	items, err := list(ctx)
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err != nil:
		return err
	}
	name := func(i item) string { return i.name }
	return reportAll(ctx, d.report(len(items)), batch[item]{items, "images", d.parallel, name, func(ctx context.Context, i item) (outcome, bool) {
		o, err := u.bring(ctx, i)
		return outcomeOf(ctx, i.name, o, err)
	}})
}

// bring downloads one image and sends it, unless the daemon has it already.
func (u *uploader) bring(ctx context.Context, i item) (o outcome, err error) {
	o = outcome{File: i.name, Status: "there", BytesIn: i.bytes}
	known, ok := u.journal.Named(i.name)
	if ok && known.ID != "" && known.Bytes == i.bytes && known.Modified.Equal(i.modified) {
		if there, err := u.client.Has(ctx, known.ID); err != nil || there {
			o.ID = known.ID
			return o, err
		}
	}
	file, err := os.CreateTemp("", "optimizerd-import-*")
	if err != nil {
		return o, diskFault(err)
	}
	defer func() {
		_ = file.Close() // it was only read since it was written
		_ = os.Remove(file.Name())
	}()
	image, err := u.download(ctx, i, file)
	if err != nil {
		return o, err
	}
	if !image {
		return outcome{File: i.name, Status: "skipped", Reason: "not an image"}, nil
	}
	digest, _, err := digestOf(file.Name())
	if err != nil {
		return o, err
	}
	entry := client.Entry{Name: i.name, Bytes: i.bytes, Modified: i.modified, SHA256: hex.EncodeToString(digest[:])}
	return u.deliver(ctx, delivery{path: file.Name(), filename: i.filename, digest: digest}, o, entry)
}

// download copies an image into a file, and begins again when the place cannot be
// reached or the transfer is cut. image is false for what is no image: of that only
// the beginning is read.
func (u *uploader) download(ctx context.Context, i item, to *os.File) (image bool, err error) {
	waits := backoff.NewExponentialBackOff()
	waits.MaxInterval = 30 * time.Second
	image, err = backoff.Retry(ctx, func() (bool, error) {
		body, err := i.open(ctx)
		if err != nil {
			return false, backoff.Permanent(err) // it has made its own attempts
		}
		defer body.Close()
		return copyImage(to, body, hasImageName(i.filename))
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(u.client.GiveUp), backoff.WithNotify(func(err error, _ time.Duration) {
		u.client.Waits("reading " + i.name + " again: " + err.Error())
	}))
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	var final *backoff.PermanentError
	if errors.As(err, &final) {
		err = final.Err
	}
	return image, err
}

// copyImage replaces the content of a file by body, unless that does not begin like
// an image. An image by its name is copied in any case: the daemon says what is
// wrong with it.
func copyImage(to *os.File, body io.Reader, byName bool) (image bool, err error) {
	head := make([]byte, imagefile.HeadSize)
	n, err := io.ReadFull(body, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	if _, ok := imagefile.Sniff(head[:n]); !ok && !byName {
		return false, nil
	}
	if err := to.Truncate(0); err != nil {
		return false, backoff.Permanent(diskFault(err))
	}
	if _, err := to.WriteAt(head[:n], 0); err != nil {
		return false, backoff.Permanent(diskFault(err))
	}
	rest := io.NewOffsetWriter(to, int64(n))
	copied := &readError{Reader: body}
	if _, err := io.Copy(rest, copied); err != nil && copied.err == nil {
		return false, backoff.Permanent(diskFault(err))
	}
	return true, copied.err
}

// readError remembers the error of a reader, to tell it from one of the disk.
type readError struct {
	io.Reader
	err error
}

func (r *readError) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// diskFault says that the directory for temporary files has a problem.
func diskFault(err error) error {
	return fault.Wrap(fault.InsufficientStorage, err, "Cannot write to %s: %s. Set TMPDIR to a directory with more space.", os.TempDir(), reasonOf(err))
}

// listBucket lists the objects below a prefix.
func listBucket(ctx context.Context, objects *s3.Bucket, prefix, address string) (items []item, err error) {
	if prefix != "" {
		prefix += "/"
	}
	root, _, _ := strings.Cut(strings.TrimPrefix(address, bucketScheme), "/")
	for o, err := range objects.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		if strings.HasSuffix(o.Key, "/") {
			continue // stands for a directory
		}
		items = append(items, item{
			name: bucketScheme + root + "/" + o.Key, filename: o.Key[strings.LastIndexByte(o.Key, '/')+1:], bytes: o.Bytes, modified: o.Modified,
			open: func(ctx context.Context) (io.ReadCloser, error) {
				body, _, err := objects.Get(ctx, o.Key, 0, -1)
				return body, err
			},
		})
	}
	return items, nil
}

// accountFlags name an account with Cloudflare Images.
type accountFlags struct{ api, id, tokenFile string }

const cloudflareImages = "cloudflare-images"

func (f *accountFlags) addFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.id, "account-id", "", "`id` of the account of --from cloudflare-images")
	flags.StringVar(&f.tokenFile, "account-token-file", "", "`file` with a token of Cloudflare's API on its first line")
	flags.StringVar(&f.api, "account-api", cfimages.API, "`URL` of the API")
}

func (f *accountFlags) open() (place, error) {
	token, err := readToken("--account-token-file", f.tokenFile)
	if err != nil {
		return nil, err
	}
	account, err := cfimages.New(f.api, f.id, token)
	if err != nil {
		return nil, fmt.Errorf("--from %s: %w", cloudflareImages, err)
	}
	return func(ctx context.Context) (items []item, err error) {
		for image, err := range account.List(ctx) {
			if err != nil {
				return nil, fmt.Errorf("--from %s: %w", cloudflareImages, err)
			}
			if image.Draft {
				continue // never uploaded
			}
			items = append(items, item{
				name: cloudflareImages + ":" + f.id + "/" + image.ID, filename: image.Filename, modified: image.Uploaded,
				open: func(ctx context.Context) (io.ReadCloser, error) { return account.Open(ctx, image.ID) },
			})
		}
		return items, nil
	}, nil
}
