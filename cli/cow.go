package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/cow"
	"github.com/creel-run/creel/fault"
)

func newDiff(streams IO) *cobra.Command {
	var asJSON, patch bool
	cmd := &cobra.Command{
		Use:   "diff NAME [PATH…]",
		Short: "Show what a sandbox changed in its copy-on-write workspace",
		Long: `Show what a sandbox changed in its copy-on-write workspace, while it runs or
afterwards. Without PATH one line for each change, with PATH (or --patch) the
content as well. Paths are relative to the workspace, a folder stands for all
that is in it.

The letters: A added, M modified, D deleted, P permissions alone. What is marked
needs a decision of its own: protected (host tools run or trust it), conflict (it
was changed in the workspace meanwhile), refused (it is never applied).`,
		Example:           "  creel diff fix\n  creel diff fix src/main.go\n  creel diff fix --patch | less",
		Args:              atLeast(1),
		ValidArgsFunction: completeChanges,
		RunE: func(_ *cobra.Command, args []string) error {
			return runDiff(args[0], args[1:], patch, asJSON, streams)
		},
	}
	cmd.Flags().BoolVarP(&patch, "patch", "p", false, "show the content of every change")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// maxShownText bounds the content in one JSON document, bytes.
const maxShownText = 64 << 20

// changeText is a change with its content, as JSON shows it.
type changeText struct {
	cow.Change
	Text string `json:"text,omitempty"`
}

func runDiff(name string, paths []string, patch, asJSON bool, streams IO) error {
	l, err := openLayer(name)
	if err != nil {
		return err
	}
	if paths, err = cleanPaths(l, paths); err != nil {
		return err
	}
	all, err := l.Changes()
	if err != nil {
		return fault.Wrap(err, "show changes", fault.General)
	}
	patch = patch || len(paths) > 0
	shown, size := []changeText{}, 0 // never null in JSON
	for _, c := range all {
		if !c.Below(paths) {
			continue
		}
		t := changeText{Change: c}
		if !asJSON {
			line(streams.Out, "%s", changeLine(c))
		}
		if patch {
			if t.Text, err = l.Text(c); err != nil {
				t.Text = "cannot be read: " + err.Error() + "\n"
			}
			if !asJSON {
				writeText(streams.Out, t.Text)
				t.Text = ""
			} else if size += len(t.Text); size > maxShownText {
				t.Text = "not shown: more than is shown at once, name the path\n"
			}
		}
		shown = append(shown, t)
	}
	if asJSON {
		return writeJSON(streams.Out, map[string]any{"name": l.Name, "workspace": l.Workspace, "running": l.Running(), "changes": shown})
	}
	if len(shown) == 0 {
		if len(paths) > 0 {
			return fault.Errorf("show changes", "nothing was changed at %s", strings.Join(paths, ", "))
		}
		fmt.Fprintln(streams.Err, "nothing was changed")
		return nil
	}
	if patch {
		return nil
	}
	n, protected := cow.Summary(all)
	line(streams.Out, "%s in %s", count(n, "file"), l.Workspace)
	line(streams.Out, "hint: creel diff %s PATH  (the content)", name)
	line(streams.Out, "hint: creel apply %s, or creel discard %s", name, name)
	if protected > 0 {
		line(streams.Out, "hint: creel apply %s PATH  (protected files one by one)", name)
	}
	return nil
}

// changeLine is a change on one line; it is escaped as a whole.
func changeLine(c cow.Change) string {
	letter := map[cow.Kind]string{cow.Added: "A", cow.Modified: "M", cow.Deleted: "D", cow.Mode: "P"}[c.Kind]
	s := letter + "  " + c.Path
	if c.After != nil && c.After.Type == cow.Folder || c.After == nil && c.Before != nil && c.Before.Type == cow.Folder {
		s += "/"
	}
	if c.After != nil && c.After.Type == cow.Link {
		s += " -> " + c.After.Target
	}
	if c.From != "" {
		s += "  (moved from " + c.From + ")"
	}
	if c.Before != nil && c.After != nil {
		if c.Before.Type != c.After.Type {
			s += fmt.Sprintf("  (%s, was a %s)", c.After.Type, c.Before.Type)
		}
		if c.Before.Mode != c.After.Mode && c.Before.Type == c.After.Type {
			s += fmt.Sprintf("  (mode %04o, was %04o)", c.After.Mode, c.Before.Mode)
		}
	} else if c.After != nil && c.After.Type == cow.File && c.After.Mode&0o111 != 0 {
		s += "  (executable)"
	}
	if c.After != nil && c.After.Size >= 1<<20 {
		s += "  (" + shownSize(c.After.Size) + ")"
	}
	for _, mark := range []struct{ name, why string }{{"protected", c.Protected}, {"conflict", c.Conflict}, {"refused", c.Refused}} {
		if mark.why != "" {
			s += "  [" + mark.name + ": " + mark.why + "]"
		}
	}
	return s
}

// writeText prints a difference, every line escaped; tabs may stay.
func writeText(w io.Writer, text string) {
	for l := range strings.Lines(text) {
		parts := strings.Split(strings.TrimSuffix(l, "\n"), "\t")
		for i, p := range parts {
			parts[i] = audit.Printable(p)
		}
		fmt.Fprintln(w, "    "+strings.Join(parts, "\t"))
	}
}

func newApply(streams IO) *cobra.Command {
	var (
		o      cow.Options
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "apply NAME [PATH…]",
		Short: "Bring changes of a copy-on-write workspace into the real one",
		Long: `Bring changes of a copy-on-write workspace into the real one: all of them, or
those at and below PATH, while the sandbox runs or afterwards.

Each file is replaced in one step. Protected files and links that lead out of the
workspace are left out unless they are named or --protected is given. What was
changed in the workspace since the sandbox started is left out unless --force is
given. Pipes, sockets and devices are never applied.`,
		Example:           "  creel apply fix\n  creel apply fix src README.md\n  creel apply fix .vscode",
		Args:              atLeast(1),
		ValidArgsFunction: completeChanges,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runApply(cmd.Context(), args[0], args[1:], o, asJSON, streams)
		},
	}
	cmd.Flags().BoolVar(&o.Protected, "protected", false, "protected files, too")
	cmd.Flags().BoolVar(&o.Force, "force", false, "over what was changed in the workspace meanwhile")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runApply(ctx context.Context, name string, paths []string, o cow.Options, asJSON bool, streams IO) error {
	l, err := openLayer(name)
	if err != nil {
		return err
	}
	if o.Paths, err = cleanPaths(l, paths); err != nil {
		return err
	}
	results, left, err := apply(ctx, l, o)
	if err != nil {
		return err
	}
	applied, hints := 0, map[string]bool{}
	for _, r := range results {
		if r.Applied {
			applied++
		} else if r.Hint != "" {
			hints[r.Hint] = true
		}
	}
	switch {
	case asJSON:
		if results == nil {
			results = []cow.Result{}
		}
		if err := writeJSON(streams.Out, map[string]any{"name": name, "results": results, "left": left}); err != nil {
			return err
		}
	case len(results) == 0 && len(paths) == 0:
		fmt.Fprintln(streams.Err, "nothing was changed")
	default:
		for _, r := range results {
			if !r.Applied {
				line(streams.Out, "left out: %s: %s", r.Path, r.Why)
			}
		}
		line(streams.Out, "%s: %s applied, %d left out", name, count(applied, "change"), len(results)-applied)
	}
	if len(results) == 0 && len(paths) > 0 {
		return fault.Errorf("apply changes", "nothing was changed at %s", strings.Join(paths, ", "))
	}
	if applied == len(results) {
		return nil
	}
	var more []string
	if hints["--protected"] {
		more = append(more, "creel apply "+name+" PATH  (look at it first: creel diff "+name+" PATH)")
	}
	if hints["--force"] {
		more = append(more, "creel apply "+name+" --force PATH  (over the workspace's own change)")
	}
	return &fault.Error{Op: "apply changes", Msg: count(len(results)-applied, "change") + " left out", Hints: append(more, "creel discard "+name+"  (forgets what is left)")}
}

// apply asks the sandbox if it runs, else does it here, and then forgets what is
// no change any more. left counts what remains.
func apply(ctx context.Context, l *cow.Layer, o cow.Options) (results []cow.Result, left int, err error) {
	err = l.Lock()
	if errors.Is(err, cow.ErrRunning) {
		c, err := dial(l.Name)
		if err != nil {
			return nil, 0, fault.Wrap(err, "", 0, "another command has the layer: try again")
		}
		if results, err = c.Apply(ctx, o); err != nil {
			return nil, 0, err
		}
		all, err := l.Changes()
		left, _ = cow.Summary(all)
		return results, left, err
	}
	if err != nil {
		return nil, 0, fault.Wrap(err, "apply changes", fault.General)
	}
	defer l.Close()
	if results, err = l.Apply(o); err != nil {
		return nil, 0, fault.Wrap(err, "apply changes", fault.General)
	}
	left, err = settle(l)
	return results, left, err
}

// settle removes a layer that holds no change any more.
func settle(l *cow.Layer) (left int, err error) {
	all, err := l.Prune()
	if err == nil && len(all) == 0 {
		err = l.Remove()
	}
	if err != nil {
		return len(all), fault.Wrap(err, "settle layer", fault.General)
	}
	left, _ = cow.Summary(all)
	return left, nil
}

func newDiscard(streams IO) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "discard NAME [PATH…]",
		Short: "Forget changes of a copy-on-write workspace",
		Long: `Forget changes of a copy-on-write workspace: all of them, or those at and below
PATH. The sandbox must have ended.`,
		Example:           "  creel discard fix\n  creel discard fix src/generated",
		Args:              atLeast(1),
		ValidArgsFunction: completeChanges,
		RunE: func(_ *cobra.Command, args []string) error {
			return runDiscard(args[0], args[1:], asJSON, streams)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runDiscard(name string, paths []string, asJSON bool, streams IO) error {
	const op = "discard changes"
	l, err := openLayer(name)
	if err != nil && (l == nil || len(paths) > 0) {
		return err
	}
	if paths, err = cleanPaths(l, paths); err != nil {
		return err
	}
	if err := l.Lock(); errors.Is(err, cow.ErrRunning) {
		return fault.UsageError(op, name+" is running, and its files cannot be taken from under it", "creel stop "+name)
	} else if err != nil {
		return fault.Wrap(err, op, fault.General)
	}
	defer l.Close()
	n, left := 0, 0
	if len(paths) == 0 {
		if all, err := l.Changes(); err == nil {
			n, _ = cow.Summary(all)
		}
		err = l.Remove()
	} else if n, err = l.Discard(paths); err == nil {
		left, err = settle(l)
	}
	if err != nil {
		return fault.Wrap(err, op, fault.General)
	}
	if asJSON {
		return writeJSON(streams.Out, map[string]any{"name": name, "discarded": n, "left": left})
	}
	if n == 0 && len(paths) > 0 {
		return fault.Errorf(op, "nothing was changed at %s", strings.Join(paths, ", "))
	}
	line(streams.Out, "%s: %s discarded", name, count(n, "change"))
	return nil
}

// openLayer finds the changes of a sandbox; the hint is the nearest name.
func openLayer(name string) (*cow.Layer, error) {
	const op = "find changes"
	if err := api.CheckName(name); err != nil { // it is a folder's name, too
		return nil, err
	}
	state, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	l, err := cow.Read(state, name)
	if errors.Is(err, fs.ErrNotExist) {
		hints := []string{"creel ls --all", "creel run --workspace DIR:cow --name " + name + " -- …"}
		if near, ok := nearest(name, cow.Names(state)); ok {
			hints = append([]string{"did you mean: " + near}, hints...)
		}
		return nil, fault.UsageError(op, "there are no undecided changes of "+name, hints...)
	}
	if err != nil {
		return l, fault.Wrap(err, op, fault.General, "creel discard "+name)
	}
	return l, nil
}

func cleanPaths(l *cow.Layer, paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		rel, ok := cow.Clean(l.Workspace, p)
		if !ok {
			return nil, fault.UsageError("read path", quote(p)+" lies outside of the workspace "+l.Workspace, "paths are relative to the workspace")
		}
		out = append(out, rel)
	}
	return out, nil
}

// completeChanges offers names of layers, then paths of their changes.
func completeChanges(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	state, err := api.StateDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	if len(args) == 0 {
		return cow.Names(state), cobra.ShellCompDirectiveNoFileComp
	}
	if api.CheckName(args[0]) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	l, err := cow.Read(state, args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := l.Changes()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var paths []string
	for _, c := range all {
		if audit.Printable(c.Path) == c.Path { // what a shell would show as it is
			paths = append(paths, c.Path)
		}
	}
	return paths, cobra.ShellCompDirectiveNoFileComp
}
