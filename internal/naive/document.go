package naive

import (
	"strings"

	"github.com/creel-run/creel/policy"
)

// FromDocument says what a Document says, in the words of this package. It is
// the only place that knows the fields of a Document.
func FromDocument(doc *policy.Document) Policy {
	p := Policy{Version: doc.Version}
	for _, n := range doc.Networks {
		network := Network{Key: n.Key, AnyBinary: n.AnyBinary}
		for _, b := range n.Binaries {
			network.Binaries = append(network.Binaries, Binary{Path: b.Path, Digest: b.SHA256})
		}
		for _, e := range n.Endpoints {
			network.Endpoints = append(network.Endpoints, Endpoint{
				Host:         e.Host,
				Ports:        e.Ports,
				AllowedIPs:   len(e.AllowedIPs) > 0,
				Protocol:     string(e.Protocol),
				Path:         e.Path,
				SkipTLS:      e.TLS == policy.TLSSkip,
				EncodedSlash: e.AllowEncodedSlash,
				Enforced:     e.Enforcement != policy.Audit, // to ask is not to allow
				Access:       e.Access,
				Allow:        fromRules(e.Allow),
				Deny:         fromRules(e.Deny),

				Registered:    e.GraphQL.AllowRegistered,
				Registry:      fromRegistry(e.GraphQL.Registry),
				AllMCPMethods: e.MCP.AllMethods,
			})
		}
		p.Networks = append(p.Networks, network)
	}
	return p
}

func fromRules(rules []policy.RequestRule) []Rule {
	var list []Rule
	for _, r := range rules {
		rule := Rule{Method: r.Method, Path: r.Path, OperationType: r.OperationType, OperationName: r.OperationName, Fields: r.Fields, Tool: r.Tools}
		for _, q := range r.Query {
			rule.Query = append(rule.Query, Query{Key: q.Key, Any: q.Any})
		}
		list = append(list, rule)
	}
	return list
}

func fromRegistry(list []policy.PersistedOperation) map[string]Rule {
	registry := map[string]Rule{}
	for _, o := range list {
		registry[o.Key] = Rule{OperationType: o.Type, OperationName: o.Name, Fields: o.Fields}
	}
	return registry
}

// FromConnection is the question whether a connection may be made.
func FromConnection(c policy.Connection) Question {
	return Question{
		Host:        c.Host.String(),
		Port:        c.Port,
		Binary:      c.Binary,
		Ancestors:   c.Ancestors,
		KnownCaller: c.KnownCaller,
		Digest:      c.SHA256,
	}
}

// FromRequest is the question about a request and its connection.
func FromRequest(r policy.Request) Question {
	q := FromConnection(r.Connection)
	q.Method, q.Path, q.Query = r.Method, r.Target.Path, r.Target.Query
	switch {
	case r.Text:
		q.Method = policy.MethodText
	case strings.EqualFold(r.Method, policy.MethodText):
		q.Path = "" // a client may send this word as its method: no endpoint takes it
	}
	if g := r.GraphQL; g != nil {
		q.GraphQL = &GraphQL{}
		for _, o := range g.Operations {
			q.GraphQL.Operations = append(q.GraphQL.Operations, Operation{Type: o.Type, Name: o.Name, Fields: o.Fields, Hash: o.Hash, ID: o.ID})
		}
	}
	if m := r.RPC; m != nil {
		q.RPC = &RPC{Response: m.Response, ReceiveStream: m.ReceiveStream}
		for _, c := range m.Calls {
			q.RPC.Calls = append(q.RPC.Calls, Call{Method: c.Method, Tool: c.Tool})
		}
	}
	return q
}
