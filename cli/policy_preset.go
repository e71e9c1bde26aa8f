package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/presets"
)

func newPolicyPreset(streams IO) *cobra.Command {
	return group("preset", "Rules for common services and package registries",
		newPresetList(streams), newPresetShow(streams), newPresetAdd(streams))
}

func completePresets(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return presets.Names(), cobra.ShellCompDirectiveNoFileComp
}

// loadPreset is presets.Load with the nearest name for one that is none.
func loadPreset(name string) (*presets.Preset, error) {
	p, err := presets.Load(name)
	if err != nil && !slices.Contains(presets.Names(), name) {
		if near, ok := nearest(name, presets.Names()); ok {
			return nil, fault.Wrap(err, "", 0, "did you mean: "+near)
		}
	}
	return p, err
}

func newPresetList(streams IO) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the presets",
		Example: "  creel policy preset list",
		Args:    exactly(0),
		RunE:    func(*cobra.Command, []string) error { return runPresetList(asJSON, streams) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runPresetList(asJSON bool, streams IO) error {
	var all []*presets.Preset
	rows := [][]string{{"NAME", "FLAGS", "WHAT FOR"}}
	for _, name := range presets.Names() {
		p, err := presets.Load(name)
		if err != nil {
			return err
		}
		all = append(all, p)
		var flags []string
		for _, one := range p.Parameters {
			flag := "--" + one.Name + " " + one.Value
			if one.Default != "" {
				flag = "[" + flag + "]"
			}
			flags = append(flags, flag)
		}
		if p.Registry != "" {
			flags = append(flags, "[--host HOST]")
		}
		rows = append(rows, []string{name, strings.Join(flags, " "), p.About})
	}
	if asJSON {
		return writeJSON(streams.Out, all)
	}
	return table(streams.Out, rows)
}

type presetFlags struct {
	repo     string
	name     string
	hosts    []string
	binaries []string
	policy   string
	json     bool
}

func (f *presetFlags) parameters(fl *pflag.FlagSet) {
	fl.SortFlags = false
	fl.StringVar(&f.repo, "repo", "", "`OWNER/REPO`, for presets about one repository")
	fl.StringArrayVar(&f.hosts, "host", nil, "`HOST`, HOST:PORT or URL; for packages: instead of this machine's configuration (repeat)")
	fl.StringVar(&f.name, "name", "", "`KEY` of the rule in network_policies, instead of the preset's; in layers one that those above open")
	fl.StringArrayVar(&f.binaries, "binary", nil, "`PATH` of a program that may use the rules, instead of the preset's (repeat)")
}

// discovered says where hosts of a preset come from.
type discovered = presets.Discovery

// options turns flags and this machine's configuration into the values of a
// preset. The discovery is nil if nothing had to be found.
func (f *presetFlags) options(p *presets.Preset, streams IO) (presets.Options, *discovered, error) {
	const op = "read flags"
	o := presets.Options{Repo: f.repo, Binaries: f.binaries, Name: f.name}
	help := "creel policy preset show " + p.Name
	if f.repo != "" && !p.Wants("repo") {
		return o, nil, fault.UsageError(op, p.Name+" takes no --repo", help)
	}
	if len(f.hosts) > 0 && !p.Wants("host") {
		return o, nil, fault.UsageError(op, p.Name+" takes no --host", help)
	}
	hosts := f.hosts
	for _, one := range p.Parameters {
		if one.Name != "host" {
			continue
		}
		if len(hosts) == 0 && one.Default != "" {
			hosts = []string{one.Default}
		}
		if len(hosts) > 1 && !one.Several {
			return o, nil, fault.UsageError(op, p.Name+" takes one --host")
		}
	}
	for _, text := range hosts {
		s, err := presets.ParseHost(text, "--host")
		if err != nil {
			return o, nil, fault.Wrap(err, "read --host", fault.Usage)
		}
		o.Sources = append(o.Sources, s)
	}
	if p.Registry == "" || len(hosts) > 0 {
		return o, nil, nil
	}
	d := presets.Discover(p.Registry, presets.Machine{Getenv: streams.Getenv})
	o.Sources = d.Sources
	return o, d, nil
}

// lacks reports whether a parameter that the rules need has no value.
func lacks(p *presets.Preset, o presets.Options) bool {
	return p.Wants("repo") && o.Repo == "" || p.Wants("host") && len(o.Sources) == 0
}

func newPresetShow(streams IO) *cobra.Command {
	var f presetFlags
	cmd := &cobra.Command{
		Use:   "show NAME [--repo OWNER/REPO] [--host HOST]",
		Short: "Show what a preset opens, what its risks are, and its rules",
		Long: `Show what a preset opens, what its risks are, and its rules. Nothing is changed.

Hosts of package registries are read from the configuration of npm, pip, go,
cargo and apt of this user and this machine, never from the current folder.`,
		Example:           "  creel policy preset show github-repo --repo acme/widgets\n  creel policy preset show npm",
		Args:              exactly(1),
		ValidArgsFunction: completePresets,
		RunE:              func(_ *cobra.Command, args []string) error { return runPresetShow(args[0], f, streams) },
	}
	f.parameters(cmd.Flags())
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

type shownPreset struct {
	*presets.Preset
	Discovery *discovered `json:"discovery,omitempty"`
	Complete  bool        `json:"complete"` // false: rules still hold ${…}
	Rules     string      `json:"rules"`    // entries of network_policies
}

func runPresetShow(name string, f presetFlags, streams IO) error {
	p, err := loadPreset(name)
	if err != nil {
		return err
	}
	o, found, err := f.options(p, streams)
	if err != nil {
		return err
	}
	s := shownPreset{Preset: p, Discovery: found, Complete: !lacks(p, o)}
	if s.Complete {
		r, err := p.Rules(o)
		if err != nil {
			return err
		}
		s.Rules = r.Text
	} else if s.Rules, err = p.Template(); err != nil {
		return err
	}
	if f.json {
		return writeJSON(streams.Out, s)
	}
	w := streams.Out
	line(w, "%s: %s", p.Name, p.Title)
	line(w, "%s", p.About)
	for _, part := range []struct {
		title string
		list  []string
	}{{"opens:", p.Opens}, {"risks:", p.Risks}} {
		line(w, "%s", part.title)
		for _, one := range part.list {
			line(w, "  - %s", one)
		}
	}
	for _, one := range p.Parameters {
		text := one.About
		if one.Default != "" {
			text += " (default " + one.Default + ")"
		}
		line(w, "flag: --%s %s, %s", one.Name, one.Value, text)
	}
	printDiscovery(streams, found)
	if found != nil && len(found.Sources) == 0 {
		line(w, "no configuration of this machine names a host; looked for: %s", strings.Join(found.Looked, ", "))
		line(w, "name it: creel policy preset show %s --host HOST (or its URL)", name)
	}
	line(w, "rules:")
	printBlock(streams, s.Rules)
	return nil
}

func printDiscovery(streams IO, d *discovered) {
	if d == nil {
		return
	}
	for _, s := range d.Sources {
		line(streams.Out, "%s gets packages from %s (%s)", d.Client, s, s.From)
	}
	for _, n := range d.Notes {
		line(streams.Err, "note: %s", n)
	}
}

// printBlock prints text of several lines, indented and escaped.
func printBlock(streams IO, text string) {
	for one := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		fmt.Fprintln(streams.Out, strings.TrimRight("  "+audit.Printable(one), " "))
	}
}

func newPresetAdd(streams IO) *cobra.Command {
	var f presetFlags
	cmd := &cobra.Command{
		Use:   "add NAME [--repo OWNER/REPO] [--host HOST] [--name KEY] [--policy FILE]",
		Short: "Add a preset's rules to a policy",
		Long: `Add a preset's rules to a policy and show what was added. Nothing else of the
file changes, and nothing is added under a name that is taken; --name gives another
one. If the policy would be faulty with the rules, the file stays as it is: of a
policy in layers those above have to open the name.

A sandbox that runs under the file takes the rules at once.`,
		Example: `  creel policy preset add github-read
  creel policy preset add github-repo --repo acme/widgets --policy ~/agent.yaml
  creel policy preset add npm --binary /usr/local/bin/node
  creel policy preset add github-read --name team_github --policy sandbox.yaml`,
		Args:              exactly(1),
		ValidArgsFunction: completePresets,
		RunE:              func(_ *cobra.Command, args []string) error { return runPresetAdd(args[0], f, streams) },
	}
	f.parameters(cmd.Flags())
	cmd.Flags().StringVar(&f.policy, "policy", "creel.yaml", "the policy `FILE` that is changed")
	return cmd
}

func runPresetAdd(name string, f presetFlags, streams IO) error {
	p, err := loadPreset(name)
	if err != nil {
		return err
	}
	o, found, err := f.options(p, streams)
	if err != nil {
		return err
	}
	if found != nil {
		for _, n := range found.Notes {
			line(streams.Err, "note: %s", n)
		}
		if err := found.Err(name); err != nil {
			return err
		}
	}
	rules, err := p.Rules(o)
	if err != nil {
		return err
	}
	if f.policy == "-" {
		return fault.UsageError("read flags", "--policy wants a file that can be written")
	}
	file := filepath.Clean(f.policy)
	data, err := policyText(file, streams)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(err, "", fault.Usage, "creel policy preset add "+name+" --policy FILE")
	}
	if err != nil {
		return err
	}
	out, err := presets.Merge(file, data, rules, parserOf(file))
	if _, faulty := asFaults(err); faulty {
		return fault.Wrap(err, "", fault.Usage, openNames(file, data)...)
	}
	if err != nil {
		return err
	}
	if bytes.Equal(out, data) {
		return fault.Errorf("add preset", "%s would not change", file)
	}
	if err := replaceFile(file, data, out); err != nil {
		return err
	}
	line(streams.Out, "%s: added %s", file, strings.Join(rules.Keys, ", "))
	if found != nil {
		for _, s := range found.Sources {
			line(streams.Out, "%s gets packages from %s (%s)", found.Client, s, s.From)
		}
	}
	printBlock(streams, rules.Text)
	if programs := rules.Programs(); len(programs) > 0 && !slices.ContainsFunc(programs, exists) {
		line(streams.Out, "note: none of these programs is on this machine; --binary PATH names yours")
	}
	line(streams.Out, "risks: creel policy preset show %s", name)
	return nil
}

// openNames is the hint which names of rules the layers above a policy open, if
// it has any.
func openNames(file string, data []byte) []string {
	doc, _, err := parserOf(file)(file, data)
	if err != nil || len(doc.Files) < 2 {
		return nil
	}
	var names []string
	for _, l := range doc.Files[:len(doc.Files)-1] {
		for _, open := range l.Open {
			if name, ok := strings.CutPrefix(open, "network_policies."); ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{"--name KEY gives the rule another name; the layers above open " + strings.Join(names, ", ")}
}

// exists reports whether a path or glob of a program is there.
func exists(pattern string) bool {
	if !strings.Contains(pattern, "*") {
		_, err := os.Stat(pattern)
		return err == nil
	}
	found, err := filepath.Glob(pattern)
	return err == nil && len(found) > 0
}
