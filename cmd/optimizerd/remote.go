package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
)

const withToken = `A daemon with tokens requires one: use sudo on the daemon's machine, or --token-file.`

// remote are the flags of the commands that manage a running daemon by its HTTP
// API.
type remote struct {
	options   *options
	to        string
	tokenFile string
}

func (r *remote) addFlags(c *cobra.Command) {
	flags := c.PersistentFlags()
	flags.StringVar(&r.to, "to", "", "`URL` of the daemon (default: http.listen, with a token from the configuration)")
	flags.StringVar(&r.tokenFile, "token-file", "", "`file` with the daemon's token on its first line")
}

// connect returns a client of the daemon that the flags or the configuration
// name.
func (r *remote) connect(cmd *cobra.Command) (*client.Client, error) {
	token, err := readToken("--token-file", r.tokenFile)
	if err != nil {
		return nil, err
	}
	base := r.to
	if base == "" {
		c, err := r.options.load(cmd)
		if err != nil {
			return nil, err
		}
		address, err := dialable("http.listen", c.HTTP.Listen)
		if err != nil {
			return nil, err
		}
		base = "http://" + address
		if tokens := c.TokenStrings(); token == "" && len(tokens) > 0 {
			token = tokens[0]
		}
	}
	c, err := client.New(base, token)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	return c, nil
}

// readToken returns the first line of the file that a flag names, "" if path is "".
func readToken(flag, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	token, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return strings.TrimSpace(token), nil
}

// dialable returns the address by which this machine reaches the listener that
// a setting describes.
func dialable(setting, listen string) (string, error) {
	address, err := httpapi.LocalAddress(listen)
	if err != nil {
		return "", fmt.Errorf("%s: %w", setting, err)
	}
	if strings.HasSuffix(address, ":0") {
		return "", fmt.Errorf("%s has port 0, so only the daemon knows its port; name its address", setting)
	}
	return address, nil
}

// newTable returns a table whose columns are separated by tabs.
func newTable(cmd *cobra.Command) *tabwriter.Writer {
	return tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
}

// localTime is a time in a table.
func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
