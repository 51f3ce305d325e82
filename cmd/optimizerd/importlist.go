package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/client"
)

// importList has the daemon fetch the URLs of a file and reports each.
func (u *uploader) importList(cmd *cobra.Command, file string, d destination) error {
	var urls []string
	read := make(chan error, 1)
	go func() {
		var err error
		urls, err = openList(cmd, file)
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			return fmt.Errorf("--from-list: %w", err)
		}
	case <-cmd.Context().Done(): // whoever writes the list need not end
		return errInterrupted
	}
	name := func(url string) string { return url }
	return reportAll(cmd.Context(), d.report(len(urls)), batch[string]{urls, "URLs", d.parallel, name, func(ctx context.Context, url string) (outcome, bool) {
		o, err := u.fetch(ctx, url)
		return outcomeOf(ctx, url, o, err)
	}})
}

// openList returns the URLs of a file, or of standard input.
func openList(cmd *cobra.Command, file string) (urls []string, err error) {
	if file == "-" {
		return readList(cmd.InOrStdin())
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readList(f)
}

// readList returns the URLs of a list, each once.
func readList(in io.Reader) (urls []string, err error) {
	seen := make(map[string]bool)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		url := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if url == "" || url[0] == '#' || seen[url] {
			continue
		}
		seen[url] = true
		urls = append(urls, url)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, errors.New("a line is longer than 64 KiB; is it a list of URLs?")
	} else if err != nil {
		return nil, err
	}
	return urls, nil
}

// fetch has the daemon fetch one URL, unless it has the image already.
func (u *uploader) fetch(ctx context.Context, url string) (o outcome, err error) {
	o = outcome{File: url, Status: "there"}
	if known, ok := u.journal.Named(url); ok && known.ID != "" {
		if there, err := u.client.Has(ctx, known.ID); err != nil || there {
			o.ID = known.ID
			return o, err
		}
	}
	image, err := u.client.Request(ctx, url)
	if err != nil {
		return o, err
	}
	o.Status, o.ID, o.Variants = "made", image.ID, len(image.Variants)
	for _, v := range image.Variants {
		o.BytesOut += v.Bytes
	}
	u.remember(client.Entry{Name: url, ID: image.ID})
	return o, nil
}
