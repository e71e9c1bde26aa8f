package analyse

import (
	"strings"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
)

// verdict is what the endpoints of one side say of a request whose governing
// endpoint reads messages, gathered as the engine does.
type verdict struct {
	hard    bool // denied, whatever is enforced
	deny    bool
	refused bool // some member is allowed by nobody
	allowed bool

	by *endpoint // the first that allows the member in question

	// Members that are counted otherwise than others are refused together.
	uses    string
	several bool
}

// offers notes that an endpoint's rules allow the member in question. Endpoints
// come in the order in which the engine asks them, which is not that of the document.
func (j *verdict) offers(ep *endpoint) {
	if !ep.lapsed && (j.by == nil || ep.order < j.by.order) {
		j.by = ep
	}
}

// settle ends a member, and reports whether it is allowed.
func (j *verdict) settle() bool {
	by := j.by
	j.by = nil
	if by == nil {
		return false
	}
	j.allowed = true
	if c := by.counts; c != "" && c != j.uses {
		j.several, j.uses = j.several || j.uses != "", c
	}
	return true
}

func (j *verdict) grant(governs *endpoint) Grant {
	allowed := j.allowed && !j.refused
	switch {
	case j.hard, !j.deny && allowed && j.several:
		return Denied
	case !j.deny && allowed:
		return Allowed
	case governs.forwards():
		return Audited
	}
	return Denied
}

// taking is an endpoint that takes the caller and the path. grants: its allow
// rules count there, too.
type taking struct {
	*endpoint
	grants bool
}

// holding is a request with all of its members.
type holding struct {
	*request
	verb    string // the method, as it is written
	text    bool
	members []*message
}

// messages judges a request where some endpoint of the cell reads messages.
func (v *view) messages(h *holding) Grant {
	s, r := &v.base, v.c.requests
	if !s.hit || !s.inspect {
		return s.grant(Bytes, false)
	}
	v.enter(h.path)
	g := v.at.governs
	if g == nil || r.hasSlash(h.path) && !g.slash {
		return Denied
	}
	j := &verdict{}
	byRules := g.protocol == policy.REST || g.protocol == policy.WebSocket && !(h.text && g.messages.operations.overSockets)
	for i := range r.rules[h.path] {
		one := &r.rules[h.path][i]
		if one.side != v.side || !v.who.taken.has(one.group) || !one.deny && (!byRules || one.ep.protocol != g.protocol) {
			continue
		}
		if !r.holds(one.rule, h.request, one.deny) {
			continue
		}
		if one.deny {
			j.deny = true
		} else {
			j.offers(one.ep)
		}
	}
	j.settle()
	switch {
	case g.protocol == policy.REST:
		j.hard = h.text // no WebSocket is opened there
	case g.protocol == policy.WebSocket && byRules:
		j.hard = !h.text && !strings.EqualFold(h.verb, "GET")
	case g.protocol == policy.WebSocket:
		v.operations(h, j)
	case g.protocol == policy.GraphQL:
		j.hard = !opensOrPosts(h.verb)
		v.operations(h, j)
	case g.protocol == policy.JSONRPC || g.protocol == policy.MCP:
		v.calls(h, j)
	case g.protocol == policy.Git:
		v.git(h, j)
	case g.protocol == policy.Package:
		v.packages(h, j)
	case g.protocol == policy.GRPC:
		v.services(h, j)
	default:
		j.hard = true
	}
	return j.grant(g)
}

func opensOrPosts(method string) bool {
	return strings.EqualFold(method, "GET") || strings.EqualFold(method, "POST")
}

// holdsOnly reports whether there are members, and all are of some forms.
func (h *holding) holdsOnly(forms ...form) bool {
	for _, m := range h.members {
		found := false
		for _, f := range forms {
			found = found || m.form == f
		}
		if !found {
			return false
		}
	}
	return len(h.members) > 0
}

// operations: every endpoint of operations that takes the path has to allow each.
func (v *view) operations(h *holding, j *verdict) {
	if !h.holdsOnly(operation, stored) {
		j.hard = true
		return
	}
	for _, m := range h.members {
		for _, ep := range v.taking {
			if ep.messages == nil || ep.messages.operations == nil {
				continue
			}
			o, known := ep.messages.operations, m
			if m.form == stored {
				if known = o.registry[m.key]; known == nil {
					j.refused = j.refused || ep.grants
					continue
				}
			}
			allow, deny := o.judge(known)
			j.deny = j.deny || deny
			switch {
			case !ep.grants:
			case !allow:
				j.refused = true
			case ep.protocol == v.at.governs.protocol:
				j.offers(ep.endpoint)
			}
		}
		j.refused = !j.settle() || j.refused
	}
}

// judge says whether some rule allows an operation, and some denies it.
func (o *operationRules) judge(m *message) (allow, deny bool) {
	for i := range o.allow {
		allow = allow || o.allow[i].takes(m, false)
	}
	for i := range o.deny {
		deny = deny || o.deny[i].takes(m, true)
	}
	return allow, deny
}

// about: type and name are the rule's.
func (r *operationRule) about(kind, name string) bool {
	return (r.kind == "*" || r.kind == kind) && (r.name == nil || r.name.match(name))
}

// takes: an allow rule wants every root field to match, a deny rule one.
func (r *operationRule) takes(m *message, deny bool) bool {
	if !r.about(m.kind, m.name) {
		return false
	}
	if len(r.fields) == 0 {
		return true
	}
	hits := 0
	for _, f := range m.fields {
		if anyMatch(r.fields, f) {
			hits++
		}
	}
	if deny {
		return hits > 0
	}
	return hits > 0 && hits == len(m.fields)
}

const toolsCall = "tools/call"

func (v *view) calls(h *holding, j *verdict) {
	g := v.at.governs
	mcp := g.protocol == policy.MCP
	if h.holdsOnly(stream) || h.holdsOnly(ending) {
		verb := "GET"
		if h.holdsOnly(ending) {
			verb = "DELETE"
		}
		if !mcp || h.verb != verb {
			j.hard = true
			return
		}
		for _, ep := range v.taking {
			if ep.protocol == policy.MCP && ep.grants {
				j.offers(ep.endpoint)
			}
		}
		j.settle()
		return
	}
	if !h.holdsOnly(call, answer) {
		j.hard = true
		return
	}
	answers := false
	for _, m := range h.members {
		answers = answers || m.form == answer
		if m.form == call && mcp && m.method == toolsCall && (m.tool == "" || !g.messages.calls.loose && !isToolName(m.tool)) {
			j.hard = true
		}
	}
	if answers {
		j.hard = j.hard || !mcp
		for _, ep := range v.taking {
			switch {
			case !ep.grants:
			case ep.protocol == policy.JSONRPC:
				j.hard = true
			case ep.protocol == policy.MCP:
				j.offers(ep.endpoint)
			}
		}
		j.refused = !j.settle() || j.refused
	}
	if h.verb != "POST" {
		j.refused = true
		return
	}
	for _, m := range h.members {
		if m.form != call {
			continue
		}
		tool, arguments := m.tool, m.arguments
		if !mcp {
			tool, arguments = "", nil // its reader does not look for them
		}
		for _, ep := range v.taking {
			if ep.messages == nil || ep.messages.calls == nil {
				continue
			}
			c := ep.messages.calls
			allow, deny := c.judge(m.method, tool, arguments)
			j.deny = j.deny || deny
			if allow && ep.grants && ep.protocol == g.protocol {
				j.offers(ep.endpoint)
			}
		}
		j.refused = !j.settle() || j.refused
	}
}

// isToolName: the form of strict names.
func isToolName(name string) bool {
	const longest = 128
	if name == "" || len(name) > longest {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
}

func (c *callRules) judge(method, tool string, arguments *jsonrpc.Arguments) (allow, deny bool) {
	for i := range c.allow {
		allow = allow || c.allow[i].takes(method, tool) && c.allow[i].holds(arguments)
	}
	for i := range c.deny {
		deny = deny || c.deny[i].takes(method, tool) && c.deny[i].holds(arguments)
	}
	return allow || c.every && method != "" && (method != toolsCall || !c.narrowed), deny
}

// takes is about method and tool, holds about the arguments.
func (r *callRule) takes(method, tool string) bool {
	return method != "" && (r.method == nil || r.method.match(method)) && (!r.tooled || anyMatch(r.tools, tool))
}

// git: each ref needs a rule of its own; the question for the refs is allowed
// where what it comes before may be.
func (v *view) git(h *holding, j *verdict) {
	if !h.holdsOnly(fetch) && !h.holdsOnly(push) || !opensOrPosts(h.verb) {
		j.hard = true
		return
	}
	for _, ep := range v.taking {
		if ep.messages == nil || ep.messages.git == nil {
			continue
		}
		for i := range ep.messages.git.deny {
			for _, m := range h.members {
				r := &ep.messages.git.deny[i]
				j.deny = j.deny || r.about(m) && (len(r.refs) == 0 || m.ref != "" && anyMatch(r.refs, m.ref))
			}
		}
	}
	for _, m := range h.members {
		for _, ep := range v.taking {
			if ep.messages == nil || ep.messages.git == nil || !ep.grants {
				continue
			}
			for i := range ep.messages.git.allow {
				if ep.messages.git.allow[i].takes(m) {
					j.offers(ep.endpoint)
					break
				}
			}
		}
		if !j.settle() {
			j.refused = true
			return
		}
	}
}

func (r *gitRule) about(m *message) bool {
	return r.push == (m.form == push) && r.repository.match(m.repository)
}

// takes is about an allow rule. Before the refs are known they do not count.
func (r *gitRule) takes(m *message) bool {
	if !r.about(m) {
		return false
	}
	return m.ref == "" || (len(r.refs) == 0 || anyMatch(r.refs, m.ref)) && (!m.forced || r.force) && (!m.delete || r.delete)
}

func (v *view) packages(h *holding, j *verdict) {
	g := v.at.governs
	if len(h.members) == 0 {
		j.hard = true
		return
	}
	m := h.members[0] // whatever else it is: a package is told from the path
	p := m.asks
	if m.path != "" {
		p, _ = registry.Parse(g.messages.packages.kind, g.messages.packages.prefix, strings.ToUpper(h.verb), m.path)
	}
	if p == nil || p.Action == registry.Unknown || p.Kind != g.messages.packages.kind {
		j.hard = true
		return
	}
	for _, ep := range v.taking {
		if ep.messages == nil || ep.messages.packages == nil || ep.messages.packages.kind != p.Kind {
			continue
		}
		rules := ep.messages.packages
		for i := range rules.deny {
			j.deny = j.deny || rules.deny[i].denies(p)
		}
		for i := range rules.allow {
			if ep.grants && rules.allow[i].takes(p, m) {
				j.offers(ep.endpoint)
				break
			}
		}
	}
	j.settle()
}

func (r *packageRule) takesVersion(version string) bool {
	return len(r.versions) == 0 || version != "" && anyMatch(r.versions, version)
}

// takes is about an allow rule: the registry's index is for everybody who may
// take some package.
func (r *packageRule) takes(p *registry.Request, m *message) bool {
	switch p.Action {
	case registry.Index:
		return true
	case registry.Metadata:
		return r.name.match(p.Name) && (p.Version == "" || r.takesVersion(p.Version))
	case registry.Publish:
		return r.publish && r.name.match(p.Name) && r.takesVersion(p.Version)
	case registry.Download:
		return r.name.match(p.Name) && r.takesVersion(p.Version) && (r.minAge <= 0 || m.ageKnown && m.age >= r.minAge)
	case registry.Unknown:
	}
	return false
}

// denies: who publishes often names no version, and to some registries no package:
// it may be one that is denied.
func (r *packageRule) denies(p *registry.Request) bool {
	if p.Action == registry.Publish && (p.Name == "" || p.Version == "" && r.name.match(p.Name)) {
		return true
	}
	if p.Action == registry.Index || !r.name.match(p.Name) {
		return false
	}
	if p.Version == "" {
		return len(r.versions) == 0
	}
	return r.takesVersion(p.Version)
}
