package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
)

func newPosture(streams IO) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "posture NAME",
		Short:             "Show what protection is in force in a sandbox",
		Long:              "Show what protection is in force in a running sandbox, layer by layer, as read back from the kernel.",
		Example:           "  creel posture claude-7f3a",
		Args:              exactly(1),
		ValidArgsFunction: completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPosture(cmd.Context(), args[0], asJSON, streams)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runPosture(ctx context.Context, name string, asJSON bool, streams IO) error {
	c, err := dial(name)
	if err != nil {
		return err
	}
	p, err := c.Posture(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(streams.Out, p)
	}
	rows := [][]string{{"LAYER", "STATE", "DETAIL"}}
	for _, l := range p.Layers {
		state := l.State
		if state != api.Enforced && state != api.Degraded {
			state = api.Absent
		}
		rows = append(rows, []string{l.Name, string(state), l.Detail})
	}
	if err := table(streams.Out, rows); err != nil {
		return err
	}
	for _, l := range p.Layers {
		if l.State == api.Enforced {
			continue
		}
		if l.Want != "" {
			line(streams.Out, "%s wants: %s", l.Name, l.Want)
		}
		if l.Fix != "" {
			line(streams.Out, "hint: %s", l.Fix)
		}
	}
	return nil
}

func newReload(streams IO) *cobra.Command {
	var (
		policy string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "reload NAME",
		Short: "Put a changed policy into force in a running sandbox",
		Long: `Put a changed policy into force in a running sandbox.

A faulty policy changes nothing. Connections that the new policy denies are
closed; the others stay open.`,
		Example:           "  creel reload claude-7f3a\n  creel reload claude-7f3a --policy wider.yaml",
		Args:              exactly(1),
		ValidArgsFunction: completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReload(cmd.Context(), args[0], policy, asJSON, streams)
		},
	}
	cmd.Flags().StringVar(&policy, "policy", "", "take this `FILE` from now on (default the file in force, read again)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runReload(ctx context.Context, name, policy string, asJSON bool, streams IO) error {
	if policy != "" {
		abs, err := filepath.Abs(policy) // the supervisor has another working folder
		if err != nil {
			return fault.Wrap(err, "read policy", fault.Usage)
		}
		policy = abs
	}
	c, err := dial(name)
	if err != nil {
		return err
	}
	r, err := c.Reload(ctx, policy)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(streams.Out, r)
	}
	if !r.Changed {
		line(streams.Out, "%s: revision %d is in force, nothing changed", name, r.Revision)
		return nil
	}
	line(streams.Out, "%s: revision %d is in force, %s closed", name, r.Revision, count(r.Closed, "connection"))
	return nil
}

func newStop(streams IO) *cobra.Command {
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:   "stop NAME",
		Short: "End a sandbox and everything in it",
		Long: `End a sandbox and everything in it.

Its command gets SIGTERM and ten seconds to end. With --force the supervisor is
killed at once, and the kernel ends the sandbox with it: for one that does not
answer. The audit log stays, without a line for the end.`,
		Example:           "  creel stop claude-7f3a\n  creel stop --force claude-7f3a",
		Args:              exactly(1),
		ValidArgsFunction: completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStop(cmd.Context(), args[0], force, asJSON, streams)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "kill the supervisor, whether it answers or not")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runStop(ctx context.Context, name string, force, asJSON bool, streams IO) error {
	c, err := dial(name)
	if err != nil {
		return err
	}
	if force {
		err = api.KillOwner(ctx, name)
	} else {
		err = askToStop(ctx, c, name)
	}
	if err != nil {
		return err
	}
	gone := waitGone(ctx, name)
	if asJSON {
		return writeJSON(streams.Out, map[string]any{"name": name, "stopped": gone})
	}
	if !gone {
		return fault.Wrap(fmt.Errorf("%s has not ended within %s", name, stopWait), "stop sandbox", fault.General, "creel stop --force "+name)
	}
	line(streams.Out, "%s: stopped", name)
	return nil
}

// askToStop does not wait long for an answer: a supervisor agrees at once.
func askToStop(ctx context.Context, c *api.Client, name string) error {
	var pid int
	if err := awake(ctx, name, &pid); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		return fault.Wrap(err, "", 0, "creel stop --force "+name)
	}
	return nil
}

// stopWait is the ten seconds that a sandbox's command has to end by itself, and
// some for the clean-up.
const stopWait = 15 * time.Second

// waitGone waits until the name is free again.
func waitGone(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if !api.Lives(name) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// dial finds a sandbox; when there is none of that name, the hint is the
// nearest that there is.
func dial(name string) (*api.Client, error) {
	c, err := api.Dial(name)
	if err == nil {
		return c, nil
	}
	names, listErr := api.Names()
	if listErr != nil {
		return nil, err
	}
	if near, ok := nearest(name, names); ok {
		return nil, fault.Wrap(err, "", 0, "did you mean: "+near)
	}
	return nil, err
}

// completeNames offers the sandboxes that run to a shell.
func completeNames(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := api.Names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
