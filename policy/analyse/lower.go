package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// side is one policy, or one assertion, in the form that is compared: what the
// engine makes of a document, written a second time.
type side struct {
	endpoints []*endpoint // of all networks, in the engine's order
	guards    []*endpoint // stand-ins for hosts that nobody reaches uninspected
	unknown   []Unknown   // of the document as a whole
}

// condition is what a rule wants of its caller.
type condition struct {
	any, ancestors bool
	programs       []program
	print          string
}

type program struct {
	text   string // a path, or with glob a glob over paths
	glob   bool
	sha256 string // empty: any content
}

type network struct {
	key  string
	spec *policy.Network // nil: of an assertion
	who  *condition
}

// endpoint is one endpoint, or a stand-in for an assertion.
type endpoint struct {
	net      *network
	spec     *policy.Endpoint // nil: of an assertion
	order    int
	at       policy.Position
	host     hostPattern
	ports    []uint16 // nil: every port
	protocol policy.Protocol
	inspect  bool
	tlsSkip  bool
	slash    bool
	enforce  policy.Enforcement
	lapsed   bool   // it grants nothing at the time of the analysis
	counts   string // what its uses are counted in; empty: they are not
	specific int
	selector string // text of the selector; "" takes every path
	allow    []rule // by method and path; none if it has lapsed
	deny     []rule
	messages *messageRules // of a protocol whose messages are read
	wants    *wants        // of an assertion: what of messages it describes
	dest     netname.Destination
	unknown  []Unknown
	content  string // all but who may use it and where
	print    string // equal prints are treated alike by the engine
	side, id int    // set by partition: equal prints have equal ids
	guard    bool   // of no rule: its host is guarded (guards.go)
}

// hostPattern is a name or address, a pattern over names, or everything.
type hostPattern struct {
	literal netname.Host
	text    string          // with wildcards
	pattern netname.Pattern // of text
	every   bool
}

// rule is an allow or deny entry.
type rule struct {
	method string // upper case, or "*"
	path   string // glob; "**" is every path
	query  []queryRule
	// oneValue, of an assertion: one value of a key is enough, as for a deny rule.
	oneValue bool
}

type queryRule struct{ key, matcher string } // matcher: key of analysis.matchers

// lower reads a document. What it cannot judge exactly is in unknown.
func (a *analysis) lower(doc *policy.Document) (*side, error) {
	s := &side{}
	for _, f := range unknownFields(doc, documentFields) {
		s.unknown = append(s.unknown, Unknown{At: policy.Position{File: doc.File}, What: keyText(f)})
	}
	list := slices.Clone(doc.Networks)
	slices.SortFunc(list, func(x, y policy.Network) int { return cmp.Compare(x.Key, y.Key) })
	for _, m := range doc.Middlewares {
		for _, f := range unknownFields(&m, middlewareFields) {
			s.unknown = append(s.unknown, Unknown{At: m.At, What: keyText(f) + " of a middleware"})
		}
	}
	for i := range list {
		spec := &list[i]
		n := &network{key: spec.Key, spec: spec, who: lowerCondition(spec, doc.Version)}
		var unknown []Unknown
		for _, f := range unknownFields(spec, networkFields) {
			unknown = append(unknown, Unknown{At: spec.At, What: keyText(f) + " of network policy " + spec.Key})
		}
		for _, b := range spec.Binaries {
			for _, f := range unknownFields(&b, binaryFields) {
				unknown = append(unknown, Unknown{At: b.At, What: keyText(f) + " of a binary"})
			}
			if b.SHA256 != "" && doc.Version == 1 {
				return nil, fmt.Errorf("analyse policy: %s: sha256 in version 1", spec.Key)
			}
		}
		for j := range spec.Endpoints {
			ep, err := a.lowerEndpoint(&spec.Endpoints[j], n, doc.Version)
			if err != nil {
				return nil, fmt.Errorf("analyse policy: %s: endpoints[%d]: %w", spec.Key, j, err)
			}
			ep.order = len(s.endpoints)
			ep.unknown = append(ep.unknown, unknown...)
			for k := range ep.unknown {
				ep.unknown[k].Place = placeOf(&spec.Endpoints[j])
			}
			if len(ep.unknown) > 0 {
				ep.print += "|" + fingerprint(spec.Binaries) + strings.Join(unknownPrints(spec, networkFields), "|")
			}
			s.endpoints = append(s.endpoints, ep)
		}
	}
	guards, err := guardsOf(doc)
	if err != nil {
		return nil, fmt.Errorf("analyse policy: inference hosts: %w", err)
	}
	s.guard(guards)
	return s, nil
}

// placeOf is where an endpoint opens something, for a message.
func placeOf(spec *policy.Endpoint) string {
	host := spec.Host
	if host == "" {
		host = "any name with these addresses"
	}
	ports := make([]string, 0, len(spec.Ports))
	for _, p := range sortedPorts(spec.Ports) {
		ports = append(ports, strconv.Itoa(int(p)))
	}
	return host + ":" + strings.Join(ports, ",")
}

func lowerCondition(spec *policy.Network, version int) *condition {
	c := &condition{any: spec.AnyBinary, ancestors: (version == 1 || spec.Ancestors) && !spec.AnyBinary}
	for _, b := range spec.Binaries {
		if b.Path == "" {
			continue // matches no caller
		}
		p := program{text: b.Path, glob: strings.Contains(b.Path, "*"), sha256: b.SHA256}
		if !slices.Contains(c.programs, p) {
			c.programs = append(c.programs, p)
		}
	}
	if c.any {
		c.programs = nil
	}
	slices.SortFunc(c.programs, func(x, y program) int {
		return cmp.Or(cmp.Compare(x.text, y.text), cmp.Compare(x.sha256, y.sha256))
	})
	c.print = fmt.Sprintf("%v %v %s", c.any, c.ancestors, fingerprint(c.programs))
	return c
}

func (a *analysis) lowerEndpoint(spec *policy.Endpoint, n *network, version int) (*endpoint, error) {
	ep := &endpoint{
		net: n, at: spec.At, ports: sortedPorts(spec.Ports), tlsSkip: spec.TLS == policy.TLSSkip, protocol: spec.Protocol,
		slash: spec.AllowEncodedSlash, enforce: spec.Enforcement, spec: spec,
		lapsed: spec.Withdrawn, counts: countsOf(n.spec, spec),
	}
	for _, t := range endsOf(n.spec, spec) {
		ep.lapsed, a.timed = ep.lapsed || !a.at.Before(t), true
	}
	if ep.ports == nil {
		ep.ports = []uint16{} // no port, where nil would be every port
	}
	var err error
	if ep.host, err = lowerHost(spec); err != nil {
		return nil, err
	}
	switch {
	case len(spec.AllowedIPs) > 0:
		ep.dest = netname.Destination{Mode: netname.AllowedIPs, Allowed: spec.AllowedIPs}
	case ep.host.literal.IsAddr():
		ep.dest.Mode = netname.LiteralIP
	case !ep.host.literal.IsZero() && (version == 1 || spec.InternalAddresses):
		ep.dest.Mode = netname.DeclaredHost
	}
	for _, f := range unknownFields(spec, endpointFields) {
		ep.unknown = append(ep.unknown, Unknown{At: spec.At, What: keyText(f) + " of an endpoint"})
	}
	for _, part := range []struct {
		pointer any
		fields  string
	}{{&spec.GraphQL, graphqlFields}, {&spec.MCP, mcpFields}, {&spec.Credentials, credentialFields}, {&spec.Credentials.Signing, signingFields}} {
		for _, f := range unknownFields(part.pointer, part.fields) {
			ep.unknown = append(ep.unknown, Unknown{At: spec.At, What: keyText(f) + " of an endpoint"})
		}
	}
	switch spec.Protocol {
	case policy.L4, policy.TCP, policy.SQL: // of sql no statement is read
	case policy.REST, policy.WebSocket, policy.GraphQL, policy.JSONRPC, policy.MCP, policy.Git, policy.Package, policy.GRPC:
		ep.inspect = true
		if err := a.lowerRules(ep, spec); err != nil {
			return nil, err
		}
	default:
		ep.unknown = append(ep.unknown, Unknown{At: spec.At, What: "requests under protocol " + string(spec.Protocol), requests: true})
	}
	if spec.Enforcement != policy.Enforce && spec.Enforcement != policy.Audit && spec.Enforcement != policy.AskFirst {
		ep.unknown = append(ep.unknown, Unknown{At: spec.At, What: "enforcement " + spec.Enforcement.String(), requests: true})
	}
	// The print leaves out where the endpoint stands and whom it names: that is
	// what cells of the comparison are made of; and what decides no request, which
	// is compared by itself (keys.go).
	c := *spec
	c.Host, c.Ports, c.Pattern, c.KeyAt = "", nil, netname.Pattern{}, nil
	c.Expires, c.MaxUses, c.Withdrawn = time.Time{}, 0, ep.lapsed
	c.Limits, c.MaxBody, c.ToolPins, c.Models, c.Credentials = nil, 0, nil, false, policy.Credentials{}
	ep.content = destPrint(ep.dest) + "|" + fingerprint(c) + "|" + ep.counts
	if len(ep.unknown) > 0 {
		ep.content += fmt.Sprintf("|version %d", version)
	}
	ep.print = n.who.print + "|" + ep.content
	return ep, nil
}

// countsOf names what a use of an endpoint is counted in.
func countsOf(n *policy.Network, e *policy.Endpoint) string {
	text := ""
	if n.MaxUses > 0 {
		text = fmt.Sprintf("%q %d ", n.Key, n.MaxUses)
	}
	if e.MaxUses > 0 {
		text += fmt.Sprintf("%q %q %v %q %q %d", n.Key, e.Host, sortedPorts(e.Ports), e.Protocol, e.Path, e.MaxUses)
	}
	return text
}

// endsOf are the times at which the grants of an endpoint may end.
func endsOf(n *policy.Network, e *policy.Endpoint) []time.Time {
	var list []time.Time
	for _, t := range []time.Time{n.Expires, e.Expires} {
		if !t.IsZero() {
			list = append(list, t)
		}
	}
	return list
}

// lowerRules lowers what an endpoint says of requests. Which fields of a rule
// count depends on the protocol.
func (a *analysis) lowerRules(ep *endpoint, spec *policy.Endpoint) error {
	sel, err := target.ParseSelector(spec.Path)
	if err != nil {
		return err
	}
	ep.specific = sel.Specificity()
	if g := sel.Globs(); len(g) != 1 || g[0].String() != "**" {
		ep.selector = spec.Path
	}
	for _, list := range [][]policy.RequestRule{spec.Allow, spec.Deny} {
		for _, r := range list {
			for _, f := range unknownFields(&r, ruleFields) {
				ep.unknown = append(ep.unknown, Unknown{At: r.At, What: keyText(f) + " of a rule", requests: true})
			}
		}
	}
	if spec.Protocol != policy.REST {
		if ep.messages, err = a.lowerMessages(spec); err != nil {
			return err
		}
	}
	if spec.Protocol != policy.REST && spec.Protocol != policy.WebSocket {
		return nil
	}
	lowerRule := func(r policy.RequestRule) (rule, bool, error) {
		if r.Method == "" || r.Path == "" {
			return rule{}, false, nil
		}
		out := rule{method: strings.ToUpper(r.Method), path: r.Path}
		for _, q := range r.Query {
			name, err := a.matcher(q.Any)
			if err != nil {
				return rule{}, false, err
			}
			out.query = append(out.query, queryRule{q.Key, name})
		}
		return out, true, nil
	}
	ep.allow = append(ep.allow, presetRules(spec)...)
	for _, list := range []struct {
		from []policy.RequestRule
		to   *[]rule
	}{{spec.Allow, &ep.allow}, {spec.Deny, &ep.deny}} {
		for _, r := range list.from {
			one, ok, err := lowerRule(r)
			if err != nil {
				return err
			}
			if ok {
				*list.to = append(*list.to, one)
			}
		}
	}
	if ep.lapsed {
		ep.allow = nil
	}
	return nil
}

// presetRules: what access stands for (openshell-v1.md §1.5).
func presetRules(spec *policy.Endpoint) []rule {
	var methods []string
	switch spec.Access {
	case "read-only":
		methods = []string{"GET", "HEAD", "OPTIONS"}
		if spec.Protocol == policy.WebSocket {
			methods = []string{"GET"}
		}
	case "read-write":
		methods = []string{"GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
		if spec.Protocol == policy.WebSocket {
			methods = []string{"GET", textMethod}
		}
	case "full":
		methods = []string{"*"}
	}
	rules := make([]rule, len(methods))
	for i, m := range methods {
		rules[i] = rule{method: m, path: "**"}
	}
	return rules
}

func lowerHost(spec *policy.Endpoint) (hostPattern, error) {
	if spec.Host == "" {
		return hostPattern{every: true}, nil
	}
	p := spec.Pattern
	if p.String() == "" {
		var err error
		if p, err = netname.ParsePattern(spec.Host); err != nil {
			return hostPattern{}, err
		}
	}
	if p.Literal() {
		return hostPattern{literal: p.Host()}, nil
	}
	return hostPattern{text: p.String(), pattern: p}, nil
}

func sortedPorts(list []uint16) []uint16 {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func destPrint(d netname.Destination) string {
	text := make([]string, len(d.Allowed))
	for i, p := range d.Allowed {
		text[i] = p.String()
	}
	slices.Sort(text)
	return fmt.Sprintf("%d %s", d.Mode, strings.Join(slices.Compact(text), " "))
}

// matcher registers a query matcher and gives its name: its globs, which are
// what reports show.
func (a *analysis) matcher(globs []string) (string, error) {
	m, err := target.ParseMatcher(globs...)
	if err != nil {
		return "", err
	}
	name := strings.Join(globs, " or ")
	if len(globs) > 1 {
		list := slices.Clone(globs)
		slices.Sort(list)
		name = strings.Join(slices.Compact(list), " or ")
	}
	key := fmt.Sprintf("%q", globs)
	if _, ok := a.matchers[key]; !ok {
		a.matchers[key] = matcher{show: name, m: m}
	}
	return key, nil
}

type matcher struct {
	show string
	m    target.Matcher
}
