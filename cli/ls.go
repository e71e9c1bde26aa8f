package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/api"
)

func newLs(streams IO) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the sandboxes that run",
		Example: "  creel ls --json",
		Args:    exactly(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runLs(cmd.Context(), asJSON, streams) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runLs(ctx context.Context, asJSON bool, streams IO) error {
	names, err := api.Names()
	if err != nil {
		return err
	}
	boxes := []api.Sandbox{} // never null in JSON
	for _, name := range names {
		box, err := ask(ctx, name)
		if err != nil {
			// It lives (its lock is held) and does not answer: starting, ending or stuck.
			line(streams.Err, "creel: %v", err)
			box = api.Sandbox{Name: name}
		}
		boxes = append(boxes, box)
	}
	if asJSON {
		return writeJSON(streams.Out, boxes)
	}
	if len(boxes) == 0 {
		fmt.Fprintln(streams.Err, "no sandbox is running")
		return nil
	}
	rows := [][]string{{"NAME", "PID", "UP", "REV", "ALLOWED", "DENIED", "REROUTED", "WORKSPACE", "COMMAND"}}
	for _, b := range boxes {
		if b.PID == 0 {
			rows = append(rows, []string{b.Name, "-", "-", "-", "-", "-", "-", "-", "-"})
			continue
		}
		rows = append(rows, []string{
			b.Name, fmt.Sprint(b.PID), time.Since(b.Started).Round(time.Second).String(), fmt.Sprint(b.Revision),
			fmt.Sprint(b.Counts.Allowed), fmt.Sprint(b.Counts.Denied), fmt.Sprint(b.Counts.Rerouted),
			b.Workspace, strings.Join(b.Command, " "),
		})
	}
	return table(streams.Out, rows)
}

func ask(ctx context.Context, name string) (api.Sandbox, error) {
	c, err := api.Dial(name)
	if err != nil {
		return api.Sandbox{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // one stuck supervisor must not hide the others
	defer cancel()
	return c.Sandbox(ctx)
}
