package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/inference"
	"github.com/creel-run/creel/policy"
)

func newPolicyLint(streams IO) *cobra.Command {
	var f lintFlags
	cmd := &cobra.Command{
		Use:   "lint FILE",
		Short: "Find what is valid in a policy and dangerous, or without effect",
		Long: `Find what is valid in a policy and dangerous, or without effect: each with its
place, the reason and the fix. What is not valid is found by creel policy check.
- is standard input.

The checks are audit-only, shared-hosting, uninspected, model-host, echo-host,
unused, shadowed, idle-deny, any-writes, interpreter, tls-skip, no-host,
internal-host, broad-write, workspace-path and empty-alternative; what the reader of a policy warns about besides
has its own names. --skip leaves checks out whose findings are meant.

Exit status 0: nothing is found; 1: something is; 2: the policy is faulty.`,
		Example: "  creel policy lint creel.yaml\n  creel policy lint creel.yaml --skip interpreter",
		Args:    exactly(1),
		RunE:    func(_ *cobra.Command, args []string) error { return runPolicyLint(args[0], f, streams) },
	}
	cmd.Flags().StringSliceVar(&f.skip, "skip", nil, "`CHECKS` to leave out, with commas between them")
	cmd.Flags().StringVar(&f.workspace, "workspace", "", "`DIR` that the policy is meant for (default the current folder)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

type lintFlags struct {
	skip      []string
	workspace string
	json      bool
}

// lintFinding is the JSON of one finding.
type lintFinding struct {
	Check  string          `json:"check"`
	At     policy.Position `json:"at"`
	Path   string          `json:"path,omitempty"`
	Reason string          `json:"reason"`
	Fix    string          `json:"fix,omitempty"`
}

func runPolicyLint(file string, f lintFlags, streams IO) error {
	for _, s := range f.skip {
		if !slices.Contains(policy.Checks(), policy.Check(s)) {
			hint := "creel policy lint --help"
			var known []string
			for _, c := range policy.Checks() {
				known = append(known, string(c))
			}
			if near, ok := nearest(s, known); ok {
				hint = "did you mean: " + near
			}
			return fault.UsageError("read flags", "--skip: there is no check "+s, hint)
		}
	}
	doc, _, warnings, err := loadPolicy(file, streams)
	if err != nil {
		return err
	}
	route, err := claimedHosts(false, doc)
	if err != nil {
		return err
	}
	defer route.Close()
	hosts := inference.ModelHosts(doc.Inference)
	if hosts == nil {
		hosts = inference.DefaultHosts()
	}
	workspace, err := filepath.Abs(f.workspace)
	if err != nil {
		return fault.Wrap(err, "open workspace", fault.Usage)
	}
	if info, err := os.Stat(workspace); err != nil || !info.IsDir() {
		return fault.UsageError("open workspace", quote(f.workspace)+" is no folder", "--workspace DIR, without its mode")
	}
	workspace = realOf(workspace)
	o := policy.LintOptions{ModelHosts: hosts, Workspace: func(path string) bool { return realOf(path) == workspace }}
	if route != nil {
		o.Claimed = route.Claims
	}
	findings := []lintFinding{}
	for _, w := range policy.Lint(doc, warnings, o) {
		if slices.Contains(f.skip, string(w.Check)) {
			continue
		}
		x := lintFinding{string(w.Check), w.At, w.Path, w.Text, w.Hint}
		if x.Check == "" {
			x.Check = string(w.Kind)
		}
		findings = append(findings, x)
	}
	if f.json {
		err = writeJSON(streams.Out, map[string]any{"ok": len(findings) == 0, "findings": findings})
	} else {
		err = printFindings(file, findings, streams)
	}
	if err == nil && len(findings) > 0 {
		return quiet{fault.General}
	}
	return err
}

func printFindings(file string, findings []lintFinding, streams IO) error {
	var failed error
	put := func(format string, args ...any) {
		if _, err := fmt.Fprintln(streams.Out, audit.Printable(fmt.Sprintf(format, args...))); err != nil {
			failed = cmp.Or(failed, err)
		}
	}
	for _, x := range findings {
		put("%s: %s: %s", x.At, x.Check, x.Reason)
		if x.Fix != "" {
			put("  fix: %s", x.Fix)
		}
	}
	if len(findings) == 0 {
		put("%s: nothing found", file)
	} else {
		put("%s: %s", file, count(len(findings), "finding"))
	}
	if failed != nil {
		return fault.Wrap(failed, "write output", fault.General)
	}
	return nil
}
