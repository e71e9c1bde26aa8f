package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/audit/traffic"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/learn"
)

type learnFlags struct {
	base            string
	inference, json bool
}

func newPolicyLearn(streams IO) *cobra.Command {
	var f learnFlags
	cmd := &cobra.Command{
		Use:   "learn AUDIT|NAME [--base FILE]",
		Short: "Make the smallest policy that allows what was denied, for review",
		Long: `Make the smallest policy that allows what was denied or asked about, for review:
YAML of version 2 on standard output. With --base it is that policy with the rules
put into it, and what it allows already is left out. If FILE extends others, all
layers together are asked, and the rules are for FILE: under names that the layers
above open, or they are told with the layer that would have to open one.

There is one rule for a host and a program, with the methods and paths that were
asked for. Hosts and methods are never widened; of paths, segments that look like
ids and differ become *. Rules are ranked by risk, each with its reasons: writing
methods, connections that are not inspected, hosts asked for once, hosts first
asked for after something could be read from another one. The agent chose what to
ask for, so nothing of it is trusted by itself: REVIEW BEFORE USE.

AUDIT is an audit log; the NAME of a sandbox means its newest log, and - means
standard input. Its lines are verified on the way: what is damaged or missing is
reported with its line, and nothing is learned from damaged lines.

What no rule can allow, and what was denied by its message (a push, a tool), is told
on standard error, with what would allow it. Exit status 0: done, also if
there was nothing to learn; 2: bad input, also a log that is damaged (what its
sound lines teach is printed).`,
		Example: "  creel policy learn claude-7f3a --base creel.yaml > candidate.yaml\n  creel policy replay candidate.yaml claude-7f3a",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyLearn(cmd.Context(), args[0], f, streams)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.base, "base", "", "`FILE` of the policy that lacks something")
	fl.BoolVar(&f.inference, "inference", false, "as under run --inference: model hosts need no rules")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

// learnReport is the JSON of what was learned.
type learnReport struct {
	Review     string        `json:"review"`
	Policy     string        `json:"policy"`
	Rules      []learn.Rule  `json:"rules"`
	Left       []learnLeft   `json:"not_covered"`
	Denied     uint64        `json:"denied"`
	Already    uint64        `json:"already_allowed"`
	More       uint64        `json:"more,omitempty"` // denied calls of kinds beyond the bound
	Other      uint64        `json:"not_by_policy"`
	Unreadable uint64        `json:"unreadable"`
	Faults     []audit.Fault `json:"log_faults"`
	MoreFaults uint64        `json:"log_faults_more,omitempty"`
	Torn       *audit.Torn   `json:"log_torn,omitempty"`
}

type learnLeft struct {
	Host   string `json:"host"`
	Port   uint16 `json:"port"`
	Binary string `json:"binary,omitempty"`
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	Count  uint64 `json:"count"`
	Why    string `json:"why"`
}

func runPolicyLearn(ctx context.Context, log string, f learnFlags, streams IO) error {
	const op = "learn policy"
	if f.base == "-" && log == "-" {
		return fault.UsageError("read arguments", "only one of the two files can be standard input", "creel policy learn --help")
	}
	base, err := learnBase(f, streams)
	if err != nil {
		return err
	}
	in, err := openLog(ctx, log, streams)
	if err != nil {
		return err
	}
	defer in.Close()
	lines, err := logLines(in, log, op)
	if err != nil {
		return err
	}
	history := traffic.NewHistory()
	rep, err := traffic.Read(lines, history.Add)
	if err != nil {
		return fault.Wrap(err, op, fault.General)
	}
	if err := emptyLog(rep.Report, op); err != nil {
		return err
	}
	damage := printDamage(streams.Err, rep.Report, log)
	calls, denied, more := history.Denied()
	res, err := learn.Learn(base, calls, history.Hosts())
	if err != nil {
		return fault.Wrap(err, op, fault.Usage)
	}
	if f.json {
		err = writeJSON(streams.Out, learnedReport(res, rep, denied, more))
	} else if _, err = io.WriteString(streams.Out, res.Policy); err != nil {
		err = fault.Wrap(err, "write output", fault.General)
	} else {
		printLearned(streams.Err, res, denied, more)
	}
	if err == nil && damage {
		return quiet{fault.Usage}
	}
	return err
}

// learnBase reads the policy that lacks something. Without one, what is learned
// is a policy of its own.
func learnBase(f learnFlags, streams IO) (learn.Base, error) {
	const op = "read base"
	doc, base := &policy.Document{}, learn.Base{}
	if f.base != "" {
		var err error
		base = learn.Base{Name: f.base, Options: []policy.Option{policy.ResolveBinaries(realPath)}}
		if f.base == "-" {
			base.Name = "stdin"
			base.Text, err = io.ReadAll(io.LimitReader(streams.In, policy.MaxBytes+1))
		} else {
			base.Text, err = readFile(f.base)
		}
		if err != nil {
			return base, fault.Wrap(err, op, fault.Usage)
		}
		base.Parse = parserOf(f.base)
		if doc, _, err = base.Parse(base.Name, base.Text); err != nil {
			return base, fault.Wrap(err, op, fault.Usage)
		}
	}
	route, err := claimedHosts(f.inference, doc)
	if err != nil {
		return base, err
	}
	route.Close() // nothing was asked of it, and it only tells hosts
	base.Claims = route.Claims
	return base, nil
}

// readFile reads a policy's file, at most policy.MaxBytes and a little of it.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, policy.MaxBytes+1))
}

func learnedReport(res learn.Result, rep traffic.Log, denied, more uint64) learnReport {
	out := learnReport{
		Review: "review before use: the agent chose what to ask for, and nothing here is trusted by itself",
		Policy: res.Policy, Rules: res.Rules, Left: []learnLeft{}, Denied: denied, Already: res.Already, More: more,
		Other: rep.Other, Unreadable: rep.Unreadable, Faults: rep.Faults, MoreFaults: rep.Report.More, Torn: rep.Torn,
	}
	if out.Rules == nil {
		out.Rules = []learn.Rule{}
	}
	if out.Faults == nil {
		out.Faults = []audit.Fault{}
	}
	for _, l := range res.Left {
		out.Left = append(out.Left, learnLeft{l.Call.Host.String(), l.Call.Port, l.Call.Binary, l.Call.Method, l.Call.Path, l.Call.Count, l.Why})
	}
	return out
}

// printLearned says what the policy on standard output does not.
func printLearned(w io.Writer, res learn.Result, denied, more uint64) {
	const rows = 50
	for i, l := range res.Left {
		if i == rows {
			line(w, "and %d more that are not covered: --json lists them", len(res.Left)-rows)
			break
		}
		line(w, "not covered: %s: %s", callText(l.Call), l.Why)
	}
	if more > 0 {
		line(w, "not covered: %d more denied calls of other kinds", more)
	}
	covered := uint64(0)
	risks := make(map[learn.Risk]int)
	for _, r := range res.Rules {
		covered += r.Calls
		risks[r.Risk]++
	}
	text := fmt.Sprintf("%s: %d covered by %s", count(int(denied), "denied call"), covered, count(len(res.Rules), "rule"))
	if len(res.Rules) > 0 {
		text += fmt.Sprintf(" (risk: %d high, %d medium, %d low): review before use", risks[learn.High], risks[learn.Medium], risks[learn.Low])
	}
	if res.Already > 0 {
		text += fmt.Sprintf("; %d allowed by the base already", res.Already)
	}
	line(w, "%s", text)
}

func callText(c learn.Call) string {
	host := c.Host.String()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	text := fmt.Sprintf("%s:%d%s", host, c.Port, c.Path)
	if c.Method != "" {
		text = c.Method + " " + text
	}
	if c.Binary != "" {
		text += " by " + c.Binary
	}
	return text
}
