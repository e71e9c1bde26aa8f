package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/creel-run/creel/policy/registry"
)

// Suggest gives the policy lines that would allow a connection, or with a
// method a request on it, and nothing beyond: one host, one port, one program,
// one method, one path. They are merged into network_policies. Where no lines
// can allow it, they are a comment that says why.
//
// About messages it cannot say more than their method and path.
func (e *Engine) Suggest(c Connection, method, path string) string {
	r := Request{Connection: c, Method: method}
	r.Target.Path = path
	return e.suggestRequest(&r)
}

// SuggestRequest is Suggest for a request whose message was read.
func (e *Engine) SuggestRequest(r Request) string { return e.suggestRequest(&r) }

func (e *Engine) suggestRequest(r *Request) string {
	c, method, path := r.Connection, r.Method, r.Target.Path
	if e != nil && (method != "" || r.Text) {
		switch g := e.Governing(c, path); {
		case g == nil:
		case !g.AllowEncodedSlash && strings.Contains(path, encodedSlash):
			return e.suggestEncodedSlash(g, r)
		case g.Protocol != REST:
			return e.suggestMessage(g, r)
		}
	}
	if why := e.refusal(r); why != "" {
		return why
	}
	if why := wider(r); why != "" {
		return why
	}
	var allow []Permit
	if method != "" {
		allow = []Permit{{method, LiteralPath(path)}}
	}
	return "network_policies:\n" + e.SuggestRule(c, allow).YAML("  ")
}

// suggestEncodedSlash: no rule can allow a path that the endpoint does not take.
func (e *Engine) suggestEncodedSlash(governing *Endpoint, r *Request) string {
	text := fmt.Sprintf("# add to the endpoint at %s:\n#   allow_encoded_slash: true\n", governing.At)
	if governing.Registry == registry.NPM {
		text += "# because npm asks for @scope/name as @scope%2Fname\n"
	}
	if ep := e.endpointOf(governing, r); ep != nil {
		text += e.closedLine(ep)
	}
	return text
}

// closedLine is Closed as a comment line, for more in an endpoint.
func (e *Engine) closedLine(ep *endpoint) string {
	if why := e.Closed(ep.spec.At.File, ep.net.spec.Key); why != "" {
		return "# " + why + "\n"
	}
	return ""
}

// wider says why lines for an HTTP request would not do: they would let more
// through than was asked for.
func wider(r *Request) string {
	protocol := ""
	switch {
	case r.Git != nil:
		protocol = "git"
	case r.Package != nil:
		protocol = "package"
	case r.GRPC != nil:
		protocol = "grpc"
	case r.GraphQL != nil:
		protocol = "graphql"
	case r.RPC != nil:
		protocol = "mcp or json-rpc"
	}
	if protocol != "" {
		return "# no lines are suggested: a rest rule for this path would allow every request to it; write an endpoint with protocol: " + protocol + "\n"
	}
	return ""
}

// contradicted names the endpoint of another protocol that lines for a connection
// or an HTTP request would meet: rules that meet must agree.
func (e *Engine) contradicted(c Connection, method, path string) string {
	if e == nil {
		return ""
	}
	text := ""
	e.each(c.Host, c.Port, func(ep *endpoint) {
		switch p := ep.spec.Protocol; {
		case text != "" || p == L4 || p == TCP || p == REST:
		case method == "" || ep.takesPath(path):
			text = fmt.Sprintf("# no lines are suggested: the endpoint at %s reads this as protocol: %s, and rules that meet must agree; add the program or rule there\n", ep.spec.At, p)
		}
	})
	return text
}

// SuggestRule is the rule behind Suggest, for what is permitted on a connection;
// without anything it allows the connection alone. Whoever calls it has asked
// Refusal.
func (e *Engine) SuggestRule(c Connection, allow []Permit) Draft {
	d := Draft{Key: e.FreeKey(nil, "allow", c.Host.String(), strconv.Itoa(int(c.Port))), Host: c.Host, Endpoints: []DraftEndpoint{e.DraftFor(c, allow)}}
	if c.KnownCaller {
		d.Binary = c.Binary
	}
	if why := e.Closed("", d.Key); why != "" {
		if e.withdrawn(c) {
			why = "unless a layer above allows it itself: " + why
		}
		d.Remarks = append(d.Remarks, why)
	}
	return d
}

// withdrawn: a layer restates what one above allowed for the host and port.
func (e *Engine) withdrawn(c Connection) (yes bool) {
	e.each(c.Host, c.Port, func(ep *endpoint) { yes = yes || ep.spec.Withdrawn })
	return yes
}

// like is an endpoint that already names the host and port, for any program.
func (e *Engine) like(c Connection) *endpoint {
	var found *endpoint
	if e != nil {
		e.each(c.Host, c.Port, func(ep *endpoint) {
			if found == nil || ep.inspect && !found.inspect {
				found = ep
			}
		})
	}
	return found
}

// denied names the deny rule that would still win over a new rule.
func (e *Engine) denied(r *Request) string {
	if e == nil {
		return ""
	}
	text := ""
	who := caller{c: &r.Connection}
	e.each(r.Host, r.Port, func(ep *endpoint) {
		if !ep.inspect || !who.matches(ep.net) || !ep.takesPath(r.Target.Path) || text != "" {
			return
		}
		for i := range ep.deny {
			if rule := &ep.deny[i]; (len(rule.spec.Query) == 0 || r.Target.HasQuery) && rule.takes(r, true) {
				text = fmt.Sprintf("# the deny rule at %s wins over every allow rule: remove or narrow it\n", rule.rule.At)
				return
			}
		}
	})
	return text
}
