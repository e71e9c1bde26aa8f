package supervisor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/cgroup"
)

// mergeLimits: a flag is the operator's later word.
func mergeLimits(flags, doc policy.Resources) sandbox.Limits {
	or := func(a, b int64) int64 {
		if a > 0 {
			return a
		}
		return b
	}
	return sandbox.Limits{
		Memory: or(flags.Memory, doc.Memory), CPU: or(flags.CPU, doc.CPU), PIDs: or(flags.PIDs, doc.PIDs),
		Disk: or(flags.Disk, doc.Disk), OpenFiles: or(flags.OpenFiles, doc.OpenFiles),
		BestEffort: flags.Compatibility == policy.BestEffort || doc.Compatibility == policy.BestEffort,
	}
}

// limitLayers are the limits as read back, one row each.
func (s *supervisor) limitLayers() []api.Layer {
	list, err := s.box.Limits()
	if err != nil {
		return []api.Layer{{Name: "limits", State: api.Absent, Detail: err.Error(), Want: "limits that can be read back"}}
	}
	var rows []api.Layer
	for _, l := range list {
		row := layer(l.Name, l.Held, l.Detail, l.Want)
		row.Fix = l.Fix
		if l.Absent {
			row.State = api.Absent
		}
		rows = append(rows, row)
	}
	return rows
}

// groupsName is the record of a sandbox's control groups in its runtime folder,
// for whoever comes after a kill.
const groupsName = "groups"

// claimGroup records control groups before they are made.
func (s *supervisor) claimGroup(dirs []string) error {
	return os.WriteFile(filepath.Join(s.socket.Dir(), groupsName), []byte(strings.Join(dirs, "\n")+"\n"), 0o600)
}

// collect removes what a dead sandbox left: its control groups, with whoever is
// still in them. dir is its runtime folder.
func collect(dir string) error {
	file := filepath.Join(dir, groupsName)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := cgroup.Collect(strings.Split(strings.TrimSpace(string(text)), "\n")); err != nil {
		return err
	}
	return os.Remove(file)
}
