package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon"
)

// options are the flags of every command that reads the configuration.
type options struct {
	defaultFile string // read without --config if it exists
	root        *cobra.Command
	file        string
	sets        []string
}

func (o *options) addFlags(c *cobra.Command) {
	o.root = c
	flags := c.PersistentFlags()
	flags.StringVarP(&o.file, "config", "c", "", "YAML `file` with settings (default: "+config.DefaultFile+" if it exists; '' reads none)")
	flags.StringArrayVar(&o.sets, "set", nil, "one `setting`, such as http.listen=127.0.0.1:8080; overrides file and environment")
	for flag, complete := range map[string]cobra.CompletionFunc{"set": completeSet, "config": completeYAML} {
		if err := c.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // the flag was added above
		}
	}
}

// configFile returns the file to read, "" for none. named reports whether
// --config names it.
func (o *options) configFile() (path string, named bool) {
	if o.root.PersistentFlags().Changed("config") {
		return o.file, true
	}
	if path, ok := os.LookupEnv(config.FileVariable); ok {
		return path, false
	}
	if _, err := os.Stat(o.defaultFile); errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	return o.defaultFile, false // if it cannot be read, reading it says why
}

// chosenFile is configFile for a command that runs: it says which file it uses
// unless the user has named it.
func (o *options) chosenFile(cmd *cobra.Command) string {
	path, named := o.configFile()
	if path != "" && !named {
		fmt.Fprintln(cmd.ErrOrStderr(), "optimizerd: using", path)
	}
	return path
}

// load reads the configuration.
func (o *options) load(cmd *cobra.Command) (config.Config, error) {
	return config.Load(o.chosenFile(cmd), o.sets)
}

// loadWithLog reads the configuration and creates the log that it asks for.
func (o *options) loadWithLog(cmd *cobra.Command) (config.Config, *zap.Logger, error) {
	c, err := o.load(cmd)
	if err != nil {
		return c, nil, err
	}
	log, err := daemon.NewLogger(c.Log, os.Stderr)
	return c, log, err
}

// completeSet completes KEY= and, where the values can be listed, KEY=VALUE.
func completeSet(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var found []cobra.Completion
	key, _, complete := strings.Cut(typed, "=")
	for _, s := range config.Settings() {
		switch {
		case s.Secret():
		case !complete && strings.HasPrefix(s.Key, typed):
			sentence, _, _ := strings.Cut(s.Description, ". ")
			found = append(found, cobra.CompletionWithDesc(s.Key+"=", sentence))
		case complete && s.Key == key:
			for _, value := range s.Values {
				found = append(found, key+"="+value)
			}
		}
	}
	if complete {
		return found, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func completeYAML(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}
