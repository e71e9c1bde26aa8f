package naive

import (
	"strings"

	"github.com/creel-run/creel/policy"
)

// FromDocument says what a Document says, in the words of this package. It is
// the only place that knows the fields of a Document.
func FromDocument(doc *policy.Document) Policy {
	p := Policy{Version: doc.Version, Limit: limitOf(doc.Limits)}
	if doc.Unmatched == policy.Ask {
		p.Unmatched = "ask"
	}
	for _, n := range doc.Networks {
		network := Network{Key: n.Key, AnyBinary: n.AnyBinary, Ancestors: doc.Version == 1 || n.Ancestors, Expires: n.Expires, MaxUses: n.MaxUses, Limit: limitOf(n.Limits)}
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
				Enforcement:  e.Enforcement.String(),
				Asks:         e.Unmatched == policy.Ask,
				Access:       e.Access,
				Allow:        fromRules(e.Allow),
				Deny:         fromRules(e.Deny),

				Registered:     e.GraphQL.AllowRegistered,
				Registry:       fromRegistry(e.GraphQL.Registry),
				AllMCPMethods:  e.MCP.AllMethods,
				LooseToolNames: e.MCP.LooseToolNames,
				RegistryKind:   string(e.Registry),

				InternalAddresses: doc.Version == 1 || e.InternalAddresses,
				Expires:           e.Expires,
				MaxUses:           e.MaxUses,
				Limit:             limitOf(e.Limits),
				TakenBack:         e.Withdrawn,
			})
		}
		p.Networks = append(p.Networks, network)
	}
	return p
}

func limitOf(l *policy.Limits) int {
	if l == nil {
		return 0
	}
	return int(l.Connections)
}

func fromRules(rules []policy.RequestRule) []Rule {
	var list []Rule
	for _, r := range rules {
		rule := Rule{Method: r.Method, Path: r.Path, OperationType: r.OperationType, OperationName: r.OperationName, Fields: r.Fields, Tool: r.Tools,
			Operation: r.Operation, Repository: r.Repository, Refs: r.Refs, Force: r.Force, Delete: r.Delete, Package: r.Package, Versions: r.Versions, MinAge: r.MinAge, Publish: r.Publish, Service: r.Service}
		for _, q := range r.Query {
			rule.Query = append(rule.Query, Query{Key: q.Key, Any: q.Any})
		}
		for _, a := range r.Arguments {
			rule.Arguments = append(rule.Arguments, Query{Key: a.Name, Any: a.Any})
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
		Now:         c.Now,
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
	if r.GraphQL != nil {
		q.GraphQL = &GraphQL{}
		for _, o := range r.GraphQL.Operations {
			q.GraphQL.Operations = append(q.GraphQL.Operations, Operation{Type: o.Type, Name: o.Name, Fields: o.Fields, Hash: o.Hash, ID: o.ID})
		}
	}
	if r.RPC != nil {
		q.RPC = &RPC{Response: r.RPC.Response, ReceiveStream: r.RPC.ReceiveStream, EndSession: r.RPC.EndSession}
		for _, c := range r.RPC.Calls {
			q.RPC.Calls = append(q.RPC.Calls, Call{Method: c.Method, Tool: c.Tool, Argument: c.Arguments.Text})
		}
	}
	if g := r.Git; g != nil {
		q.Git = &Git{Repository: g.Repository, Push: g.Push, Discovery: g.Discovery}
		for _, u := range g.Updates {
			q.Git.Updates = append(q.Git.Updates, Update{Ref: u.Ref, Forced: u.Forced, Delete: u.Delete})
		}
	}
	if g := r.GRPC; g != nil {
		q.GRPC = &GRPC{Service: g.Service, Method: g.Method}
	}
	if p := r.Package; p != nil {
		q.Package = &Package{Kind: string(p.Kind), Action: p.Action.String(), Name: p.Name, Version: p.Version, Published: p.Published}
	}
	return q
}
