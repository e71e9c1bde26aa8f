package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/agents"
	"github.com/creel-run/creel/fault"
)

func newAgent(streams IO) *cobra.Command {
	return group("agent", "Look at the agents that creel knows", newAgentList(streams), newAgentShow(streams), newAgentPolicy(streams), newAgentCopy(streams))
}

func completeAgents(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return agents.Names(), cobra.ShellCompDirectiveDefault
}

// knownAgent is a manifest with what this host has of it.
type knownAgent struct {
	*agents.Manifest
	Found   *agents.Found `json:"found"` // null: not installed, or not where creel looks
	Missing string        `json:"missing,omitempty"`
}

// loadAgent is agents.Load with the nearest known name for one that is none.
func loadAgent(word string) (*agents.Manifest, error) {
	m, err := agents.Load(word)
	if err != nil && !strings.Contains(word, "/") && !slices.Contains(agents.Names(), word) {
		if near, ok := nearest(word, agents.Names()); ok {
			return nil, fault.Wrap(err, "", 0, "did you mean: "+near)
		}
	}
	return m, err
}

func lookUp(word, root string, streams IO) (knownAgent, error) {
	m, err := loadAgent(word)
	if err != nil {
		return knownAgent{}, err
	}
	path, _ := streams.Getenv("PATH")
	home, _ := streams.Getenv("HOME")
	found, err := m.Find(root, path, home)
	m.Program.Install = m.InstallHint(root)
	k := knownAgent{Manifest: m, Found: found}
	if err != nil {
		k.Missing = err.Error()
	}
	return k, nil
}

func newAgentList(streams IO) *cobra.Command {
	var asJSON bool
	var root string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the agents that --agent knows, and where they are on this host",
		Example: "  creel agent list --json",
		Args:    exactly(0),
		RunE:    func(*cobra.Command, []string) error { return runAgentList(root, asJSON, streams) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&root, "agent-root", "", "`DIR` to look in instead of PATH")
	return cmd
}

func runAgentList(root string, asJSON bool, streams IO) error {
	var all []knownAgent
	rows := [][]string{{"NAME", "AGENT", "MODEL PROTOCOL", "PROGRAM"}}
	for _, name := range agents.Names() {
		k, err := lookUp(name, root, streams)
		if err != nil {
			return err
		}
		all = append(all, k)
		where := "not found: " + k.Program.Install
		if k.Found != nil {
			where = k.Found.Program
		}
		rows = append(rows, []string{k.Name, k.Title, k.Inference.Protocol, where})
	}
	if asJSON {
		return writeJSON(streams.Out, all)
	}
	return table(streams.Out, rows)
}

func newAgentShow(streams IO) *cobra.Command {
	var asJSON bool
	var root string
	cmd := &cobra.Command{
		Use:               "show NAME|MANIFEST",
		Short:             "Show what --agent does for one agent",
		Example:           "  creel agent show openclaw\n  creel agent show ./my-agent.yaml",
		Args:              exactly(1),
		ValidArgsFunction: completeAgents,
		RunE:              func(_ *cobra.Command, args []string) error { return runAgentShow(args[0], root, asJSON, streams) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&root, "agent-root", "", "`DIR` to look in instead of PATH")
	return cmd
}

func runAgentShow(word, root string, asJSON bool, streams IO) error {
	k, err := lookUp(word, root, streams)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(streams.Out, k)
	}
	rows := [][]string{{"agent", k.Title}}
	add := func(name string, values ...string) {
		for _, v := range values {
			rows = append(rows, []string{name, v})
			name = ""
		}
	}
	if k.Found == nil {
		add("program", k.Missing)
		add("install", k.Program.Install)
	} else {
		add("program", k.Found.Program)
		if k.Found.Node != "" {
			add("run by", strings.TrimSpace(k.Found.Node+" "+k.Found.Version))
		}
		add("shown inside", k.Found.Show...)
	}
	add("arguments", strings.Join(append(slices.Clone(k.Args), "ARGS"), " "))
	if len(k.DefaultArgs) > 0 {
		add("without ARGS", strings.Join(k.DefaultArgs, " "))
	}
	for i, v := range k.Env {
		add([]string{"environment", ""}[min(i, 1)], v.Name+"="+v.Value)
	}
	for i, f := range k.Files {
		add([]string{"settings file", ""}[min(i, 1)], agents.FilesDir+"/"+f.Path+" (read-only)")
	}
	add("keeps", prefixed("~/", k.State)...)
	add("read-only in the workspace", k.Settings...)
	add("model protocol", k.Inference.Protocol)
	for i, c := range k.Contacts {
		add([]string{"would call", ""}[min(i, 1)], c.Host+" for "+c.Why+"; stopped by: "+c.StoppedBy)
	}
	add("policy", "creel agent policy "+quote(word))
	return table(streams.Out, rows)
}

func prefixed(prefix string, list []string) (out []string) {
	for _, s := range list {
		out = append(out, prefix+s)
	}
	return out
}

func newAgentPolicy(streams IO) *cobra.Command {
	return &cobra.Command{
		Use:               "policy NAME|MANIFEST",
		Short:             "Print the policy that holds for an agent when you give none",
		Example:           "  creel agent policy claude > creel.yaml",
		Args:              exactly(1),
		ValidArgsFunction: completeAgents,
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := loadAgent(args[0])
			if err != nil {
				return err
			}
			if _, err := streams.Out.Write(m.Policy); err != nil {
				return fault.Wrap(err, "write output", fault.General)
			}
			return nil
		},
	}
}

func newAgentCopy(streams IO) *cobra.Command {
	return &cobra.Command{
		Use:   "copy NAME DIR",
		Short: "Copy an agent's manifest and policy into a new folder, to change them",
		Long: `Copy an agent's manifest and policy into a new folder. Changed there, they are
used by naming the folder: creel run --agent DIR`,
		Example:           "  creel agent copy openclaw ./my-claw && creel run --agent ./my-claw",
		Args:              exactly(2),
		ValidArgsFunction: completeAgents,
		RunE:              func(_ *cobra.Command, args []string) error { return runAgentCopy(args[0], args[1], streams) },
	}
}

func runAgentCopy(name, dir string, streams IO) error {
	const op = "copy agent"
	files, err := agents.Source(name)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fault.UsageError(op, dir+" exists already", "name a folder that does not")
		}
		return fault.Wrap(err, op, fault.Usage)
	}
	for _, file := range []string{"agent.yaml", "policy.yaml"} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, files[file], 0o644); err != nil {
			return fault.Wrap(err, op, fault.General)
		}
		fmt.Fprintln(streams.Out, path)
	}
	return nil
}
