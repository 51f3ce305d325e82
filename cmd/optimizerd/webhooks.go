package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/notify"
)

func webhooksCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "webhooks",
		Short: "List, retry or test webhooks",
		Long: `A webhook that its receiver does not accept is retried with exponential backoff for up
to a day. Then it is given up, and kept for jobs.keep.`,
	}
	c.AddCommand(webhooksListCommand(o), webhooksRetryCommand(o), webhooksTestCommand(o))
	return c
}

// listWebhooks lists those of this machine or of the fleet.
func listWebhooks(cmd *cobra.Command, c config.Config) (all []notify.Webhook, err error) {
	if !c.Fleet.Enabled() {
		return notify.List(filepath.Join(c.Storage.Dir, notify.Folder))
	}
	f, err := attachFleet(cmd, c, zap.NewNop())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Webhooks(cmd.Context())
}

func webhooksListCommand(o *options) *cobra.Command {
	var givenUp, asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List undelivered webhooks, oldest first",
		Long: `List the undelivered webhooks in storage.dir, oldest first: those that wait for
their next attempt, and those that were given up. The daemon need not run.
A fleet's webhooks are in NATS, which does not say when the next attempt is.`,
		Example: `  sudo -u optimizerd optimizerd webhooks list
  sudo -u optimizerd optimizerd webhooks list --given-up --json | jq -r .url`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			all, err := listWebhooks(cmd, c)
			if err != nil {
				return err
			}
			if givenUp {
				all = onlyGivenUp(all)
			}
			if asJSON {
				lines := json.NewEncoder(cmd.OutOrStdout())
				for _, w := range all {
					if err := lines.Encode(w); err != nil {
						return err
					}
				}
				return nil
			}
			return printWebhooks(cmd, all)
		},
	}
	c.Flags().BoolVar(&givenUp, "given-up", false, "only those that were given up")
	c.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each webhook, with its complete URL")
	return c
}

func onlyGivenUp(all []notify.Webhook) (given []notify.Webhook) {
	for _, w := range all {
		if w.GivenUp {
			given = append(given, w)
		}
	}
	return given
}

func printWebhooks(cmd *cobra.Command, all []notify.Webhook) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "no webhooks")
		return err
	}
	w := newTable(cmd)
	fmt.Fprintln(w, "ID\tEVENT\tATTEMPTS\tNEXT\tRECEIVER\tLAST ERROR")
	for _, hook := range all {
		next, reason := "waits", hook.LastError
		if hook.GivenUp {
			next = "given up"
		}
		if hook.NextAt != nil {
			next = localTime(hook.NextAt.Time)
		}
		if hook.Unreadable != "" {
			next, reason = "-", "unreadable: "+hook.Unreadable
		}
		receiver, _, _ := strings.Cut(hook.URL, "?") // a query may be a secret
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", hook.ID, hook.Event, hook.Attempts, next, printable(short(receiver)), printable(reason))
	}
	return w.Flush()
}

func webhooksRetryCommand(o *options) *cobra.Command {
	var (
		givenUp bool
		address string
	)
	c := &cobra.Command{
		Use:   "retry {ID… | --given-up}",
		Short: "Send webhooks now",
		Long: `Make the running daemon send webhooks now: those that wait for their next attempt, or
those that were given up, which are then retried for another day. The command calls the
admin listener, with a token from the configuration if there is one. With the package,
only root can read both that and the webhooks.`,
		Example: `  sudo optimizerd webhooks retry msg_01arz3ndektsv4rrffq69g5fav
  sudo optimizerd webhooks retry --given-up`,
		ValidArgsFunction: o.completeWebhooks,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if givenUp == (len(ids) > 0) {
				return errors.New("name the webhooks to send as 'webhooks list' shows them, or use --given-up")
			}
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			if address == "" {
				if address, err = adminAddress(c); err != nil {
					return err
				}
			}
			if givenUp {
				all, err := listWebhooks(cmd, c)
				if err != nil {
					return err
				}
				for _, w := range onlyGivenUp(all) {
					ids = append(ids, w.ID)
				}
			}
			return reportEach(cmd, ids, "is sent again", func(ctx context.Context, id string) error {
				_, err := askAdmin(ctx, http.MethodPost, address, "/webhooks/"+url.PathEscape(id)+"/retry", c.TokenStrings())
				return err
			})
		},
	}
	c.Flags().BoolVar(&givenUp, "given-up", false, "every webhook that was given up")
	c.Flags().StringVar(&address, "address", "", "`HOST:PORT` of the admin listener, instead of the configured address")
	return c
}

// completeWebhooks completes the ids of the webhooks that are not delivered.
func (o *options) completeWebhooks(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	file, _ := o.configFile()
	c, err := config.Load(file, o.sets)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := listWebhooks(cmd, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var found []cobra.Completion
	for _, w := range all {
		if strings.HasPrefix(w.ID, typed) {
			found = append(found, cobra.CompletionWithDesc(w.ID, w.Event+" "+printable(w.LastError)))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func webhooksTestCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "test URL",
		Short: "Send a signed test webhook to a receiver",
		Long: `Send a webhook of the type webhook.test to a URL, signed with webhook.secrets and by
the rules that the daemon applies to receivers, and say whether it was accepted. It is
sent once. The daemon need not run. With the package, only root can read the secrets.`,
		Example: `  sudo optimizerd webhooks test https://www.example.com/hooks/optimizerd`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			target, rules := args[0], c.WebhookRules()
			u, err := url.Parse(target)
			if err != nil || u.Host == "" {
				return fmt.Errorf("%.200q is not a URL; write it like https://www.example.com/hook", target)
			}
			if err := rules.Check(u); err != nil {
				return err
			}
			client := egress.NewClient(rules, 0)
			defer client.CloseIdleConnections()
			if err := notify.Test(cmd.Context(), client, c.WebhookSecrets(), target); err != nil {
				return fmt.Errorf("not accepted: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "accepted")
			return err
		},
	}
}
