package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
)

func newLs(streams IO) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the sandboxes that run",
		Long: `List the sandboxes that run; with --all also what ended ones left: audit logs,
file changes that wait for a decision, homes of agents, and what a killed
supervisor could not remove. Nothing of it is removed without being asked.`,
		Example: "  creel ls --json\n  creel ls --all",
		Args:    exactly(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runLs(cmd.Context(), all, asJSON, streams) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what ended sandboxes left")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runLs(ctx context.Context, all, asJSON bool, streams IO) error {
	names, err := api.Names()
	if err != nil {
		return err
	}
	boxes := make([]api.Sandbox, len(names)) // never null in JSON
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names { // at once: a stuck one must not hold up the others
		wg.Go(func() { boxes[i], errs[i] = ask(ctx, name) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			// It lives (its lock is held) and does not answer: starting, ending or stuck.
			line(streams.Err, "creel: %v", err)
			var told *fault.Error
			if errors.As(err, &told) {
				for _, h := range told.Hints {
					line(streams.Err, "hint: %s", h)
				}
			}
			boxes[i].Name = names[i]
		}
	}
	var left []kept
	if all {
		if left, err = listKept(names); err != nil {
			return err
		}
	}
	switch {
	case asJSON && all:
		return writeJSON(streams.Out, map[string]any{"running": boxes, "kept": left})
	case asJSON:
		return writeJSON(streams.Out, boxes)
	case len(boxes) == 0:
		fmt.Fprintln(streams.Err, "no sandbox is running")
	default:
		if err := showBoxes(boxes, streams); err != nil {
			return err
		}
	}
	if !all || len(left) == 0 {
		return nil
	}
	left, older := newestAudits(left, shownAudits)
	rows := [][]string{{"KEPT", "NAME", "STATE", "STARTED", "SIZE", "NEXT"}}
	for _, k := range left {
		started := "-"
		if !k.Started.IsZero() {
			started = k.Started.Local().Format("2006-01-02 15:04:05")
		}
		rows = append(rows, []string{k.Kind, k.Name, k.State, started, shownSize(k.Bytes), k.Next})
	}
	if len(boxes) > 0 {
		fmt.Fprintln(streams.Out)
	}
	if err := table(streams.Out, rows); err != nil || older == 0 {
		return err
	}
	line(streams.Err, "creel: %d older audit logs are not shown; creel removes none by itself", older)
	line(streams.Err, "hint: creel audit prune --older-than 30d --dry-run")
	return nil
}

// shownAudits bounds the ended sandboxes' logs that people are shown; with --json
// there are all.
const shownAudits = 50

// newestAudits leaves the last n audit logs of a list that begins with the oldest,
// and all else; older is how many it left out.
func newestAudits(list []kept, n int) (short []kept, older int) {
	for _, k := range slices.Backward(list) {
		if k.Kind == "audit" && k.State != "running" {
			if n == 0 {
				older++
				continue
			}
			n--
		}
		short = append(short, k)
	}
	slices.Reverse(short)
	return short, older
}

func showBoxes(boxes []api.Sandbox, streams IO) error {
	rows := [][]string{{"NAME", "PID", "UP", "REV", "ALLOWED", "DENIED", "REROUTED", "WORKSPACE", "COMMAND"}}
	for _, b := range boxes {
		if b.Started.IsZero() {
			pid := "-"
			if b.PID > 0 {
				pid = fmt.Sprint(b.PID)
			}
			rows = append(rows, []string{b.Name, pid, "-", "-", "-", "-", "-", "-", "-"})
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

// askTime bounds a question to one sandbox; a supervisor answers in
// milliseconds.
const askTime = 2 * time.Second

// ask gives at least the supervisor's pid if it does not answer.
func ask(ctx context.Context, name string) (api.Sandbox, error) {
	box := api.Sandbox{Name: name}
	c, err := api.Dial(name)
	if err != nil {
		return box, err
	}
	if err := awake(ctx, name, &box.PID); err != nil {
		return box, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	got, err := c.Sandbox(ctx)
	if err != nil {
		return box, err
	}
	return got, nil
}

// awake refuses to wait for a supervisor that was stopped (SIGSTOP): it answers
// nothing until it is continued.
func awake(ctx context.Context, name string, pid *int) error {
	o, err := api.OwnerOf(ctx, name)
	if err != nil {
		return nil // the question itself will tell
	}
	*pid = o.PID
	if o.Stopped {
		return fault.Wrap(fmt.Errorf("its supervisor (process %d) was stopped and answers nothing", o.PID), "ask sandbox "+name, fault.General,
			fmt.Sprintf("kill -CONT %d", o.PID), "creel stop --force "+name)
	}
	return nil
}
