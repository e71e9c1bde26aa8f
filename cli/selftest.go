package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
)

// SelftestFunc attacks a sandbox and reports a verdict per layer. An error means
// that there was none to judge.
type SelftestFunc func(ctx context.Context, o SelftestOptions) (*SelftestReport, error)

// SelftestOptions say what is tested.
type SelftestOptions struct {
	Policy      string // absolute path; "" : the built-in policy
	PolicyFound bool   // nobody named it
	Notice      func(string)
}

// SelftestReport is what `creel selftest --json` prints.
type SelftestReport struct {
	OK      bool              `json:"ok"` // every layer is enforced
	Policy  string            `json:"policy"`
	User    string            `json:"user"`
	Millis  int64             `json:"ms"`
	Layers  []SelftestVerdict `json:"layers"`
	Version int               `json:"version"` // of this form
}

// SelftestVerdict is what was found of one layer.
type SelftestVerdict struct {
	Layer    string   `json:"layer"`
	State    string   `json:"state"` // enforced, degraded, absent, broken
	Attempts int      `json:"attempts"`
	Evidence []string `json:"evidence"` // the worst first
	Fix      string   `json:"fix,omitempty"`
}

func newSelftest(streams IO) *cobra.Command {
	var (
		f       runFlags
		asJSON  bool
		verbose bool
	)
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Attack a sandbox of this installation, under your policy",
		Long: `Attack a sandbox of this installation, under your policy, and print a verdict
per layer with what was seen.

Creel is the agent: it tries what a hostile program tries first, while servers,
sockets and files of the test's own outside wait for what must not arrive. The
posture of the same sandbox, its log and the end of a second one whose
supervisor is killed count, too. Nothing is sent to other machines, and nothing
is left behind. Exit status 1 unless every layer is enforced.`,
		Example: "  creel selftest\n  creel selftest --policy agent.yaml --json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSelftest(cmd.Context(), f, asJSON, verbose, streams)
		},
	}
	cmd.Flags().StringVar(&f.policy, "policy", "", "policy `FILE` (default creel.yaml in the current folder, else built in)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "print all evidence, not the first of each layer")
	return cmd
}

func runSelftest(ctx context.Context, f runFlags, asJSON, verbose bool, streams IO) error {
	if streams.Selftest == nil {
		return fault.HostError("test sandbox", "sandboxes run on Linux only", "run creel on a Linux machine, or in a Linux virtual machine")
	}
	o := RunOptions{IO: streams}
	if err := f.setWorkspace(&o, streams); err != nil && f.policy == "" {
		// The current folder could not be a workspace: no policy is looked for in it.
		o.Workspace = ""
	}
	if f.policy != "" || o.Workspace != "" {
		if err := f.setPolicy(&o, streams); err != nil {
			return err
		}
	}
	r, err := streams.Selftest(ctx, SelftestOptions{Policy: o.Policy, PolicyFound: o.PolicyFound, Notice: func(text string) { line(streams.Err, "creel: %s", text) }})
	if err != nil {
		return err
	}
	if asJSON {
		if err := writeJSON(streams.Out, r); err != nil {
			return err
		}
	} else if err := printSelftest(r, verbose, streams); err != nil {
		return err
	}
	if !r.OK {
		return quiet{fault.General}
	}
	return nil
}

func printSelftest(r *SelftestReport, verbose bool, streams IO) error {
	rows := [][]string{{"LAYER", "VERDICT", "EVIDENCE"}}
	weak := 0
	for _, l := range r.Layers {
		if l.State != "enforced" {
			weak++
		}
		shown := l.Evidence
		if !verbose && l.State == "enforced" {
			shown = shown[:min(len(shown), 1)]
		}
		for i, e := range shown {
			if i == 0 {
				rows = append(rows, []string{l.Layer, l.State, e})
			} else {
				rows = append(rows, []string{"", "", e})
			}
		}
		if l.Fix != "" {
			rows = append(rows, []string{"", "", "hint: " + l.Fix})
		}
	}
	if err := table(streams.Out, rows); err != nil {
		return err
	}
	line(streams.Out, "")
	if weak > 0 {
		line(streams.Out, "%s not enforced (%s, policy %s, %d ms)", count(weak, "layer"), r.User, r.Policy, r.Millis)
		return nil
	}
	line(streams.Out, "every layer is enforced (%s, policy %s, %d ms)", r.User, r.Policy, r.Millis)
	return nil
}
