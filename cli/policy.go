package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

func newPolicy(streams IO) *cobra.Command {
	return group("policy", "Check and explain policies", newPolicyCheck(streams), newPolicyExplain(streams), newPolicyDefault(streams))
}

func newPolicyDefault(streams IO) *cobra.Command {
	return &cobra.Command{
		Use:     "default",
		Short:   "Print the built-in policy",
		Long:    "Print the policy that holds when none is named and the workspace has no creel.yaml.",
		Example: "  creel policy default > creel.yaml",
		Args:    exactly(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(streams.Out, policy.Default())
			return err
		},
	}
}

func newPolicyCheck(streams IO) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "check FILE",
		Short:   "Report everything that is wrong with a policy",
		Long:    "Report everything that is wrong with a policy, each with file, line and column. - is standard input.",
		Example: "  creel policy check creel.yaml",
		Args:    exactly(1),
		RunE:    func(_ *cobra.Command, args []string) error { return runPolicyCheck(args[0], asJSON, streams) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

type checked struct {
	OK       bool             `json:"ok"`
	Faults   []checkedFault   `json:"faults"`
	Warnings []policy.Warning `json:"warnings"`
}

type checkedFault struct {
	policy.Fault
	Text string `json:"text"`
}

func runPolicyCheck(file string, asJSON bool, streams IO) error {
	_, _, warnings, err := loadPolicy(file, streams)
	faults, ok := asFaults(err)
	if err != nil && !ok {
		return err
	}
	if asJSON {
		out := checked{OK: err == nil, Faults: []checkedFault{}, Warnings: warnings}
		if out.Warnings == nil {
			out.Warnings = []policy.Warning{}
		}
		for _, f := range faults {
			out.Faults = append(out.Faults, checkedFault{f, f.Error()})
		}
		if err := writeJSON(streams.Out, out); err != nil {
			return err
		}
	} else {
		printFaults(streams.Out, faults)
		printWarnings(streams.Out, warnings)
		switch {
		case len(faults) > 0:
			line(streams.Out, "%s: %s", file, count(len(faults), "fault"))
		case len(warnings) > 0:
			line(streams.Out, "%s: ok, %s", file, count(len(warnings), "warning"))
		default:
			line(streams.Out, "%s: ok", file)
		}
	}
	if len(faults) > 0 {
		return quiet{fault.Usage}
	}
	return nil
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

// loadPolicy reads and compiles a policy file; - is standard input.
func loadPolicy(file string, streams IO) (*policy.Document, *policy.Engine, policy.Warnings, error) {
	var (
		doc      *policy.Document
		warnings policy.Warnings
		err      error
	)
	if file == "-" {
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(streams.In, policy.MaxBytes+1)); err == nil {
			doc, warnings, err = policy.Parse("stdin", data)
		}
	} else {
		doc, warnings, err = policy.Load(filepath.Clean(file))
	}
	if err != nil {
		if _, ok := asFaults(err); ok {
			return nil, nil, warnings, err
		}
		return nil, nil, nil, fault.Wrap(err, "", fault.Usage)
	}
	engine, err := policy.Compile(doc)
	if err != nil {
		return nil, nil, warnings, fault.Wrap(err, "", fault.Usage)
	}
	return doc, engine, warnings, nil
}

type explainFlags struct {
	binary, host, method, path string
	port                       uint16
	json                       bool
}

func newPolicyExplain(streams IO) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain FILE --host HOST [--port N] [--binary PATH] [--method M --path P]",
		Short: "Say what a policy does with one connection or request, and why",
		Long: `Say what a policy does with one connection or request, and why.

Without --method and --path it judges the connection. Exit status 0 means that
an answer was given, whatever it is.`,
		Example: "  creel policy explain creel.yaml --binary /usr/bin/curl --host api.example.test --method GET --path /v1/items",
		Args:    exactly(1),
		RunE:    func(_ *cobra.Command, args []string) error { return runPolicyExplain(args[0], f, streams) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.host, "host", "", "host name or address")
	fl.Uint16Var(&f.port, "port", 443, "port")
	fl.StringVar(&f.binary, "binary", "", "path of the calling program (default: unknown)")
	fl.StringVar(&f.method, "method", "", "method of an HTTP request")
	fl.StringVar(&f.path, "path", "", "path of an HTTP request, with its query")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

type explained struct {
	Verdict string      `json:"verdict"`
	Rule    policy.Rule `json:"rule"`
	Reason  string      `json:"reason"`
	Audited bool        `json:"audited,omitempty"`
	Inspect bool        `json:"inspect"` // requests are judged one by one
	Suggest string      `json:"suggest,omitempty"`
}

func runPolicyExplain(file string, f explainFlags, streams IO) error {
	const op = "read flags"
	if f.host == "" {
		return fault.UsageError(op, "--host is needed", "creel policy explain --help")
	}
	if (f.method == "") != (f.path == "") {
		return fault.UsageError(op, "--method and --path belong together")
	}
	host, err := netname.ParseHost(f.host)
	if err != nil {
		return fault.Wrap(err, "read --host", fault.Usage)
	}
	_, engine, warnings, err := loadPolicy(file, streams)
	if err != nil {
		return err
	}
	printWarnings(streams.Err, warnings)
	conn := policy.Connection{Host: host, Port: f.port, Binary: f.binary, KnownCaller: f.binary != ""}
	on := engine.Connect(conn)
	out := explained{Verdict: on.Verdict.String(), Rule: on.Rule, Reason: on.Reason, Audited: on.Audited, Inspect: on.Inspect}
	if f.method != "" && on.Verdict == policy.Allow {
		if !on.Inspect {
			out.Reason += " (requests on it are not inspected)"
		} else {
			t, err := target.Parse(f.path, on.AllowEncodedSlash)
			if err != nil {
				return fault.Wrap(err, "read --path", fault.Usage)
			}
			d := engine.Request(policy.Request{Connection: conn, Method: f.method, Target: t})
			out.Verdict, out.Rule, out.Reason, out.Audited = d.Verdict.String(), d.Rule, d.Reason, d.Audited
		}
	}
	if f.json {
		return writeJSON(streams.Out, out)
	}
	return printExplained(streams.Out, f, out)
}

func printExplained(w io.Writer, f explainFlags, out explained) error {
	rule := "none"
	if out.Rule.Policy != "" {
		rule = out.Rule.Policy
		if at := out.Rule.At.String(); at != "" {
			rule = fmt.Sprintf("%s (%s)", rule, at)
		}
	}
	rows := [][]string{{"verdict", out.Verdict}, {"rule", rule}, {"reason", out.Reason}}
	if out.Audited {
		rows = append(rows, []string{"note", "allowed only because enforcement is audit"})
	}
	if f.method == "" && out.Inspect {
		rows = append(rows, []string{"note", "requests on it are judged one by one: add --method and --path"})
	}
	return table(w, rows)
}
