package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/target"
)

// Option changes how a document is compiled.
type Option func(*options)

type options struct{ resolve func(string) string }

// ResolveBinaries adds, for every binary written as a plain path, the path
// that it resolves to inside the sandbox (symbolic links followed), because a
// caller is known by the file that was executed. f returns "" for what it
// cannot resolve.
func ResolveBinaries(f func(path string) string) Option {
	return func(o *options) { o.resolve = f }
}

// Compile turns a document into an engine. The document is not changed and not
// kept, except for strings and slices that nobody may change.
func Compile(doc *Document, opts ...Option) (*Engine, error) {
	if doc == nil {
		return nil, errors.New("compile policy: no document")
	}
	var o options
	for _, set := range opts {
		set(&o)
	}
	e := &Engine{
		version:  doc.Version,
		asks:     doc.Unmatched == Ask,
		networks: make([]*network, 0, len(doc.Networks)),
		literal:  make(map[spot][]*endpoint),
		address:  make(map[netip.AddrPort][]*endpoint),
		wild:     make(map[spot][]*endpoint),
		hostless: make(map[uint16][]*endpoint),
	}
	if doc.Inference != nil {
		for _, h := range doc.Inference.RemoveHosts {
			e.unclaimed = append(e.unclaimed, strings.ToLower(h))
		}
	}
	var err error
	if e.fixed, err = fixedAddrs(doc.DNS.Hosts); err != nil {
		return nil, fmt.Errorf("compile policy: %w", err)
	}
	if e.layers, err = openings(doc.Files); err != nil {
		return nil, fmt.Errorf("compile policy: %w", err)
	}
	list := slices.Clone(doc.Networks)
	slices.SortFunc(list, func(a, b Network) int { return cmp.Compare(a.Key, b.Key) })
	c := compiler{globs: make(map[string]glob.Glob), version: doc.Version, limits: doc.Limits, resolve: o.resolve}
	e.limits = newLimited(doc.Limits, "", "the policy", Rule{})
	e.limited = e.limits != nil
	order := 0
	for i := range list {
		n, err := c.network(&list[i], i)
		if err != nil {
			return nil, fmt.Errorf("compile policy: %s: %w", list[i].Key, err)
		}
		e.networks = append(e.networks, n)
		for _, ep := range n.endpoints {
			ep.order, order = order, order+1
			e.index(ep)
			e.limited = e.limited || ep.limits != nil || n.limits != nil
		}
	}
	return e, nil
}

// compiler shares equal globs: most rules of a policy end in the same few.
type compiler struct {
	globs   map[string]glob.Glob
	version int
	limits  *Limits // of the document
	resolve func(string) string
}

// path compiles a glob over paths: of requests or of binaries.
func (c *compiler) path(pattern string) (glob.Glob, error) {
	if g, ok := c.globs[pattern]; ok {
		return g, nil
	}
	g, err := glob.Compile(pattern, '/')
	if err != nil {
		return glob.Glob{}, err
	}
	c.globs[pattern] = g
	return g, nil
}

func (c *compiler) network(spec *Network, order int) (*network, error) {
	n := &network{
		spec: spec, order: order, any: spec.AnyBinary,
		// A descendant of an allowed program inherits its grants in version 1
		// alone; version 2 names every caller.
		ancestors: c.version == 1 || spec.Ancestors,
		rule:      Rule{Policy: spec.Key, At: spec.At},
		reason:    "network policy " + show(spec.Key) + " allows the connection",
	}
	n.limits = newLimited(spec.Limits, spec.Key, "network policy "+show(spec.Key), n.rule)
	for _, b := range spec.Binaries {
		n := n
		if b.SHA256 != "" {
			n = n.withDigest(b.SHA256)
		}
		if strings.Contains(b.Path, "*") {
			g, err := c.path(b.Path)
			if err != nil {
				return nil, fmt.Errorf("binary %s: %w", show(b.Path), err)
			}
			n.globs = append(n.globs, g)
			continue
		}
		n.addExact(b.Path)
		if c.resolve != nil {
			if p := c.resolve(b.Path); p != "" {
				n.addExact(p)
			}
		}
	}
	for i := range spec.Endpoints {
		ep, err := c.endpoint(&spec.Endpoints[i], n)
		if err != nil {
			return nil, fmt.Errorf("endpoints[%d]: %w", i, err)
		}
		n.endpoints = append(n.endpoints, ep)
	}
	return n, nil
}

// withDigest is where the programs of one content are kept.
func (n *network) withDigest(sum string) *network {
	if n.digests == nil {
		n.digests = make(map[string]*network)
	}
	if n.digests[sum] == nil {
		n.digests[sum] = &network{}
	}
	return n.digests[sum]
}

// Wants says what of a caller any rule looks at, beside its program, whose path is given.
func (e *Engine) Wants(binary string) (ancestors, digest bool) {
	for _, n := range e.networks {
		ancestors = ancestors || n.ancestors && !n.any
		for _, of := range n.digests {
			digest = digest || of.takesPath(binary)
		}
	}
	return ancestors, digest
}

func (n *network) addExact(path string) {
	if path == "" {
		return // the zero Binary of a caller that could not be told
	}
	if n.exact == nil {
		n.exact = make(map[string]struct{})
	}
	n.exact[path] = struct{}{}
}

// destinationOf is what an endpoint says of addresses.
func destinationOf(version int, spec *Endpoint, pattern netname.Pattern) netname.Destination {
	switch {
	case len(spec.AllowedIPs) > 0:
		return netname.Destination{Mode: netname.AllowedIPs, Allowed: spec.AllowedIPs}
	case pattern.Literal() && pattern.Host().IsAddr():
		return netname.Destination{Mode: netname.LiteralIP}
	case pattern.Literal() && (version == 1 || spec.InternalAddresses):
		return netname.Destination{Mode: netname.DeclaredHost}
	}
	return netname.Destination{}
}

func (c *compiler) endpoint(spec *Endpoint, n *network) (*endpoint, error) {
	ep := &endpoint{spec: spec, net: n, pattern: spec.Pattern, inspect: spec.Protocol.Inspected(), rule: Rule{Policy: n.spec.Key, At: spec.At}, lapse: newLapse(n.spec, spec)}
	ep.limits = newLimited(c.opaqueLimits(spec, n), ruleKey(n.spec, spec), "the endpoint "+endpointText(spec)+" of network policy "+show(n.spec.Key), ep.rule)
	switch {
	case len(spec.Ports) == 0 || slices.Contains(spec.Ports, 0):
		return nil, errors.New("no port")
	case spec.Host == "" && len(spec.AllowedIPs) == 0:
		return nil, errors.New("neither host nor allowed_ips")
	case ep.inspect && spec.TLS == TLSSkip:
		return nil, errors.New("tls: skip on an inspected endpoint")
	case !spec.Protocol.known():
		return nil, fmt.Errorf("protocol %s is not known", show(string(spec.Protocol)))
	}
	if spec.Host != "" && ep.pattern.String() == "" {
		p, err := netname.ParsePattern(spec.Host)
		if err != nil {
			return nil, err
		}
		ep.pattern = p
	}
	ep.destination = destinationOf(c.version, spec, ep.pattern)
	if !ep.inspect {
		return ep, nil
	}
	var err error
	if ep.selector, err = target.ParseSelector(spec.Path); err != nil {
		return nil, err
	}
	allow := append(preset(spec), spec.Allow...)
	switch spec.Protocol {
	case JSONRPC, MCP:
		if ep.calls, err = c.calls(allow, ep); err != nil {
			return nil, err
		}
		return ep, nil
	case GraphQL, WebSocket:
		if ep.operations, err = c.operations(allow, ep); err != nil {
			return nil, err
		}
	case Git:
		ep.git, err = c.git(ep)
		return ep, err
	case Package:
		ep.packages, err = c.packages(ep)
		return ep, err
	case GRPC:
		ep.grpc, err = c.grpc(ep)
		return ep, err
	case REST, L4, TCP, SQL:
	}
	if spec.Protocol == GraphQL {
		return ep, nil
	}
	if ep.allow, err = c.rules(allow, ep, "allows"); err != nil {
		return nil, err
	}
	if ep.deny, err = c.rules(spec.Deny, ep, "denies"); err != nil {
		return nil, err
	}
	return ep, nil
}

// preset expands access to rules (openshell-v1.md §1.5).
func preset(spec *Endpoint) []RequestRule {
	var words []string
	switch spec.Access + " " + string(spec.Protocol) {
	case "read-only graphql":
		words = []string{"query"}
	case "read-write graphql":
		words = []string{"query", "mutation"} // never subscription
	case "read-only websocket":
		words = []string{"GET"}
	case "read-write websocket":
		words = []string{"GET", MethodText}
	case "read-only rest":
		words = []string{"GET", "HEAD", "OPTIONS"}
	case "read-write rest":
		words = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"} // never DELETE
	case "full graphql", "full websocket", "full rest":
		words = []string{"*"}
	}
	rules := make([]RequestRule, len(words))
	for i, w := range words {
		rules[i] = RequestRule{Method: w, Path: "**", At: spec.At}
		if spec.Protocol == GraphQL {
			rules[i] = RequestRule{OperationType: w, At: spec.At}
		}
	}
	return rules
}

// cite words what a decision says that a rule made.
func cite(s RequestRule, ep *endpoint, verb, text string) cited {
	c := cited{
		spec: s, rule: Rule{Policy: ep.net.spec.Key, At: s.At},
		reason: "network policy " + show(ep.net.spec.Key) + " " + verb + " " + text,
	}
	c.audit = c.reason + "; enforcement is audit, so it is forwarded"
	return c
}

func (c *compiler) rules(specs []RequestRule, ep *endpoint, verb string) ([]requestRule, error) {
	var list []requestRule
	for _, s := range specs {
		if s.Method == "" || s.Path == "" {
			continue // version 1: matches nothing, and was warned about
		}
		r := requestRule{
			cited:  cite(s, ep, verb, ruleText(s)),
			method: strings.ToUpper(s.Method), every: s.Path == "**",
		}
		if !r.every {
			g, err := c.path(s.Path)
			if err != nil {
				return nil, fmt.Errorf("path %s: %w", show(s.Path), err)
			}
			r.path = g
		}
		byKey := make(map[string]target.Matcher, len(s.Query))
		for _, q := range s.Query {
			m, err := target.ParseMatcher(q.Any...)
			if err != nil {
				return nil, fmt.Errorf("query %s: %w", show(q.Key), err)
			}
			if _, dup := byKey[q.Key]; dup {
				return nil, fmt.Errorf("query %s: named twice", show(q.Key))
			}
			byKey[q.Key] = m
		}
		r.query = target.NewMatchers(byKey)
		list = append(list, r)
	}
	return list, nil
}

func (e *Engine) index(ep *endpoint) {
	ports := slices.Clone(ep.spec.Ports)
	slices.Sort(ports)
	for _, port := range slices.Compact(ports) {
		switch {
		case ep.spec.Host == "":
			e.hostless[port] = append(e.hostless[port], ep)
		case ep.pattern.Literal() && ep.pattern.Host().IsAddr():
			k := netip.AddrPortFrom(ep.pattern.Host().Addr(), port)
			e.address[k] = append(e.address[k], ep)
		case ep.pattern.Literal():
			k := spot{ep.pattern.Host().String(), port}
			e.literal[k] = append(e.literal[k], ep)
		default:
			k := spot{literalSuffix(ep.pattern.String()), port}
			e.depths |= depth(labels(k.name))
			e.wild[k] = append(e.wild[k], ep)
		}
	}
}
