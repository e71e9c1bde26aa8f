package inference

import (
	"fmt"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// localHost is the name under which every sandbox finds its model, whatever
// the route is.
const localHost = "inference.local"

// builtinHosts are claimed when a route is configured: those whose protocol the
// route does not speak are refused, which is the point (a model that is reached past
// the route would be neither counted nor audited).
var builtinHosts = policy.ModelServices()

// ModelHosts is the list of hosts to claim that a policy asks for; nil stands
// for the built-in one.
func ModelHosts(d *policy.Inference) []string {
	if d == nil || d.Hosts == nil && len(d.AddHosts)+len(d.RemoveHosts) == 0 {
		return nil
	}
	return d.ModelHosts()
}

// Hosts are those of models. Nil are none.
type Hosts struct {
	exact map[netname.Host]bool
	wild  []netname.Pattern
}

// NewHosts makes the hosts of a list, patterns allowed; nil stands for the
// built-in one.
func NewHosts(list []string) (*Hosts, error) {
	if list == nil {
		list = builtinHosts
	}
	m := &Hosts{exact: map[netname.Host]bool{}}
	for _, name := range list {
		if h, err := netname.ParseHost(name); err == nil {
			m.exact[h] = true
			continue
		}
		p, err := netname.ParsePattern(name)
		if err != nil {
			return nil, fmt.Errorf("read inference hosts: %q: %w", name, err)
		}
		m.wild = append(m.wild, p)
	}
	return m, nil
}

// Has reports whether a host is one of them.
func (m *Hosts) Has(h netname.Host) bool {
	if m == nil || h.IsZero() {
		return false
	}
	if m.exact[h] {
		return true
	}
	for _, p := range m.wild {
		if p.Match(h) {
			return true
		}
	}
	return false
}

// Uninspected is why a connection to a model host that nobody would look into is
// refused, though a rule allows it.
const Uninspected = "this is a model host, and the rule that allows it does not look at requests: a model would be used past every count and budget"

// Guarded are the hosts that a document lets nobody reach over a connection that is
// not inspected: those of models, in version 2 alone. A host is taken off the list
// with inference.remove_hosts.
func Guarded(doc *policy.Document) (*Hosts, error) {
	if doc == nil || doc.Version < 2 {
		return nil, nil
	}
	return NewHosts(doc.GuardedHosts())
}

// DefaultHosts is the built-in list of model hosts.
func DefaultHosts() []string { return append([]string{}, builtinHosts...) }
