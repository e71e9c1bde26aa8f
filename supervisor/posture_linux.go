package supervisor

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
)

// reading is what one look at the live sandbox found. Rows take their facts from
// it and from the kernel, never from what was asked for alone.
type reading struct {
	agent  int // pids as the host sees them
	init   int
	status map[string]string // /proc/AGENT/status
}

// Posture reads back from the kernel what is in force for the live sandbox, and
// compares it with what was asked for. What cannot be read is not enforced.
//
// Every field of spec.Spec and sandbox.Config has a row here or a reason why not;
// TestEveryFieldHasARow holds the list.
func (s *supervisor) Posture(context.Context) (api.Posture, error) {
	r := reading{init: s.box.InitPID}
	var err error
	if r.agent, err = s.box.AgentPID(); err != nil {
		return api.Posture{}, fault.Wrap(err, "read posture", fault.General)
	}
	if r.status, err = readStatus(r.agent); err != nil {
		return api.Posture{}, fault.Wrap(err, "read posture", fault.General)
	}
	p := api.Posture{Layers: []api.Layer{
		s.userLayer(r), s.groupLayer(r), privilegeLayer(r), namespaceLayer(r), initLayer(r),
		s.mountLayer(r), s.maskLayer(r), s.coverLayer(r), s.fileLayer(), s.landlockLayer(), s.seccompLayer(r),
		s.networkLayer(r), s.listenerLayer(r), s.terminalLayer(r), coreLayer(r.agent), s.auditLayer(),
		// What this build does not have yet is said, not left out.
		s.socketLayer(),
	}}
	p.Layers = append(p.Layers, s.limitLayers()...)
	if s.parents.ByName() {
		p.Layers = append(p.Layers, addressLayer())
	}
	if len(s.rev.Load().doc.Middlewares) > 0 {
		p.Layers = append(p.Layers, s.middlewareLayer())
	}
	if s.o.Agent != nil {
		p.Layers = append(p.Layers, s.agentLayer(r.agent))
	}
	for i, l := range p.Layers {
		if l.State != api.Enforced && l.Fix == "" {
			// It was in force at the start, else there would have been none: whoever
			// changed it has root's power over this sandbox.
			p.Layers[i].Fix = "creel stop " + s.name + "  (and look who changed it: nothing inside can)"
		}
	}
	return p, nil
}

// layer compares one fact.
func layer(name string, ok bool, detail, want string) api.Layer {
	l := api.Layer{Name: name, State: api.Enforced, Detail: detail}
	if !ok {
		l.State, l.Want = api.Degraded, want
	}
	return l
}

// judged is a row that holds if nothing was found wrong.
func judged(name string, faults []string, detail, want string) api.Layer {
	if len(faults) > 0 {
		return layer(name, false, bounded(faults), want)
	}
	return layer(name, true, detail, "")
}

// bounded keeps a row readable when everything is wrong at once.
func bounded(faults []string) string {
	const most = 8
	if more := len(faults) - most; more > 0 {
		faults = append(faults[:most:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(faults, "; ")
}

// readStatus reads /proc/PID/status as the host sees it.
func readStatus(pid int) (map[string]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			m[k] = strings.Join(strings.Fields(v), " ")
		}
	}
	return m, nil
}

// auditLayer: nothing goes out that was not written down.
func (s *supervisor) auditLayer() api.Layer {
	l := layer("audit", !s.unaudited.Load(), "every decision is written before it takes effect", "a log that can be written")
	if l.State != api.Enforced {
		l.Detail, l.Fix = "the log cannot be written: everything is denied", "df "+s.log.Path()
	}
	return l
}

// socketLayer: as long as the listener is there, connects of the agent are the
// supervisor's to make.
func (s *supervisor) socketLayer() api.Layer {
	var faults []string
	if t := s.callers.Load(); t == nil {
		faults = append(faults, "nobody makes them")
	} else if err := t.Listening(); err != nil {
		faults = append(faults, err.Error())
	}
	open := false
	for _, w := range openSwitches(s.box.Syscalls) {
		if w.Sockets {
			open = true
			faults = append(faults, "syscalls."+string(w.Name)+" is open: "+w.Cost)
		}
	}
	l := judged("unix sockets", faults, "the supervisor makes the agent's connects: only to sockets that were bound inside; no unix datagrams", "connects on the agent's behalf, and no switch that goes around them")
	if open {
		l.Fix = closeFix
	}
	return l
}
