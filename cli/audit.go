package cli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

func newAudit(streams IO) *cobra.Command {
	return group("audit", "Verify, follow, show and remove audit logs", newAuditVerify(streams), newAuditTail(streams), newAuditShow(streams), newAuditPrune(streams))
}

const auditArg = `

FILE is an audit log; the NAME of a sandbox means its newest log, and - means
standard input.`

func newAuditVerify(streams IO) *cobra.Command {
	var (
		asJSON bool
		head   string
	)
	cmd := &cobra.Command{
		Use:   "verify FILE|NAME",
		Short: "Check that nothing in a log was changed, removed or put in",
		Long: `Check that nothing in a log was changed, removed or put in.

A log proves itself up to its last line. That nothing was cut off at its end, or
written anew as a whole, is proved by the hash of its last line kept elsewhere:
pass it with --head later.` + auditArg,
		Example:           "  creel audit verify ~/.local/state/creel/audit/claude-7f3a-20261123T101500.000.jsonl",
		ValidArgsFunction: completeLogs,
		Args:              exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAuditVerify(cmd.Context(), args[0], head, asJSON, streams)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&head, "head", "", "`HASH` that must be in the log, as an earlier verify printed it")
	return cmd
}

func runAuditVerify(ctx context.Context, what, head string, asJSON bool, streams IO) error {
	f, err := openLog(ctx, what, streams)
	if err != nil {
		return err
	}
	defer f.Close()
	lines, err := logLines(f, what, "verify audit log")
	if err != nil {
		return err
	}
	rep, err := audit.VerifyHead(lines, head)
	if err != nil {
		return fault.Wrap(err, "verify audit log", fault.General)
	}
	if rep.Lines == 0 && rep.Torn == nil {
		return fault.Errorf("verify audit log", "the log is empty: nothing was recorded because the start failed, or its lines were cut off")
	}
	if asJSON {
		if err := writeJSON(streams.Out, rep); err != nil {
			return err
		}
		return verdict(rep)
	}
	for _, ft := range rep.Faults {
		line(streams.Out, "line %d: %s", ft.Line, ft.Problem)
	}
	if rep.More > 0 {
		line(streams.Out, "and %d more faults", rep.More)
	}
	if rep.Torn != nil {
		line(streams.Out, "line %d: torn: its last %d bytes have no end (offset %d)", rep.Lines+1, rep.Torn.Bytes, rep.Torn.Offset)
	}
	if rep.OK() {
		line(streams.Out, "ok: %s, %s to %s", count(int(rep.Lines), "event"), stamp(rep.First), stamp(rep.Last))
		if !rep.Ended && rep.Lines > 0 {
			line(streams.Out, "the last event is not the end of a sandbox: it still runs, was killed, or lines were cut off")
		}
	}
	if rep.Head != "" {
		line(streams.Out, "head %s", rep.Head)
	}
	return verdict(rep)
}

func stamp(t time.Time) string { return t.Local().Format(time.DateTime) }

func verdict(rep audit.Report) error {
	if rep.OK() {
		return nil
	}
	return quiet{fault.General}
}

func newAuditShow(streams IO) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "show FILE|NAME",
		Short:             "Summarise a log: allowed, denied, rerouted, and what would allow it",
		Long:              "Summarise a log: allowed, denied, rerouted, bytes, time, and the policy lines that\nwould allow what was denied. It does not verify." + auditArg,
		Example:           "  creel audit show claude-7f3a",
		ValidArgsFunction: completeLogs,
		Args:              exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAuditShow(cmd.Context(), args[0], asJSON, streams)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runAuditShow(ctx context.Context, what string, asJSON bool, streams IO) error {
	f, err := openLog(ctx, what, streams)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := audit.NewSummary()
	var broken error
	loaded := map[string]string{} // what the log tells of the policy that was put into force last
	for e, err := range audit.Read(f) {
		if err != nil {
			broken = fault.Wrap(err, "show audit log", fault.General, "creel audit verify "+quote(what))
			break
		}
		if e.Kind == audit.PolicyLoad {
			loaded = e.Detail
		}
		sum.Add(e)
	}
	now := inForce(ctx, what, loaded)
	suggest := audit.SuggestFor(now.engine)
	d := sum.Data(suggest)
	if now.waits && d.Policy == "" {
		// The file allows it all, and it is not what holds.
		suggest = audit.SuggestFor(nil)
		d = sum.Data(suggest)
	} else {
		now.waits = false
	}
	if asJSON {
		return errors.Join(writeJSON(streams.Out, d), broken)
	}
	err = sum.Render(streams.Out, audit.SummaryOptions{Suggest: suggest, Rows: 200, Where: now.where})
	switch {
	case !strings.HasPrefix(d.Policy, "network_policies:"):
	case now.waits:
		line(streams.Err, "hint: %s allows these, but is not in force: creel reload %s --policy %s", quote(now.file), what, quote(now.file))
	case now.next != "":
		line(streams.Err, "hint: %s", now.next)
	}
	return errors.Join(err, broken)
}

// policyNow is the policy of a sandbox as its file is now.
type policyNow struct {
	engine *policy.Engine // nil: lines are proposed as if nothing was allowed
	file   string         // "": no file
	waits  bool           // the file holds another policy than the one in force
	where  string         // what lines are added to
	next   string         // what to type then
}

// inForce looks at the policy of the sandbox NAME: what is proposed is to be added to
// its file as that is now, also when the sandbox has ended. loaded is what the log
// tells of the last revision.
func inForce(ctx context.Context, name string, loaded map[string]string) policyNow {
	inForce := loaded["policy"]
	_, err := os.Lstat(name)
	running := err != nil && api.CheckName(name) == nil
	if running {
		box, err := ask(ctx, name)
		if running = err == nil; running {
			name, inForce = box.Name, box.Policy
		}
	}
	if !filepath.IsAbs(inForce) {
		agent, isAgent := strings.CutPrefix(inForce, "agent ")
		show := "creel policy default"
		file := "~/creel.yaml"
		if isAgent {
			show, file = "creel agent policy "+agent, "~/"+agent+".yaml"
		}
		p := policyNow{}
		if inForce != "" {
			p.where = "a policy of your own (" + show + " > " + file + ")"
		}
		if running {
			p.next = "when they are there: creel reload " + name + " --policy " + file
		}
		return p
	}
	p := policyNow{file: inForce, where: inForce}
	if running {
		p.next = "save them in " + quote(p.file) + ": they hold at once; else: creel reload " + name + " --policy " + quote(p.file)
	}
	if info, err := os.Stat(p.file); err != nil || !info.Mode().IsRegular() {
		return p // a log may name anything
	}
	data, err := readFile(p.file)
	if err != nil {
		return p
	}
	doc, _, err := policy.Load(p.file)
	if err != nil {
		return p
	}
	engine, err := policy.Compile(doc)
	if err != nil {
		return p
	}
	sum := sha256.Sum256(data)
	// The hash of a policy in layers covers them all: that one is taken as in force.
	p.engine, p.waits = engine, running && !strings.Contains("\n"+string(data), "\nextends:") && loaded["policy_sha256"] != "" && loaded["policy_sha256"] != hex.EncodeToString(sum[:])
	return p
}

func newAuditTail(streams IO) *cobra.Command {
	var (
		asJSON, follow bool
		lines          int
	)
	cmd := &cobra.Command{
		Use:               "tail FILE|NAME",
		Short:             "Print the last events of a log",
		Long:              "Print the last events of a log, and with --follow those to come, until the sandbox ends." + auditArg,
		Example:           "  creel audit tail --follow claude-7f3a",
		ValidArgsFunction: completeLogs,
		Args:              exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAuditTail(cmd.Context(), args[0], lines, follow, asJSON, streams)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the lines as they are")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more until the sandbox ends")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "how many events, at most 10000")
	want(cmd.Flags(), "lines", "a number of events of 0..10000")
	return cmd
}

func runAuditTail(ctx context.Context, what string, n int, follow, asJSON bool, streams IO) error {
	const most = 10000 // events held in memory
	if n < 0 || n > most {
		return fault.UsageError("read flags", fmt.Sprintf("--lines wants 0 to %d", most))
	}
	f, err := openLog(ctx, what, streams)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 64<<10)
	ring := make([][]byte, 0, n)
	next, ended := 0, false
	var part []byte // of a line whose end is not there yet
	for {
		l, err := in.ReadBytes('\n')
		if err != nil {
			part = l
			if !errors.Is(err, io.EOF) {
				return fault.Wrap(err, "read audit log", fault.General)
			}
			break
		}
		ended = endsSandbox(l)
		switch {
		case n == 0:
		case len(ring) < n:
			ring = append(ring, l)
		default:
			ring[next] = l
			next = (next + 1) % n
		}
	}
	for i := range ring {
		if err := tailLine(streams.Out, ring[(next+i)%len(ring)], asJSON); err != nil {
			return err
		}
	}
	for follow {
		if ended && len(part) == 0 && in.Buffered() == 0 {
			line(streams.Err, "creel: the sandbox has ended, nothing more will come")
			return nil
		}
		l, err := in.ReadBytes('\n')
		part = append(part, l...)
		if err == nil {
			if err := tailLine(streams.Out, part, asJSON); err != nil {
				return err
			}
			ended = endsSandbox(part)
			part = nil
			continue
		}
		if !errors.Is(err, io.EOF) {
			return fault.Wrap(err, "read audit log", fault.General)
		}
		// The log is a plain file: it is looked at again a few times a second.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// endsSandbox: no event of that sandbox follows this one.
func endsSandbox(l []byte) bool {
	var e audit.Event
	return json.Unmarshal(l, &e) == nil && e.Kind == audit.SandboxExit
}

func tailLine(w io.Writer, l []byte, asJSON bool) error {
	var e audit.Event
	err := json.Unmarshal(l, &e)
	switch {
	case err != nil:
		// Shown, for what it is: hiding it would hide what somebody put in.
		line(w, "not an event: %s", l[:min(len(l)-1, 200)])
	case asJSON:
		if l, err = json.Marshal(e); err == nil {
			_, err = w.Write(append(audit.PrintableJSON(l), '\n'))
		}
		return err
	default:
		_, err = fmt.Fprintln(w, e.Text())
		return err
	}
	return nil
}

// openLog opens FILE, - or the log of the running sandbox NAME.
func openLog(ctx context.Context, what string, streams IO) (io.ReadCloser, error) {
	const op = "open audit log"
	if what == "-" {
		return io.NopCloser(streams.In), nil
	}
	path := what
	if _, err := os.Lstat(path); err != nil && api.CheckName(what) == nil {
		if box, err := ask(ctx, what); err == nil {
			path = box.Audit
		} else if state, err := stateLog(what); err == nil {
			path = state
		}
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) && api.CheckName(what) == nil && !strings.Contains(what, "/") {
		return nil, fault.UsageError(op, "there is no file "+what+", and no sandbox of that name has left a log", logHints(what)...)
	}
	if err != nil {
		return nil, fault.Wrap(err, op, fault.Usage, logHints("")...)
	}
	if !info.Mode().IsRegular() {
		return nil, fault.UsageError(op, path+" is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Wrap(err, op, fault.Usage)
	}
	return f, nil
}

// logHints name the nearest log that there is, and where they are.
func logHints(name string) []string {
	state, err := api.StateDir()
	if err != nil {
		return []string{"creel ls"}
	}
	dir := filepath.Join(state, "audit")
	hints := []string{"ls -t " + quote(dir)}
	entries, err := os.ReadDir(dir)
	if err != nil || name == "" {
		return hints
	}
	var names []string
	for _, e := range entries {
		if known, _, ok := logName(e.Name()); ok {
			names = append(names, known)
		}
	}
	slices.Sort(names)
	if near, ok := nearest(name, slices.Compact(names)); ok {
		hints = append([]string{"did you mean: " + near}, hints...)
	}
	return hints
}

// stateLog is the newest log in the state folder of a sandbox that has ended.
func stateLog(name string) (string, error) {
	state, err := api.StateDir()
	if err != nil {
		return "", err
	}
	return newestLog(filepath.Join(state, "audit"), name)
}

// newestLog finds NAME-TIME.jsonl with the latest time.
func newestLog(dir, name string) (string, error) {
	entries, err := os.ReadDir(dir) // sorted, and the time sorts as text
	if err != nil {
		return "", err
	}
	for _, e := range slices.Backward(entries) {
		if of, _, ok := logName(e.Name()); ok && of == name {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", os.ErrNotExist
}
