package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/kernel"
)

// doctorTime bounds all probes together: each takes milliseconds, and one that
// hangs is an answer too.
const doctorTime = 20 * time.Second

func newDoctor(streams IO) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this machine can run sandboxes, and how to fix it",
		Long: `Check whether this machine can run sandboxes: a verdict per line, with the
command that fixes what is missing. Exit status 3 if creel run could not work.`,
		Example: "  creel doctor\n  creel doctor --json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDoctor(cmd.Context(), kernel.Probe, asJSON, streams)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

type diagnosis struct {
	OK       bool             `json:"ok"` // run can work
	Features []kernel.Feature `json:"features"`
}

func runDoctor(ctx context.Context, probe func(context.Context, kernel.Paths) []kernel.Feature, asJSON bool, streams IO) error {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	state, stateErr := api.StateDir()
	d := diagnosis{OK: true, Features: probe(ctx, kernel.Paths{State: state})}
	d.Features = append(d.Features, folder("state folder", state, stateErr))
	run, runErr := api.RuntimeDir()
	d.Features = append(d.Features, folder("runtime folder", run, runErr))
	d.Features = append(d.Features, parentProxy(streams)...)
	blocked := 0
	for _, f := range d.Features {
		if f.Blocks() {
			blocked++
		}
	}
	d.OK = blocked == 0
	if asJSON {
		if err := writeJSON(streams.Out, d); err != nil {
			return err
		}
	} else if err := printDiagnosis(d, blocked, streams); err != nil {
		return err
	}
	if !d.OK {
		return quiet{fault.Host}
	}
	return nil
}

// parentProxy says which proxies of the environment runs would go through; no row
// if there is none.
func parentProxy(streams IO) []kernel.Feature {
	if streams.Getenv == nil {
		return nil
	}
	const name = "parent proxy"
	p, err := parent.New(parent.FromEnvironment(streams.Getenv))
	switch {
	case err != nil:
		return []kernel.Feature{{Name: name, Outcome: kernel.No, Required: true, Detail: err.Error(), Fix: "correct it, or: creel run --parent-proxy none"}}
	case p != nil:
		return []kernel.Feature{{Name: name, Outcome: kernel.Yes, Detail: p.String() + "; if it refuses addresses: creel run --parent-proxy-names"}}
	}
	return nil
}

func folder(name, path string, err error) kernel.Feature {
	if err != nil {
		return kernel.Feature{Name: name, Outcome: kernel.No, Required: true, Detail: err.Error(),
			Fix: strings.Join(api.MoveHints("export XDG_RUNTIME_DIR and XDG_STATE_HOME: folders of your own with mode 0700"), "")}
	}
	return kernel.Feature{Name: name, Outcome: kernel.Yes, Required: true, Detail: path}
}

func printDiagnosis(d diagnosis, blocked int, streams IO) error {
	var rows [][]string
	for _, f := range d.Features {
		rows = append(rows, []string{mark(f), f.Name, f.Detail})
		if f.Outcome != kernel.Yes && f.Fix != "" {
			rows = append(rows, []string{"", "", "fix: " + f.Fix})
		}
	}
	if err := table(streams.Out, rows); err != nil {
		return err
	}
	if blocked > 0 {
		fmt.Fprintf(streams.Out, "\ncreel run cannot work here: %s missing\n", count(blocked, "required feature"))
		return nil
	}
	fmt.Fprintln(streams.Out, "\ncreel run can work here")
	return nil
}

func mark(f kernel.Feature) string {
	switch {
	case f.Outcome == kernel.Yes:
		return "ok"
	case f.Blocks():
		return "FAIL"
	case f.Outcome == kernel.No:
		return "warn"
	}
	return "?"
}
