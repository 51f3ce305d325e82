package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func imagesCommand(o *options) *cobra.Command {
	r := &remote{options: o}
	c := &cobra.Command{
		Use:   "images",
		Short: "List, find or delete the images of a running daemon",
		Long:  "List, find or delete the images of a running daemon.\n\n" + withToken,
	}
	r.addFlags(c)
	c.AddCommand(imagesListCommand(r), imagesFindCommand(r), imagesDeleteCommand(r))
	return c
}

// criteria are the flags that select images. All that are set must apply.
type criteria struct {
	olderThan, newerThan    string // ages
	largerThan, smallerThan string // sizes of the source
	filename                string // pattern
	sha256                  string // beginning of the source's digest

	match func(client.Set) bool
}

func (s *criteria) addFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&s.olderThan, "older-than", "", "images made longer than this `time` ago, such as 90d or 12h")
	flags.StringVar(&s.newerThan, "newer-than", "", "images made less than this `time` ago")
	flags.StringVar(&s.largerThan, "larger-than", "", "images whose source is larger than this `size`, such as 10MB")
	flags.StringVar(&s.smallerThan, "smaller-than", "", "images whose source is smaller than this `size`")
	flags.StringVar(&s.filename, "filename", "", "images whose file name matches this `pattern`, such as 'IMG_*.jpg'; case does not matter")
	flags.StringVar(&s.sha256, "sha256", "", "images whose source's SHA-256 begins with these `digits`")
}

func (s *criteria) empty() bool {
	return s.olderThan+s.newerThan+s.largerThan+s.smallerThan+s.filename+s.sha256 == ""
}

// condition is one of the criteria.
type condition func(client.Set) bool

// parse sets s.match.
func (s *criteria) parse(now time.Time) error {
	ages, err := s.ages(now)
	if err != nil {
		return err
	}
	sizes, err := s.sizes()
	if err != nil {
		return err
	}
	all := slices.Concat(ages, sizes)
	if s.filename != "" {
		pattern := strings.ToLower(s.filename)
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("--filename: %q is not a pattern: %w", s.filename, err)
		}
		all = append(all, func(m client.Set) bool {
			ok, err := path.Match(pattern, strings.ToLower(m.Source.Filename))
			return ok && err == nil
		})
	}
	if s.sha256 != "" {
		all = append(all, func(m client.Set) bool { return strings.HasPrefix(m.Source.SHA256, strings.ToLower(s.sha256)) })
	}
	s.match = func(m client.Set) bool {
		return !slices.ContainsFunc(all, func(applies condition) bool { return !applies(m) })
	}
	return nil
}

func (s *criteria) ages(now time.Time) (all []condition, err error) {
	for flag, value := range map[string]string{"--older-than": s.olderThan, "--newer-than": s.newerThan} {
		if value == "" {
			continue
		}
		age, err := config.ParseDuration(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		if age < 0 {
			return nil, fmt.Errorf("%s: must be at least 0, the time since then (got %q)", flag, value)
		}
		then, older := now.Add(-age), flag == "--older-than"
		all = append(all, func(m client.Set) bool { return m.CreatedAt.Before(then) == older })
	}
	return all, nil
}

func (s *criteria) sizes() (all []condition, err error) {
	for flag, value := range map[string]string{"--larger-than": s.largerThan, "--smaller-than": s.smallerThan} {
		if value == "" {
			continue
		}
		n, err := humanize.ParseBytes(value)
		if err != nil || n > math.MaxInt64 {
			return nil, fmt.Errorf("%s: must be a size such as 10MB (got %q)", flag, value)
		}
		sign := 1
		if flag == "--smaller-than" {
			sign = -1
		}
		all = append(all, func(m client.Set) bool { return cmp.Compare(m.Source.Bytes, int64(n)) == sign })
	}
	return all, nil
}

func imagesListCommand(r *remote) *cobra.Command {
	var (
		limit  int
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "list",
		Short: "List images, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.printImages(cmd, func(client.Set) bool { return true }, limit, asJSON)
		},
	}
	c.Flags().IntVar(&limit, "limit", 50, "list at most this `number` of images")
	c.Flags().BoolVar(&asJSON, "json", false, "print a manifest on each line")
	return c
}

func imagesFindCommand(r *remote) *cobra.Command {
	var (
		s      criteria
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "find",
		Short: "Find images by age, size, file name or digest",
		Example: `  optimizerd images find --filename 'IMG_12*'
  optimizerd images find --sha256 $(sha256sum photo.jpg | cut -c-64)
  optimizerd images find --older-than 365d --larger-than 10MB --json | jq -r .id`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.parse(time.Now()); err != nil {
				return err
			}
			return r.printImages(cmd, s.match, 1<<30, asJSON)
		},
	}
	s.addFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print a manifest on each line")
	return c
}

func (r *remote) printImages(cmd *cobra.Command, match func(client.Set) bool, limit int, asJSON bool) error {
	if limit < 1 {
		return fmt.Errorf("--limit must be at least 1 (got %d)", limit)
	}
	d, err := r.connect(cmd)
	if err != nil {
		return err
	}
	defer d.Close()
	w := newTable(cmd)
	n := 0
	err = d.Sets(cmd.Context(), func(m client.Set, raw json.RawMessage) bool {
		if !match(m) {
			return true
		}
		n++
		if asJSON {
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n", raw)
			return n < limit
		}
		if n == 1 {
			fmt.Fprintln(w, "ID\tCREATED\tSIZE\tPIXELS\tFILES\tNAME")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d × %d\t%d\t%s\n", m.ID, localTime(m.CreatedAt), humanize.IBytes(uint64(max(0, m.Source.Bytes))),
			m.Width, m.Height, len(m.Variants), printable(m.Source.Filename))
		return n < limit
	})
	if err != nil {
		return describeRefusal(err)
	}
	if n == 0 && !asJSON {
		fmt.Fprintln(cmd.OutOrStdout(), "no images")
	}
	return w.Flush()
}

func imagesDeleteCommand(r *remote) *cobra.Command {
	var (
		s   criteria
		yes bool
	)
	c := &cobra.Command{
		Use:   "delete {ID… | --older-than TIME | …}",
		Short: "Delete images with their originals",
		Long: `Delete images, with their files and kept originals. Images are named by their ids, or
selected as by find; then the command only counts them until --yes is added. All
conditions must apply. A deleted image can only be restored from a backup.`,
		Example: `  optimizerd images delete k3v5qaz2w4hn6mtrxj7elbopdu
  optimizerd images delete --older-than 730d --yes`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if s.empty() == (len(ids) == 0) {
				return errors.New("name the images to delete as 'images list' shows them, or select them by a condition such as --older-than 365d")
			}
			for _, id := range ids {
				if !ladder.ValidID(id) {
					return fmt.Errorf("%.60q is not an image id: these have 26 lower-case letters and digits; nothing was deleted", id)
				}
			}
			if err := s.parse(time.Now()); err != nil {
				return err
			}
			d, err := r.connect(cmd)
			if err != nil {
				return err
			}
			defer d.Close()
			if len(ids) == 0 {
				if ids, err = selectImages(cmd.Context(), d, s); err != nil {
					return describeRefusal(err)
				}
				if !yes && len(ids) > 0 {
					return fmt.Errorf("images that would be deleted: %d; 'images find' with the same conditions lists them; add --yes to delete them", len(ids))
				}
			}
			return reportEach(cmd, ids, "deleted", func(ctx context.Context, id string) error {
				return d.Call(ctx, http.MethodDelete, "/v1/images/"+url.PathEscape(id), nil)
			})
		},
	}
	s.addFlags(c)
	c.Flags().BoolVar(&yes, "yes", false, "delete what the conditions select")
	return c
}

func selectImages(ctx context.Context, d *client.Client, s criteria) (ids []string, err error) {
	err = d.Sets(ctx, func(m client.Set, _ json.RawMessage) bool {
		if s.match(m) {
			ids = append(ids, m.ID)
		}
		return true
	})
	return ids, err
}
