package supervisor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/credential"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/middleware/builtin"
	"github.com/creel-run/creel/middleware/external"
	"github.com/creel-run/creel/middleware/secrets"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/secret"
)

// openMiddlewares reads --middleware flags. It connects to nothing.
func (s *supervisor) openMiddlewares() error {
	for _, flag := range s.o.Middlewares {
		r, err := external.Parse(flag)
		if err != nil {
			return fault.Wrap(err, "read --middleware", fault.Usage, "creel run --middleware guard=unix:///run/guard.sock -- …")
		}
		service, err := external.Open(r)
		if err != nil {
			return fault.Wrap(err, "read --middleware", fault.Usage)
		}
		s.services = append(s.services, service)
	}
	return nil
}

func (s *supervisor) closeMiddlewares() {
	for _, service := range s.services {
		service.Close()
	}
}

// guardSockets refuses a socket where the agent could put one of its own.
func (s *supervisor) guardSockets() error {
	for _, service := range s.services {
		if path := service.Socket(); path != "" && s.areas.holding(path) != "" {
			return fault.UsageError("read --middleware", path+" lies where the agent can write: it could answer in the place of "+service.Name(),
				"let it listen outside of the workspace and of the policy's read_write paths")
		}
	}
	return nil
}

// credentials are those of --secret, read once.
func (s *supervisor) credentials() (*credential.Set, error) {
	if s.bound != nil || len(s.o.Secrets) == 0 {
		return s.bound, nil
	}
	set, err := credential.Parse(s.o.Secrets, s.o.Getenv)
	if err != nil {
		hints := secretHints(err, s.o.Secrets)
		if hints == nil {
			hints = []string{"creel run --secret NAME=env:VAR@HOST[:HEADER] -- …"}
		}
		return nil, fault.Wrap(err, "", fault.Usage, hints...) // its text names the flag
	}
	s.bound = set
	return set, nil
}

// middlewares are those that a policy may name: Creel's, which know the secrets
// that it keeps, and the operator's.
func (s *supervisor) middlewares(doc *policy.Document) (map[string]middleware.Factory, error) {
	set, err := s.credentials()
	if err != nil {
		return nil, err
	}
	var known []secrets.Known
	for name, value := range set.Values() {
		known = append(known, secrets.Known{Name: name, Value: value})
	}
	key := s.o.InferenceKey
	if d := doc.Inference; d != nil && s.o.Inference == "" {
		key = d.Key
	}
	if key != "" {
		// One that cannot be read is the fault of the route, which says so.
		if value, err := secret.Resolve(key, s.o.Getenv); err == nil {
			known = append(known, secrets.Known{Name: "inference", Value: value})
		}
	}
	all, err := builtin.Factories(known, s.services...)
	if err != nil {
		return nil, fault.Wrap(err, "read --middleware", fault.Usage)
	}
	return all, nil
}

// chain makes the middlewares of a document; nil: it names none.
func (s *source) chain(number uint64, doc *policy.Document) (*middleware.Chain, error) {
	if len(doc.Middlewares) == 0 {
		return nil, nil
	}
	var known map[string]middleware.Factory
	if s.known != nil {
		var err error
		if known, err = s.known(doc); err != nil {
			return nil, err
		}
	}
	chain, err := middleware.New(doc.Middlewares, known)
	var faults policy.Faults
	if !errors.As(err, &faults) {
		return chain, err
	}
	for i := range faults {
		if strings.HasSuffix(faults[i].Path, ".middleware") {
			faults[i].Hint = "a program of your own: creel run --middleware NAME=unix:///PATH -- …"
		}
	}
	return nil, faulty(faults, number, s.path)
}

// middlewareLayer: who looks at what the agent sends. One that fails open has to
// be there to count.
func (s *supervisor) middlewareLayer() api.Layer {
	var parts, open []string
	for _, m := range s.rev.Load().doc.Middlewares {
		text := m.Key
		if m.Implementation != m.Key {
			text += " (" + m.Implementation + ")"
		}
		if m.FailOpen {
			text += " fail_open"
			open = append(open, m.Key)
		}
		parts = append(parts, text)
	}
	l := layer("middlewares", len(open) == 0, fmt.Sprintf("%d in this order: %s", len(parts), strings.Join(parts, ", ")), "fail_closed for "+strings.Join(open, ", "))
	if len(open) > 0 {
		l.Fix = "write on_error: fail_closed"
	}
	return l
}
