package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// pruneFlags say which logs go.
type pruneFlags struct {
	olderThan   string
	keep        int
	keepSet     bool
	dry, asJSON bool
}

func newAuditPrune(streams IO) *cobra.Command {
	var f pruneFlags
	cmd := &cobra.Command{
		Use:   "prune [NAME…] [--older-than TIME] [--keep N]",
		Short: "Remove old logs from the state folder",
		Long: `Remove old logs from the state folder: those that nothing was written to for the
given time, those beyond the newest N, or with both flags those that are both.
With names, the logs of these sandboxes alone are looked at and counted.

A log that a sandbox is writing, or that was written to in the last minute, always
stays. So does what lies elsewhere (--audit FILE). What is removed cannot be had
back, and nobody can verify it any more; --dry-run lists it and removes nothing.`,
		Example: `  creel audit prune --older-than 30d --dry-run
  creel audit prune --older-than 30d --keep 100
  creel audit prune claude-7f3a --keep 5`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeLogNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			f.keepSet = cmd.Flags().Changed("keep")
			state, err := api.StateDir()
			if err != nil {
				return err
			}
			return runAuditPrune(filepath.Join(state, "audit"), names, f, time.Now(), streams)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.olderThan, "older-than", "", "what nothing was written to for this `TIME`, like 30d or 12h")
	fl.IntVar(&f.keep, "keep", 0, "let the newest `N` stay")
	want(fl, "keep", "a number of logs, at least 1")
	fl.BoolVar(&f.dry, "dry-run", false, "list them, and remove nothing")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// settled is for how long nothing was written to a log that may go: a start makes
// its log before it holds the lock on it.
const settled = time.Minute

// pruned is the JSON of a prune.
type pruned struct {
	Removed []oldLog `json:"removed"` // with dry_run: those that would be
	InUse   []oldLog `json:"in_use"`  // that would have gone, and are being written
	Bytes   int64    `json:"bytes"`   // of what was removed
	Left    int      `json:"left"`    // logs that stay, those in use among them
	DryRun  bool     `json:"dry_run"`
}

// oldLog is a log of the state folder, by its name and what the file system says.
type oldLog struct {
	Path    string    `json:"path"`
	Name    string    `json:"name"` // of the sandbox
	Started time.Time `json:"started"`
	Written time.Time `json:"written"` // last
	Bytes   int64     `json:"bytes"`
}

func runAuditPrune(dir string, names []string, f pruneFlags, now time.Time, streams IO) error {
	const op = "prune audit logs"
	age, err := f.check(names)
	if err != nil {
		return err
	}
	out := pruned{Removed: []oldLog{}, InUse: []oldLog{}, DryRun: f.dry}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.print(out, streams)
	case err != nil:
		return fault.Wrap(err, op, fault.General)
	case !info.IsDir():
		return fault.Errorf(op, "%s is no folder: a link is not followed", dir)
	}
	folder, err := os.OpenRoot(dir)
	if err != nil {
		return fault.Wrap(err, op, fault.General)
	}
	defer folder.Close()
	all, err := logsIn(folder, names)
	if err != nil {
		return fault.Wrap(err, op, fault.General)
	}
	if len(all) == 0 && len(names) > 0 {
		return fault.UsageError(op, "no sandbox named "+strings.Join(names, " or ")+" has left a log", logHints(names[0])...)
	}
	out.Left = len(all)
	var failed []error
	recent := 0
	for i, l := range all {
		switch since := now.Sub(l.Written); {
		case i < f.keep, since < age:
			continue
		case since < settled:
			recent++
			continue
		}
		switch err := audit.Remove(folder, filepath.Base(l.Path), f.dry); {
		case errors.Is(err, audit.ErrInUse):
			out.InUse = append(out.InUse, l)
		case errors.Is(err, fs.ErrNotExist): // somebody else was quicker
			out.Left--
		case err != nil:
			failed = append(failed, err)
		default:
			out.Removed, out.Bytes, out.Left = append(out.Removed, l), out.Bytes+l.Bytes, out.Left-1
		}
	}
	if err := f.print(out, streams); err != nil {
		return err
	}
	if recent > 0 && !f.asJSON {
		line(streams.Err, "creel: %s written to in the last minute: such a log always stays", count(recent, "log"))
	}
	if len(failed) > 0 {
		return &fault.Error{Op: op, Msg: count(len(failed), "log") + " could not be removed: " + failed[0].Error(), Hints: []string{"ls -l " + quote(dir)}}
	}
	return nil
}

// check gives the time of --older-than; zero: it was not said.
func (f pruneFlags) check(names []string) (time.Duration, error) {
	const op = "read flags"
	for _, name := range names {
		if err := api.CheckName(name); err != nil {
			return 0, err
		}
	}
	if f.olderThan == "" && !f.keepSet {
		return 0, fault.UsageError(op, "which logs are to go? --older-than TIME or --keep N is needed", "creel audit prune --older-than 30d --dry-run", "creel audit prune --keep 100 --dry-run")
	}
	if f.keepSet && f.keep < 1 {
		return 0, fault.UsageError(op, "found --keep "+strconv.Itoa(f.keep)+", want a number of logs, at least 1", "creel audit prune --older-than 1h  (for all that are older)")
	}
	if f.olderThan == "" {
		return 0, nil
	}
	age, ok := policy.ParseDuration(f.olderThan)
	if !ok {
		return 0, fault.UsageError(op, "found --older-than "+policy.Show(f.olderThan)+", want a time like 30d, 12h or 45m, of at most 366d", "--older-than 30d")
	}
	return age, nil
}

func (f pruneFlags) print(out pruned, streams IO) error {
	if f.asJSON {
		return writeJSON(streams.Out, out)
	}
	if f.dry && len(out.Removed) > 0 {
		rows := [][]string{{"NAME", "WRITTEN", "SIZE", "LOG"}}
		for _, l := range out.Removed {
			rows = append(rows, []string{l.Name, l.Written.Local().Format(time.DateTime), shownSize(l.Bytes), l.Path})
		}
		if err := table(streams.Out, rows); err != nil {
			return err
		}
	}
	for _, l := range out.InUse {
		line(streams.Err, "creel: %s stays: a sandbox is writing it", l.Path)
	}
	text := count(len(out.Removed), "log") + " removed"
	if f.dry {
		text = count(len(out.Removed), "log") + " would be removed"
	}
	if len(out.Removed) > 0 {
		text += fmt.Sprintf(" (%s)", shownSize(out.Bytes))
	}
	line(streams.Out, "%s, %d left", text, out.Left)
	return nil
}

// logsIn lists the logs of the given sandboxes, or of all, the newest first. What
// has no name of a log is none.
func logsIn(folder *os.Root, names []string) ([]oldLog, error) {
	entries, err := fs.ReadDir(folder.FS(), ".")
	if err != nil {
		return nil, err
	}
	var all []oldLog
	for _, e := range entries {
		name, started, ok := logName(e.Name())
		if !ok || len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		info, err := folder.Lstat(e.Name())
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		all = append(all, oldLog{Path: filepath.Join(folder.Name(), e.Name()), Name: name, Started: started, Written: info.ModTime(), Bytes: info.Size()})
	}
	slices.SortStableFunc(all, func(a, b oldLog) int { return b.Started.Compare(a.Started) })
	return all, nil
}

// logName takes NAME-TIME.jsonl apart; names may hold '-' themselves.
func logName(file string) (name string, started time.Time, ok bool) {
	base, ok := strings.CutSuffix(file, ".jsonl")
	at := strings.LastIndexByte(base, '-')
	if !ok || at < 1 || api.CheckName(base[:at]) != nil {
		return "", time.Time{}, false
	}
	started, err := time.Parse("20060102T150405.000", base[at+1:])
	return base[:at], started, err == nil
}

// completeLogNames offers the sandboxes that have left a log in the state folder.
func completeLogNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	state, err := api.StateDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	entries, err := os.ReadDir(filepath.Join(state, "audit"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, e := range entries {
		if name, _, ok := logName(e.Name()); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

// completeLogs offers the same and files, for commands that take one log.
func completeLogs(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := completeLogNames(cmd, args, word)
	return names, cobra.ShellCompDirectiveDefault
}
