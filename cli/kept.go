package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/cow"
	"github.com/creel-run/creel/fault"
)

// kept is a thing that a sandbox left: on purpose (audit, layers), or because its
// supervisor was killed (leftovers, which the next start collects).
type kept struct {
	Kind    string    `json:"kind"` // audit, home, leftover, …
	Name    string    `json:"name"` // of the sandbox
	State   string    `json:"state"`
	Path    string    `json:"path"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Bytes   int64     `json:"bytes"`
	Next    string    `json:"next,omitempty"` // what to type about it
}

// keepers list what is kept, one for each kind of thing. live are the names of
// the sandboxes that run.
var keepers = []func(live []string) ([]kept, error){keptAudits, keptLayers, keptHomes, keptLeftovers}

// listKept asks all keepers, sandbox by sandbox, the oldest first.
func listKept(live []string) ([]kept, error) {
	all := []kept{} // never null in JSON
	for _, list := range keepers {
		some, err := list(live)
		if err != nil {
			return all, err
		}
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b kept) int { return a.Started.Compare(b.Started) })
	return all, nil
}

// keptAudits are the logs in the state folder. A log without an exit, of a
// sandbox that does not run, is that of a supervisor that was killed.
func keptAudits(live []string) ([]kept, error) {
	state, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(state, "audit", "*.jsonl"))
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, n := range live {
		running[n] = true
	}
	var list []kept
	newest := map[string]int{} // of a sandbox that runs: the log that it writes
	for _, f := range files {
		info, err := os.Lstat(f)
		if err != nil {
			continue // removed in between
		}
		k := kept{Kind: "audit", Path: f, Bytes: info.Size(), Next: "creel audit show " + quote(f)}
		first, last, err := audit.Ends(f)
		switch {
		case err != nil:
			k.Name, _, _ = strings.Cut(filepath.Base(f), ".")
			k.Started, k.State, k.Next = info.ModTime(), "unreadable", "creel audit verify "+quote(f)
			if info.Size() == 0 {
				k.State = "empty" // of a start that failed or goes on
			}
		default:
			k.Name, k.Started, k.State = first.Sandbox, first.Time, "killed"
			if last.Kind == audit.SandboxExit {
				k.Ended, k.State = last.Time, fmt.Sprintf("ended %d", last.Status)
			} else if running[k.Name] {
				if i, ok := newest[k.Name]; !ok || list[i].Started.Before(k.Started) {
					newest[k.Name] = len(list)
				}
			}
		}
		list = append(list, k)
	}
	for _, i := range newest {
		list[i].State = "running"
	}
	return list, nil
}

// keptLayers are file changes that wait for a decision (copy-on-write).
func keptLayers(live []string) ([]kept, error) {
	state, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	all, err := cow.List(state)
	if err != nil {
		return nil, fault.Wrap(err, "list changes", fault.General)
	}
	var list []kept
	for _, m := range all {
		k := kept{Kind: "changes", Name: m.Name, State: "undecided", Path: filepath.Join(cow.Base(state), m.Name), Started: m.Created, Next: "creel diff " + quote(m.Name)}
		switch {
		case m.Workspace == "":
			k.State, k.Next = "unreadable", "creel discard "+quote(m.Name)
		case slices.Contains(live, m.Name):
			k.State = "running"
		}
		list = append(list, k)
	}
	return list, nil
}

// keptHomes are the homes of agents that were started with --agent and --name: they
// wait for the next start under that name (docs/agents.md).
func keptHomes(live []string) ([]kept, error) {
	state, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(state, "homes"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fault.Wrap(err, "list homes", fault.General)
	}
	var list []kept
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		path := filepath.Join(state, "homes", e.Name())
		k := kept{Kind: "home", Name: e.Name(), State: "kept", Path: path, Next: "to forget it: rm -rf " + quote(path)}
		if slices.Contains(live, e.Name()) {
			k.State, k.Next = "running", ""
		}
		list = append(list, k)
	}
	return list, nil
}

// keptLeftovers are folders of killed supervisors that hold more than a socket.
func keptLeftovers([]string) ([]kept, error) {
	names, err := api.Leftovers()
	var list []kept
	for _, n := range names {
		list = append(list, kept{Kind: "leftover", Name: n, State: "killed", Next: "the next creel run collects it"})
	}
	return list, err
}

// shownSize is for people: whole kilobytes, rounded up.
func shownSize(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%d KB", (n+1023)/1024)
}
