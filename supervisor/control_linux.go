package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// stopGrace is how long an agent may take to end after SIGTERM.
const stopGrace = 10 * time.Second

// The methods below answer the control socket (api.Backend).

func (s *supervisor) Sandbox(context.Context) (api.Sandbox, error) {
	return api.Sandbox{
		Name: s.name, PID: os.Getpid(), Command: s.o.Command, Started: s.started,
		Workspace: s.o.Workspace, ReadOnly: s.mode == policy.ReadOnly, CopyOnWrite: s.mode == policy.CopyOnWrite, Policy: s.policyName(), Revision: s.rev.Load().number,
		Audit: s.log.Path(), Counts: s.counts.counts(),
	}, nil
}

func (s *supervisor) Stop(context.Context) error {
	if err := s.log.Record(audit.Event{Kind: audit.Operator, Reason: "stop"}); err != nil {
		return fault.Wrap(err, "stop sandbox", fault.Internal)
	}
	s.stopping.Store(true)
	s.hasten()
	if err := s.box.Signal(syscall.SIGTERM); err != nil {
		s.box.Kill()
		return nil
	}
	_ = s.box.Signal(syscall.SIGCONT) // a stopped agent would not end by itself
	time.AfterFunc(stopGrace, s.box.Kill)
	return nil
}

// Reload puts a policy into force. path names another file for this time and
// from then on; empty reads the present one again.
func (s *supervisor) Reload(_ context.Context, path string) (api.Reloaded, error) {
	s.reload.Lock()
	defer s.reload.Unlock()
	r, err := s.takePolicy(path)
	if err != nil {
		if aerr := s.log.Record(audit.Event{Kind: audit.PolicyReject, Reason: firstLine(err.Error())}); aerr != nil {
			return r, fault.Wrap(aerr, "load policy", fault.Internal)
		}
	}
	return r, err
}

func (s *supervisor) takePolicy(path string) (api.Reloaded, error) {
	old := s.rev.Load()
	same := api.Reloaded{Revision: old.number}
	next := *s.source
	if path == "" {
		path = s.source.path
	}
	if path == "" {
		show, whose := "creel policy default", "the built-in policy"
		if s.o.Agent != nil {
			show, whose = "creel agent policy "+s.o.Agent.Name, "the policy of agent "+s.o.Agent.Name
		}
		return same, fault.UsageError("load policy", "the sandbox runs with "+whose+", which is no file to read again",
			show+" > ~/"+s.name+".yaml  (outside of the workspace; add your lines)", "creel reload "+s.name+" --policy ~/"+s.name+".yaml")
	}
	if err := next.read(path); err != nil {
		return same, err
	}
	if err := next.expose(s.areas); err != nil {
		return same, err
	}
	switch {
	case next.exposed && next.path != s.source.path:
		return same, fault.UsageError("load policy", next.path+" lies where the agent can write", "mv "+next.path+" ~/"+s.name+".yaml && creel reload "+s.name+" --policy ~/"+s.name+".yaml")
	case next.exposed && !os.SameFile(next.info, s.source.info):
		// The read-only mount over the file went away with the file itself.
		return same, fault.UsageError("load policy",
			next.path+" was replaced by another file, which the agent can write; the policy in force stays",
			"keep the policy outside of the workspace, or save it in place",
			"creel reload "+s.name+" --policy FILE-OUTSIDE-OF-THE-WORKSPACE")
	}
	if err := next.sameLayers(s.source); err != nil {
		return same, err
	}
	if string(next.text()) == string(s.source.text()) && next.path == s.source.path {
		return same, nil
	}
	rev, warnings, err := next.compile(old.number + 1)
	if err != nil {
		return same, err
	}
	if next.path != s.source.path {
		next.named = true // by `creel reload --policy`
	}
	if err := next.modest(rev.doc); err != nil {
		return same, err
	}
	route, err := s.route.build(rev.doc)
	if err != nil {
		return same, err
	}
	if rev.names, err = s.names.resolver(rev.doc, old.names); err != nil {
		return same, err
	}
	detail := map[string]string{"revision": strconv.FormatUint(rev.number, 10), "policy": next.path, "policy_sha256": digest(next.text())}
	s.names.note(detail, rev.doc)
	err = s.log.Record(audit.Event{Kind: audit.PolicyLoad, Detail: detail})
	if err != nil {
		return same, fault.Wrap(err, "load policy", fault.Internal)
	}
	moved := next.path != s.source.path
	*s.source = next
	s.rev.Store(rev)
	if moved {
		select {
		case s.moved <- struct{}{}: // the watcher looks at the new file from now on
		default:
		}
	}
	s.route.store(route)
	s.closeNames(old)
	closed := s.egress.Recheck()
	if err := s.rememberPolicy(); err != nil {
		s.o.Notice(err.Error())
	}
	for _, w := range warnings {
		s.o.Notice(w.Line())
	}
	if why := s.names.overruled(rev.doc); why != "" && old.doc.DNS.Upstream != rev.doc.DNS.Upstream {
		s.o.Notice(why)
	}
	if parts := static(old.doc, rev.doc); len(parts) > 0 {
		s.o.Notice(fmt.Sprintf("%s changed: that takes effect at the next start", strings.Join(parts, ", ")))
		if err := s.contradiction(rev.doc); err != nil {
			s.o.Notice(err.Error() + ": the next start is refused")
		}
	}
	return api.Reloaded{Revision: rev.number, Closed: closed, Changed: true}, nil
}

// rememberPolicy records what the operator trusted, for every folder that the
// agent can write.
func (s *supervisor) rememberPolicy() error {
	if s.o.Program != "" {
		return nil
	}
	home := "" // of a policy that would be found by itself
	if filepath.Base(s.source.path) == policyName {
		home = filepath.Dir(s.source.path)
	}
	// What an agent changes in a copy may come into the folder later (creel apply).
	apart := home != "" && s.areas.holding(home) == "" && (s.mode != policy.CopyOnWrite || !within(realPath(s.o.Workspace), home))
	switch {
	case home != "" && s.source.named && apart:
		if err := s.trust.rememberAlone(home, s.source.text()); err != nil {
			return err
		}
	case home != "" && (s.source.named || slices.Contains(s.areas, home)):
		if err := s.trust.remember(home, s.source.text(), s.source.named); err != nil {
			return err
		}
	}
	for _, dir := range s.areas {
		own := filepath.Join(dir, policyName)
		if dir == home {
			continue
		}
		r, err := s.trust.read(dir)
		if err != nil {
			return err
		}
		if r != nil {
			if r.Alone { // from now on an agent can write there
				r.Alone = false
				if err := s.trust.write(*r); err != nil {
					return err
				}
			}
			continue // what lies there now may be an agent's
		}
		data, _, err := readRegular(own)
		if err != nil {
			data = nil
		}
		if err := s.trust.remember(dir, data, false); err != nil {
			return err
		}
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
