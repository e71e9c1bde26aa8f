package cli

import (
	"bufio"
	"bytes"
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
)

func newPolicyReplay(streams IO) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay FILE AUDIT|NAME",
		Short: "Say what a policy would have done to recorded traffic",
		Long: `Say what a policy would have done to the traffic of an audit log: the calls that
flip, with the verdict and the rule then and now, and how often each was made.

AUDIT is an audit log; the NAME of a sandbox means its newest log, and - means
standard input. Its lines are verified on the way: what is damaged or missing is
reported with its line, and damaged lines count for nothing.

A log keeps no query of a request, and of a caller neither its parents nor its
digest. Where the policy looks at one of them, a call cannot be told, and is
listed as such.

Exit status 0: no call flips; 1: some do; 2: bad input, also a log that is
damaged (the answer about its sound lines is printed).`,
		Example: "  creel policy replay candidate.yaml ~/.local/state/creel/audit/claude-7f3a-20261123T101500.000.jsonl",
		Args:    exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyReplay(cmd.Context(), args[0], args[1], f, streams)
		},
	}
	cmd.Flags().BoolVar(&f.inference, "inference", false, "as under run --inference: model hosts are rerouted")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

type replayFlags struct{ inference, json bool }

// replayReport is the JSON of a replay.
type replayReport struct {
	Flips      []traffic.Change `json:"flips"`
	Unsure     []traffic.Change `json:"unsure"`
	Calls      uint64           `json:"calls"`
	Same       uint64           `json:"same"`
	Flipped    uint64           `json:"flipped"`
	Untold     uint64           `json:"cannot_be_told"`
	More       uint64           `json:"more,omitempty"` // of kinds beyond the bound: not told apart
	Other      uint64           `json:"not_by_policy"`
	Unreadable uint64           `json:"unreadable"`
	Faults     []audit.Fault    `json:"log_faults"`
	MoreFaults uint64           `json:"log_faults_more,omitempty"`
	Torn       *audit.Torn      `json:"log_torn,omitempty"`
}

func runPolicyReplay(ctx context.Context, file, log string, f replayFlags, streams IO) error {
	if file == "-" && log == "-" {
		return fault.UsageError("read arguments", "only one of the two files can be standard input", "creel policy replay --help")
	}
	if isLog(file) {
		return fault.UsageError("read arguments", file+" is an audit log, and the policy comes first", "creel policy replay "+quote(log)+" "+quote(file))
	}
	doc, engine, warnings, err := loadPolicy(file, streams)
	if err != nil {
		return err
	}
	in, err := openLog(ctx, log, streams)
	if err != nil {
		return err
	}
	defer in.Close()
	printWarnings(streams.Err, warnings)
	route, err := claimedHosts(f.inference, doc)
	if err != nil {
		return err
	}
	defer route.Close()
	lines, err := logLines(in, log, "replay audit log")
	if err != nil {
		return err
	}
	replay := traffic.NewReplay(engine, route.Claims, route.Serves)
	rep, err := traffic.Read(lines, replay.Add)
	if err != nil {
		return fault.Wrap(err, "replay audit log", fault.General)
	}
	if err := emptyLog(rep.Report, "replay audit log"); err != nil {
		return err
	}
	damage := printDamage(streams.Err, rep.Report, log)
	res := replay.Result()
	out := replayReport{
		Flips: res.Flips, Unsure: res.Unsure, Calls: rep.Calls, Same: res.Same, More: res.More, Other: rep.Other,
		Unreadable: rep.Unreadable, Faults: rep.Faults, MoreFaults: rep.Report.More, Torn: rep.Torn,
	}
	out.sum()
	if f.json {
		err = writeJSON(streams.Out, out)
	} else {
		err = printReplay(streams.Out, out)
	}
	switch {
	case err != nil:
		return err
	case damage:
		return quiet{fault.Usage}
	case out.Flipped > 0 || out.More > 0:
		return quiet{fault.General}
	}
	return nil
}

func (r *replayReport) sum() {
	for _, c := range r.Flips {
		r.Flipped += c.Count
	}
	for _, c := range r.Unsure {
		r.Untold += c.Count
	}
	// Lists are lists, also when they are empty.
	if r.Flips == nil {
		r.Flips = []traffic.Change{}
	}
	if r.Unsure == nil {
		r.Unsure = []traffic.Change{}
	}
	if r.Faults == nil {
		r.Faults = []audit.Fault{}
	}
}

// logLines is a log that has lines of one: a file of another kind would give a
// warning for every line.
func logLines(in io.Reader, log, op string) (io.Reader, error) {
	lines := bufio.NewReaderSize(in, 64<<10)
	if audit.Foreign(lines) {
		name := log
		if log == "-" {
			name = "standard input"
		}
		hints := logHints("")
		if head, _ := lines.Peek(lines.Size()); log != "-" && bytes.Contains(append([]byte{'\n'}, head...), []byte("\nversion:")) {
			hints = append([]string{"it looks like a policy: creel policy check " + quote(log)}, hints...)
		}
		return nil, fault.UsageError(op, name+" is no audit log: none of its first lines is an event", hints...)
	}
	return lines, nil
}

// isLog reports whether a file begins and ends with events of a log.
func isLog(file string) bool {
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return false // a pipe is read once
	}
	_, _, err := audit.Ends(file)
	return err == nil
}

// emptyLog: every log begins with the start of a sandbox.
func emptyLog(rep audit.Report, op string) error {
	if rep.Lines == 0 && rep.Torn == nil {
		return fault.UsageError(op, "the log is empty: every log begins with the start of a sandbox")
	}
	return nil
}

// printDamage tells what is wrong with a log, and reports whether lines of it
// are damaged or missing. A torn last line alone is how a log looks that is
// being written.
func printDamage(w io.Writer, rep audit.Report, log string) bool {
	for _, ft := range rep.Faults {
		line(w, "warning: line %d: %s", ft.Line, ft.Problem)
	}
	if rep.More > 0 {
		line(w, "warning: and %d more faults of the log", rep.More)
	}
	if rep.Torn != nil {
		line(w, "warning: line %d: torn: its last %d bytes have no end", rep.Lines+1, rep.Torn.Bytes)
	}
	if len(rep.Faults) == 0 {
		return false
	}
	line(w, "  hint: the answer is about the sound lines alone; creel audit verify %s", quote(log))
	return true
}

func printReplay(w io.Writer, r replayReport) error {
	var b strings.Builder
	opened := func(c traffic.Change) bool { return lets(c.Now.Verdict) && !lets(c.Then.Verdict) }
	closed := func(c traffic.Change) bool { return !lets(c.Now.Verdict) && lets(c.Then.Verdict) }
	section := func(title string, list []traffic.Change, take func(traffic.Change) bool) {
		first := true
		for _, c := range list {
			if !take(c) {
				continue
			}
			if first {
				b.WriteString(title + "\n")
				first = false
			}
			b.WriteString(flipText(c))
		}
	}
	section("denied then, allowed now:", r.Flips, opened)
	section("allowed then, denied now:", r.Flips, closed)
	section("another verdict:", r.Flips, func(c traffic.Change) bool { return !opened(c) && !closed(c) })
	section("cannot be told from the log:", r.Unsure, func(traffic.Change) bool { return true })
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more calls of other kinds\n", r.More)
	}
	fmt.Fprintf(&b, "%s: %d as before, %d flip, %d cannot be told\n", count(int(r.Calls), "call"), r.Same, r.Flipped+r.More, r.Untold)
	if r.Other > 0 {
		fmt.Fprintf(&b, "%s not asked: the policy did not decide them (addresses, malformed requests, packets, names)\n", count(int(r.Other), "denial"))
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(&b, "%s not asked: host, path or program is recorded shortened, or is none\n", count(int(r.Unreadable), "call"))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fault.Wrap(err, "write output", fault.General)
	}
	return nil
}

// lets: the traffic gets out.
func lets(v policy.Verdict) bool { return v == policy.Allow || v == policy.Reroute }

func flipText(c traffic.Change) string {
	host := c.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	what := fmt.Sprintf("%s:%d%s", host, c.Port, c.Path)
	if c.Method != "" {
		what = c.Method + " " + what
	}
	switch {
	case c.Binary == "":
	case c.Known:
		what += " by " + c.Binary
	default:
		what += " by " + c.Binary + " (unverified)"
	}
	note := ""
	switch {
	case c.Unsure != "":
		note = "; it depends on " + c.Unsure
	case c.Now.Audited:
		note = "; allowed only because enforcement is audit"
	case c.Inspected && lets(c.Now.Verdict):
		note = "; requests on it are judged one by one"
	}
	text := fmt.Sprintf("%6d× %s (line %d)", c.Count, what, c.First)
	then := fmt.Sprintf("        then: %s by %s", c.Then.Verdict, decidedBy(c.Then))
	now := fmt.Sprintf("        now:  %s by %s: %s%s", c.Now.Verdict, decidedBy(c.Now), c.Reason, note)
	return audit.Printable(text) + "\n" + audit.Printable(then) + "\n" + audit.Printable(now) + "\n"
}

func decidedBy(d traffic.Decided) string {
	switch {
	case d.Rule == "":
		return "no rule"
	case d.At == "":
		return d.Rule
	}
	return d.Rule + " (" + d.At + ")"
}
