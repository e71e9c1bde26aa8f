package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/expect"
)

type expectFlags struct{ inference, json bool }

func newPolicyTest(streams IO) *cobra.Command {
	var f expectFlags
	cmd := &cobra.Command{
		Use:   "test FILE EXPECTATIONS",
		Short: "Check a policy against a list of requests with the wanted verdicts",
		Long: `Check a policy against a list of requests with the wanted verdicts.

EXPECTATIONS is a YAML list. Each entry names a host, and may name port (443),
binary, ancestors, sha256, at (a time), and method with path; without the two the
connection is judged. What a request holds is told with graphql, operation,
rpc_method, tool, ref, force, delete and text, as with the flags of policy explain. want is allow, deny, ask or reroute. rule is the key of the network
policy that must decide ("" for none), audited whether it may pass only because
enforcement is audit:

  - {host: api.example.test, binary: /usr/bin/curl, method: GET, path: /v1/items, want: allow}
  - {host: api.example.test, binary: /usr/bin/curl, method: POST, path: /v1/items, want: deny}
  - {host: other.example.test, want: deny, rule: ""}

One of the two files may be -, which is standard input. The output has one line
for each entry, in the form of TAP; of what is not as wanted it says what came
instead, and the nearest rule.

Exit status 0: all as wanted; 1: some are not; 2: one of the files is faulty.`,
		Example: "  creel policy test creel.yaml expectations.yaml",
		Args:    exactly(2),
		RunE:    func(_ *cobra.Command, args []string) error { return runPolicyTest(args[0], args[1], f, streams) },
	}
	cmd.Flags().BoolVar(&f.inference, "inference", false, "as under run --inference: model hosts are rerouted")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func runPolicyTest(file, expectations string, f expectFlags, streams IO) error {
	if file == "-" && expectations == "-" {
		return fault.UsageError("read arguments", "only one of the two files can be standard input", "creel policy test --help")
	}
	doc, engine, warnings, err := loadPolicy(file, streams)
	if err != nil {
		return err
	}
	cases, err := loadExpectations(expectations, streams)
	if err != nil {
		return err
	}
	printWarnings(streams.Err, warnings)
	route, err := claimedHosts(f.inference, doc)
	if err != nil {
		return err
	}
	defer route.Close()
	if faults := expect.Faults(engine, route, cases); len(faults) > 0 {
		return fault.Wrap(faults, "read expectations", fault.Usage)
	}
	results := expect.Run(engine, route, cases)
	failed := 0
	for _, r := range results {
		if !r.OK() {
			failed++
		}
	}
	if f.json {
		err = writeJSON(streams.Out, tested(results, failed))
	} else {
		err = printTAP(streams.Out, results, failed)
	}
	if err == nil && failed > 0 {
		return quiet{fault.General}
	}
	return err
}

// loadExpectations reads a list of expectations; - is standard input.
func loadExpectations(file string, streams IO) ([]expect.Case, error) {
	const op = "read expectations"
	in, name := streams.In, "stdin"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fault.Wrap(err, op, fault.Usage)
		}
		defer f.Close()
		in, name = f, file
	}
	data, err := io.ReadAll(io.LimitReader(in, policy.MaxBytes+1))
	if err != nil {
		return nil, fault.Wrap(err, op, fault.Usage)
	}
	cases, err := expect.Parse(name, data)
	if err != nil {
		return nil, fault.Wrap(err, op, fault.Usage)
	}
	return cases, nil
}

// printTAP writes results in the form of the Test Anything Protocol: what reads
// it counts lines that begin with ok and not ok; the rest is for people.
func printTAP(w io.Writer, results []expect.Result, failed int) error {
	var b strings.Builder
	put := func(format string, args ...any) {
		b.WriteString(audit.Printable(fmt.Sprintf(format, args...)) + "\n")
	}
	put("1..%d", len(results))
	for i, r := range results {
		// A # would begin a directive of the protocol.
		name := strings.ReplaceAll(r.Name, "#", `\#`)
		if r.OK() {
			put("ok %d - %s", i+1, name)
			continue
		}
		put("not ok %d - %s", i+1, name)
		put("  # at %s", r.At)
		for _, p := range r.Problems {
			put("  # %s", p)
		}
		put("  # decided by %s: %s", ruleText(r.Got.Rule), r.Got.Reason)
		if r.Got.Nearest != nil {
			put("  # nearest rule: %s", ruleText(*r.Got.Nearest))
			for _, m := range r.Got.Misses {
				put("  #   %s", m.Sentence())
			}
		}
	}
	put("# %s, %d as wanted, %d not", count(len(results), "expectation"), len(results)-failed, failed)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fault.Wrap(err, "write output", fault.General)
	}
	return nil
}

type testReport struct {
	OK     bool         `json:"ok"`
	Passed int          `json:"passed"`
	Failed int          `json:"failed"`
	Tests  []testResult `json:"tests"`
}

type testResult struct {
	Number   int             `json:"number"`
	OK       bool            `json:"ok"`
	Name     string          `json:"name"`
	At       policy.Position `json:"at"`
	Want     testWant        `json:"want"`
	Got      policy.Decision `json:"got"`
	Problems []string        `json:"problems,omitempty"`
	Nearest  *policy.Rule    `json:"nearest,omitempty"`
	Misses   []policy.Miss   `json:"misses,omitempty"`
}

type testWant struct {
	Verdict policy.Verdict `json:"verdict"`
	Rule    *string        `json:"rule,omitempty"`
	Audited *bool          `json:"audited,omitempty"`
}

func tested(results []expect.Result, failed int) testReport {
	rep := testReport{OK: failed == 0, Passed: len(results) - failed, Failed: failed, Tests: make([]testResult, len(results))}
	for i, r := range results {
		t := testResult{
			Number: i + 1, OK: r.OK(), Name: r.Name, At: r.At, Want: testWant{Verdict: r.Want, Audited: r.Audited},
			Got: r.Got.Decision, Problems: r.Problems,
		}
		if !r.AnyRule {
			t.Want.Rule = &r.Rule
		}
		if !r.OK() {
			t.Nearest, t.Misses = r.Got.Nearest, r.Got.Misses
		}
		rep.Tests[i] = t
	}
	return rep
}
