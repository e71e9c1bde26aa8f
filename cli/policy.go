package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

func newPolicy(streams IO) *cobra.Command {
	out := &whole{w: streams.Out}
	streams.Out = out
	return out.wanted(group("policy", "Check and explain policies",
		newPolicyCheck(streams), newPolicyExplain(streams), newPolicyDefault(streams),
		newPolicySchema(streams), newPolicyFmt(streams), newPolicyPreset(streams), newPolicyMigrate(streams),
		newPolicyReach(streams), newPolicyDiff(streams), newPolicyProve(streams),
		newPolicyTest(streams), newPolicyReplay(streams), newPolicyLearn(streams), newPolicyLint(streams),
	))
}

func newPolicyDefault(streams IO) *cobra.Command {
	return &cobra.Command{
		Use:     "default",
		Short:   "Print the built-in policy",
		Long:    "Print the policy that holds when none is named and the workspace has no creel.yaml.",
		Example: "  creel policy default > ~/creel.yaml",
		Args:    exactly(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(streams.Out, policy.Default())
			return err
		},
	}
}

func newPolicyCheck(streams IO) *cobra.Command {
	var asJSON, rules bool
	cmd := &cobra.Command{
		Use:     "check FILE",
		Short:   "Report everything that is wrong with a policy",
		Long:    "Report everything that is wrong with a policy, each with file, line and column. - is standard input.",
		Example: "  creel policy check creel.yaml",
		Args:    exactly(1),
		RunE:    func(_ *cobra.Command, args []string) error { return runPolicyCheck(args[0], asJSON, rules, streams) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&rules, "rules", false, "list every rule, of layers the merged ones, with file and line")
	return cmd
}

type checked struct {
	Files      []string         `json:"files,omitempty"` // of all layers, the top one first
	Rules      []policy.Source  `json:"rules,omitempty"`
	OK         bool             `json:"ok"`
	Faults     []checkedFault   `json:"faults"`
	Warnings   []policy.Warning `json:"warnings"`
	Unenforced []checkedFault   `json:"unenforced,omitempty"` // creel run refuses the policy for it
}

type checkedFault struct {
	policy.Fault
	Text string `json:"text"`
}

func runPolicyCheck(file string, asJSON, rules bool, streams IO) error {
	doc, _, warnings, err := loadPolicy(file, streams)
	faults, ok := asFaults(err)
	if err != nil && !ok {
		return err
	}
	unenforced := policy.Unenforced(doc)
	if asJSON {
		out := checked{OK: err == nil, Faults: []checkedFault{}, Warnings: warnings}
		if out.Warnings == nil {
			out.Warnings = []policy.Warning{}
		}
		if doc != nil {
			out.Files = doc.FileNames()
			if rules {
				out.Rules = doc.Rules()
			}
		}
		for _, f := range faults {
			out.Faults = append(out.Faults, checkedFault{f, f.Error()})
		}
		for _, f := range unenforced {
			out.Unenforced = append(out.Unenforced, checkedFault{f, f.Error()})
		}
		if err := writeJSON(streams.Out, out); err != nil {
			return err
		}
	} else {
		printFaults(streams.Out, faults)
		printWarnings(streams.Out, warnings)
		printUnenforced(streams.Out, unenforced)
		switch {
		case len(faults) > 0:
			line(streams.Out, "%s: %s", file, count(len(faults), "fault"))
		case len(unenforced) > 0:
			line(streams.Out, "%s: ok, but creel run refuses it: it does not enforce all of it yet", file)
		case len(warnings) > 0:
			line(streams.Out, "%s: ok, %s", file, count(len(warnings), "warning"))
		default:
			line(streams.Out, "%s: ok", file)
		}
		if doc != nil && len(doc.Files) > 0 {
			line(streams.Out, "layers, the top one first: %s", strings.Join(doc.FileNames(), ", "))
		}
		if doc != nil && rules {
			if err := table(streams.Out, ruleRows(doc.Rules())); err != nil {
				return err
			}
		}
	}
	if len(faults) > 0 {
		return quiet{fault.Usage}
	}
	return nil
}

func ruleRows(list []policy.Source) [][]string {
	var rows [][]string
	for _, r := range list {
		note := ""
		if r.Withdrawn {
			note = "withdrawn: it denies, and grants nothing"
		}
		rows = append(rows, []string{r.At.String(), r.Policy, r.Rule, note})
	}
	return rows
}

func printWarnings(w io.Writer, warnings policy.Warnings) {
	for _, one := range warnings {
		hint := one.Hint
		one.Hint = ""
		line(w, "warning: %s", one.String())
		if hint != "" {
			line(w, "  hint: %s", hint)
		}
	}
}

// printUnenforced says what a run would refuse the policy for.
func printUnenforced(w io.Writer, faults policy.Faults) {
	for _, f := range faults {
		line(w, "note: %s: %s: creel run does not enforce %s yet", f.At, f.Path, f.Found)
	}
}

// loadPolicy reads and compiles a policy file; - is standard input.
func loadPolicy(file string, streams IO) (*policy.Document, *policy.Engine, policy.Warnings, error) {
	var (
		doc      *policy.Document
		warnings policy.Warnings
		err      error
	)
	if file == "" {
		return nil, nil, nil, fault.UsageError("read policy", "its file has an empty name", "a variable that is not set gives one")
	}
	if file == "-" {
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(streams.In, policy.MaxBytes+1)); err == nil {
			doc, warnings, err = policy.Parse("stdin", data)
		}
	} else {
		doc, warnings, err = policy.Load(filepath.Clean(file))
	}
	if err != nil {
		if isLog(file) {
			return nil, nil, nil, fault.UsageError("read policy", file+" is an audit log, not a policy", "creel audit show "+quote(file))
		}
		if _, ok := asFaults(err); ok {
			return nil, nil, warnings, err
		}
		return nil, nil, nil, fault.Wrap(err, "", fault.Usage, policyHints(err, file, "creel policy default")...)
	}
	engine, err := policy.Compile(doc, policy.ResolveBinaries(realPath))
	if err != nil {
		return nil, nil, warnings, fault.Wrap(err, "", fault.Usage)
	}
	return doc, engine, append(warnings, doc.Ended(time.Now())...), nil
}

// realPath follows the links of a binary's path, as a run does.
func realPath(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return real
}

// policyHints are what to type when a policy file cannot be read; make prints a
// policy to begin with.
func policyHints(err error, file, make string) []string {
	switch info, statErr := os.Stat(file); {
	case errors.Is(err, fs.ErrPermission):
		return []string{"chmod u+r " + quote(file)}
	case statErr == nil && info.IsDir():
		return []string{"name a file: " + quote(filepath.Join(file, policyName))}
	case errors.Is(err, fs.ErrNotExist):
		return []string{make + " > " + quote(file)}
	}
	return nil
}
