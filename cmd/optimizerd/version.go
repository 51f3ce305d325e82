package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// versions is the output of version. The codec reports its own part.
type versions struct {
	Version  string          `json:"version"`
	Go       string          `json:"go"`
	Platform string          `json:"platform"`
	Bimg     string          `json:"bimg"`
	Libvips  string          `json:"libvips"`
	Inputs   []string        `json:"inputs"`
	Outputs  []ladder.Format `json:"outputs"`
	Off      []string        `json:"off"` // formats that failed the codec's self-test
	Vector   bool            `json:"vector"`
}

func versionCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the versions and formats of optimizerd, bimg and libvips",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Version: buildinfo.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			about, problem := o.askCodec(cmd)
			v.Bimg, v.Libvips, v.Inputs, v.Outputs = about.Bimg, about.Libvips, about.Inputs, about.Outputs
			v.Off, v.Vector = about.Off, about.Vector
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(v); err != nil {
					return err
				}
				return problem
			}
			fmt.Fprintf(cmd.OutOrStdout(), "optimizerd %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			if problem == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "bimg %s, libvips %s (vector code: %t)\nreads  %s\nwrites %v\n", v.Bimg, v.Libvips, v.Vector, strings.Join(v.Inputs, " "), v.Outputs)
				if len(v.Off) > 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "cannot %s\n", strings.Join(v.Off, ", "))
				}
			}
			return problem
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// askCodec starts one codec process to read what it supports.
func (o *options) askCodec(cmd *cobra.Command) (codec.About, error) {
	c, log, err := o.loadWithLog(cmd)
	if err != nil {
		return codec.About{}, err
	}
	pool, err := codec.NewPool(cmd.Context(), c.CodecConfig(), log)
	if err != nil {
		return codec.About{}, err
	}
	defer pool.Close()
	return pool.About(), nil
}
