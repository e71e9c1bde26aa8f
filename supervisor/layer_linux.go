package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/cow"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// changes is what a copy-on-write workspace holds undecided.
type changes struct{ n, protected int }

func (c changes) detail() map[string]string {
	if c.n == 0 {
		return nil
	}
	return map[string]string{"changed": strconv.Itoa(c.n), "changed_protected": strconv.Itoa(c.protected)}
}

// takeLayer opens the layer of a copy-on-write workspace, or goes on with the one
// that an earlier run of this name left.
func (s *supervisor) takeLayer() error {
	const op = "open copy-on-write layer"
	if s.mode != policy.CopyOnWrite {
		return nil
	}
	state, err := api.StateDir()
	if err != nil {
		return err
	}
	if ws := realPath(s.o.Workspace); within(ws, realPath(state)) || within(realPath(state), ws) {
		return fault.UsageError(op, "the state folder "+state+" and the workspace "+ws+" lie in each other",
			append([]string{"choose another workspace"}, api.MoveHints("or move the state: export XDG_STATE_HOME=DIR")...)...)
	}
	l, had, err := cow.Take(state, s.name, s.o.Workspace, s.o.Command)
	if errors.Is(err, cow.ErrRunning) {
		return fault.UsageError(op, "another command has the changes of "+s.name+" at the moment", "try again, or choose another --name")
	}
	if err != nil {
		return fault.Wrap(err, op, fault.General, "creel discard "+s.name+"  (forgets the layer)")
	}
	if had && !l.Same(s.o.Workspace) {
		l.Close()
		return fault.UsageError(op, s.name+" has undecided changes of another workspace: "+l.Workspace,
			"creel diff "+s.name, "creel discard "+s.name, "or choose another --name")
	}
	s.layer = l
	if had {
		if all, err := l.Changes(); err == nil {
			n, _ := cow.Summary(all)
			s.o.Notice(fmt.Sprintf("the workspace goes on with %d undecided changes of an earlier run: creel diff %s", n, s.name))
		}
	}
	return nil
}

// layerData is what the sandbox mounts; empty without copy-on-write.
func (s *supervisor) layerData() string {
	if s.layer == nil {
		return ""
	}
	return s.layer.Data()
}

// settleLayer counts, when the agent has ended, what is left to decide; a layer
// without changes is forgotten.
func (s *supervisor) settleLayer() {
	if s.layer == nil {
		return
	}
	l := s.layer
	s.layer = nil
	defer l.Close()
	all, err := l.Prune()
	if err != nil {
		s.o.Notice(err.Error() + "; the changes are kept: creel diff " + s.name)
		return
	}
	s.left.n, s.left.protected = cow.Summary(all)
	if len(all) == 0 {
		if err := l.Remove(); err != nil {
			s.o.Notice(err.Error())
		}
	}
}

// Apply brings changes of the running sandbox into the workspace (api.Backend).
func (s *supervisor) Apply(_ context.Context, o cow.Options) ([]cow.Result, error) {
	if s.mode != policy.CopyOnWrite {
		return nil, fault.UsageError("apply changes", s.name+" has no copy-on-write workspace", "creel run --workspace "+s.o.Workspace+":cow -- …")
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	state, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	l, err := cow.Read(state, s.name)
	if err != nil {
		return nil, fault.Wrap(err, "apply changes", fault.General)
	}
	err = s.log.Record(audit.Event{Kind: audit.Operator, Reason: "apply", Detail: map[string]string{
		"paths": strings.Join(o.Paths, " "), "protected": strconv.FormatBool(o.Protected), "force": strconv.FormatBool(o.Force),
	}})
	if err != nil {
		return nil, fault.Wrap(err, "apply changes", fault.Internal)
	}
	results, err := l.Apply(o)
	if err != nil {
		return results, fault.Wrap(err, "apply changes", fault.General)
	}
	return results, nil
}
