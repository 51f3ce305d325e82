package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

// destination are the flags of the commands that bring images to a daemon.
type destination struct {
	to        string
	tokenFile string
	journal   string
	parallel  int
	asJSON    bool
}

func (d *destination) addFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&d.to, "to", "http://127.0.0.1:8080", "`URL` of the daemon")
	flags.StringVar(&d.tokenFile, "token-file", "", "`file` with the daemon's token on its first line")
	flags.StringVar(&d.journal, "journal", "", "`file` that records what the daemon has accepted (default: one for each URL, in $XDG_STATE_HOME/optimizerd)")
	flags.IntVarP(&d.parallel, "parallel", "j", 4, "`number` of images to send at once")
	flags.BoolVar(&d.asJSON, "json", false, "print lines of JSON even on a terminal")
}

// report returns the report of n files.
func (d *destination) report(n int) *report { return newReport(os.Stdout, os.Stderr, n, d.asJSON) }

// uploader sends files to a daemon, each once.
type uploader struct {
	client  *client.Client
	journal *client.Journal
	errOut  io.Writer

	journalFailed atomic.Bool
}

func (d *destination) open(errOut io.Writer) (*uploader, error) {
	if d.parallel < 1 || d.parallel > 64 {
		return nil, fmt.Errorf("--parallel must be from 1 to 64 (got %d)", d.parallel)
	}
	token, err := readToken("--token-file", d.tokenFile)
	if err != nil {
		return nil, err
	}
	c, err := client.New(d.to, token)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	c.Waits = func(reason string) { fmt.Fprintln(errOut, "optimizerd: waiting:", printable(reason)) }
	path := d.journal
	if path == "" {
		if path, err = defaultJournal(d.to); err != nil {
			return nil, err
		}
	}
	journal, err := client.OpenJournal(path)
	if err != nil {
		return nil, err
	}
	return &uploader{client: c, journal: journal, errOut: errOut}, nil
}

// defaultJournal returns the journal of a daemon: in the state directory of
// systemd or of the user.
func defaultJournal(to string) (string, error) {
	dir := os.Getenv("STATE_DIRECTORY")
	if dir == "" {
		dir = os.Getenv("XDG_STATE_HOME")
		if dir == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("no place for the journal, name one with --journal: %w", err)
			}
			dir = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(dir, "optimizerd")
	}
	sum := sha256.Sum256([]byte(strings.TrimRight(to, "/")))
	return filepath.Join(dir, "arrived-"+hex.EncodeToString(sum[:6])+".jsonl"), nil
}

func (u *uploader) close() error {
	u.client.Close()
	err := u.journal.Close()
	if u.journalFailed.Load() {
		err = errors.New("the journal lacks some of what has arrived")
	}
	return err
}

// remember adds an entry to the journal. If that fails, for example on a full disk,
// the accepted image is not a failure: the next run only checks it again.
func (u *uploader) remember(e client.Entry) {
	if err := u.journal.Add(e); err != nil && !u.journalFailed.Swap(true) {
		fmt.Fprintf(u.errOut, "optimizerd: cannot write the journal: %v; the next run asks the daemon again for what has arrived\n", err)
	}
}

func uploadCommand() *cobra.Command {
	var d destination
	c := &cobra.Command{
		Use:   "upload FILES…",
		Short: "Send files to a daemon",
		Long: `Send files, and the images in directories, to a daemon, with their names, and wait
until their ladders are made. The output is that of optimize: lines and a progress
bar on a terminal, otherwise a line of JSON for each file.

A journal records accepted files by their digest. A file that was sent before is not
sent again as long as the daemon has its image, whatever its name, so an interrupted
upload resumes. While the daemon is busy, stopping or unreachable, upload retries, and
gives up on a file after 10 minutes.

After Ctrl-C the files in progress may have been accepted; the next run detects that.`,
		Example: `  optimizerd upload ~/Pictures/2026
  optimizerd upload --to https://img.example.com --token-file token *.jpg | jq -r .id`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u, err := d.open(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return errors.Join(u.files(cmd.Context(), args, d), u.close())
		},
	}
	d.addFlags(c)
	return c
}

// files sends files and reports each.
func (u *uploader) files(ctx context.Context, args []string, d destination) error {
	files, settled := findFiles(args, "")
	report := d.report(len(files))
	for _, o := range settled {
		report.add(o)
	}
	return reportAll(ctx, report, batch[foundFile]{files, "files", d.parallel, pathOf, u.file})
}

// file returns what became of a file. ok is false if ctx ended first.
func (u *uploader) file(ctx context.Context, f foundFile) (o outcome, ok bool) {
	o, err := u.send(ctx, f)
	return outcomeOf(ctx, f.path, o, err)
}

func (u *uploader) send(ctx context.Context, f foundFile) (o outcome, err error) {
	name, err := filepath.Abs(f.path)
	if err != nil {
		return o, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return o, fault.New(fault.NotFound, "The file cannot be opened: %s.", reasonOf(err))
	}
	entry := client.Entry{Name: name, Bytes: info.Size(), Modified: info.ModTime()}
	digest, image, err := digestOf(name)
	switch {
	case err != nil:
		return o, fault.New(fault.NotFound, "The file cannot be read: %s.", reasonOf(err))
	case !image && f.walked && !hasImageName(name):
		return outcome{File: f.path, Status: "skipped", Reason: "not an image"}, nil
	}
	entry.SHA256 = hex.EncodeToString(digest[:])
	o = outcome{File: f.path, Status: "there", BytesIn: info.Size()}
	return u.deliver(ctx, delivery{path: name, filename: filepath.Base(name), digest: digest}, o, entry)
}

// delivery is a file that is sent under a name.
type delivery struct {
	path, filename string
	digest         [sha256.Size]byte
}

// deliver sends a file, unless the daemon has its image, and completes its outcome
// and its entry in the journal.
func (u *uploader) deliver(ctx context.Context, d delivery, o outcome, entry client.Entry) (_ outcome, err error) {
	if o.ID, err = u.arrived(ctx, entry.SHA256); err != nil {
		return o, err
	}
	if o.ID != "" {
		entry.ID = o.ID
		u.remember(entry)
		return o, nil
	}
	made, err := u.client.Upload(ctx, d.path, d.filename, d.digest)
	if err != nil {
		var refused *fault.Error
		if errors.As(err, &refused) && !refused.Code.Temporary() && ctx.Err() == nil {
			entry.Code, entry.Message = string(refused.Code), refused.Detail
			u.remember(entry)
		}
		return o, err
	}
	if o.ID, o.Variants = made.ID, len(made.Variants); made.Made {
		o.Status = "made"
	}
	for _, v := range made.Variants {
		o.BytesOut += v.Bytes
	}
	entry.ID = made.ID
	u.remember(entry)
	return o, nil
}

// arrived returns the id of the set that an earlier run made of these bytes, or "" if
// there is none any more.
func (u *uploader) arrived(ctx context.Context, sha256 string) (id string, err error) {
	known, ok := u.journal.Arrived(sha256)
	if !ok {
		return "", nil
	}
	there, err := u.client.Has(ctx, known.ID)
	if err != nil || !there {
		return "", err
	}
	return known.ID, nil
}

// digestOf returns the SHA-256 of a file, and whether it begins like an image.
func digestOf(path string) (digest [sha256.Size]byte, image bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return digest, false, err
	}
	defer f.Close()
	head := make([]byte, imagefile.HeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return digest, false, err
	}
	_, image = imagefile.Sniff(head[:n])
	hash := sha256.New()
	_, _ = hash.Write(head[:n]) // never fails
	_, err = io.Copy(hash, f)
	hash.Sum(digest[:0])
	return digest, image, err
}

// reasonOf returns an error about a file without its path.
func reasonOf(err error) string {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return err.Error()
}
