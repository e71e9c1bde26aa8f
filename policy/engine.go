package policy

import (
	"net/netip"
	"strings"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/target"
)

// Engine is a compiled policy. The zero Engine denies everything.
//
// Connect and Request allocate nothing where at most few endpoints take a
// connection: literal hosts are found by hash, wildcards by hash of the text
// behind their last star.
type Engine struct {
	version  int
	asks     bool                 // unmatched: ask of the document
	limited  bool                 // there are limits anywhere
	limits   *Limited             // of the document
	layers   []opening            // of a policy in layers, the top one first
	networks []*network           // sorted by key; network.order is the index
	literal  map[spot][]*endpoint // by the whole name
	address  map[netip.AddrPort][]*endpoint
	wild     map[spot][]*endpoint // by what is behind the last star
	depths   uint64               // of the names in wild, see depth
	hostless map[uint16][]*endpoint

	fixed map[netname.Host][]netip.Addr // hosts that are not looked up

	unclaimed []string // hosts that the document takes off the list of model hosts
}

// spot is a name, or the end of one, and a port.
type spot struct {
	name string
	port uint16
}

type network struct {
	spec      *Network
	order     int
	any       bool
	ancestors bool
	exact     map[string]struct{}
	globs     []glob.Glob
	digests   map[string]*network // programs that are named with their content, by its SHA-256: exact and globs alone
	endpoints []*endpoint
	limits    *Limited
	rule      Rule
	reason    string
}

type endpoint struct {
	spec        *Endpoint
	net         *network
	order       int // by the key of the network policy, and in one of them as in the document
	pattern     netname.Pattern
	inspect     bool
	selector    target.Selector
	allow, deny []requestRule // by method and path: of rest and websocket endpoints
	operations  operations    // of graphql endpoints, and websocket ones with GraphQL messages
	calls       calls         // of json-rpc and mcp endpoints
	git         gitRules
	packages    packageRules
	grpc        grpcRules
	destination netname.Destination
	rule        Rule
	lapse       *lapse   // nil: the grants never end
	limits      *Limited // nil: none of its own
}

// cited is what a decision says about the entry that made it.
type cited struct {
	spec   RequestRule
	rule   Rule
	reason string
	audit  string // the reason of a denial when enforcement is audit
}

type requestRule struct {
	cited
	method string // upper case, or "*"
	every  bool   // every path
	path   glob.Glob
	query  target.Matchers
}

// Reasons of denials that no rule decided. They hold no foreign text.
const (
	reasonNoHost     = "the connection has no valid host"
	reasonNoNetwork  = "the policy allows no connections at all"
	reasonNoEndpoint = "no network policy names this host and port"
	reasonNoBinary   = "the network policies for this host and port do not name the calling program"
	reasonNoCaller   = "the calling program is not known, and the network policies for this host and port name programs"
	reasonSynthetic  = "the address stands for a name, and for none that is known"
	reasonNoTarget   = "the request has no canonical method and path"
	reasonNoPath     = "no endpoint of the network policies takes this path"
	reasonNoRule     = "no rule of the network policies allows this method and path"
	reasonEnded      = "what the network policy allowed here has ended"
	reasonAsked      = "; unmatched is ask"
	reasonAskFirst   = "; enforcement is ask"
	reasonSeveral    = "several rules with max_uses would allow parts of this request; send them one by one"
	reasonTextMethod = "WEBSOCKET_TEXT is no method of HTTP"
	reasonAudit      = "no rule allows this method and path; enforcement is audit, so it is forwarded"
)

const (
	// How a canonical path holds a slash that is no separator.
	encodedSlash       = "%2F"
	reasonBare         = "the endpoint's path takes what is below it, and not this path itself"
	reasonEncodedSlash = "the path has an encoded slash, and the endpoint does not permit one (allow_encoded_slash)"
)

// each calls f for every endpoint that names the host and port.
func (e *Engine) each(host netname.Host, port uint16, f func(*endpoint)) {
	if host.IsAddr() {
		for _, ep := range e.address[netip.AddrPortFrom(host.Addr(), port)] {
			f(ep)
		}
	} else {
		for _, ep := range e.literal[spot{host.String(), port}] {
			f(ep)
		}
		// Behind every dot of the name a pattern's literal part may begin; ""
		// is the part of a pattern that ends in a star.
		name := host.String()
		for n := labels(name); e.depths != 0; n-- {
			if e.depths&depth(n) != 0 {
				for _, ep := range e.wild[spot{name, port}] {
					if ep.pattern.Match(host) {
						f(ep)
					}
				}
			}
			if n == 0 {
				break
			}
			_, name, _ = strings.Cut(name, ".")
		}
	}
	if len(e.hostless) > 0 {
		for _, ep := range e.hostless[port] {
			f(ep)
		}
	}
}

func labels(name string) int {
	if name == "" {
		return 0
	}
	return strings.Count(name, ".") + 1
}

// depth is the bit of a number of labels. Most of them no pattern has, which
// saves a look-up.
func depth(labels int) uint64 { return 1 << min(labels, 63) }

// few is for how many endpoints there is room on the stack.
const few = 16

// reach appends the endpoints that name the host and port of a connection and
// whose network policies take its caller. named: some do the former; asks: all of
// those ask about other callers.
func (e *Engine) reach(list []*endpoint, c *Connection) (_ []*endpoint, named, asks bool) {
	who := caller{c: c}
	asks = true
	e.each(c.Host, c.Port, func(ep *endpoint) {
		named, asks = true, asks && ep.spec.Unmatched == Ask
		if who.matches(ep.net) {
			list = append(list, ep)
		}
	})
	return list, named, asks
}

// caller caches the answer for one network: endpoints of one come in a row.
type caller struct {
	c    *Connection
	last *network
	ok   bool
}

func (m *caller) matches(n *network) bool {
	if m.last != n {
		m.last, m.ok = n, n.takes(m.c)
	}
	return m.ok
}

func (n *network) takes(c *Connection) bool {
	switch {
	case n.any:
		return true
	case !c.KnownCaller || c.Binary == "":
		return false
	case n.takesPath(c.Binary):
		return true
	}
	if len(n.digests) > 0 && c.SHA256 != "" {
		if of := n.digests[c.SHA256]; of != nil && of.takesPath(c.Binary) {
			return true
		}
	}
	if n.ancestors { // nobody took their digests
		for _, a := range c.Ancestors {
			if n.takesPath(a) {
				return true
			}
		}
	}
	return false
}

func (n *network) takesPath(path string) bool {
	if _, ok := n.exact[path]; ok {
		return true
	}
	if len(n.globs) == 0 || !cleanAbsolute(path) {
		return false
	}
	for _, g := range n.globs {
		if g.Match(path) {
			return true
		}
	}
	return false
}

// cleanAbsolute: a path with "." or ".." is not the one the kernel reports,
// and a glob would judge it by the wrong folder.
func cleanAbsolute(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	for i := 0; i < len(p); i++ {
		if p[i] != '/' || i+1 == len(p) {
			continue
		}
		rest := p[i+1:]
		if rest[0] == '/' || rest == "." || rest == ".." || strings.HasPrefix(rest, "./") || strings.HasPrefix(rest, "../") {
			return false
		}
	}
	return true
}

// Connect judges a connection. It never returns Reroute: model hosts are
// claimed by the inference route before the engine is asked.
func (e *Engine) Connect(c Connection) ConnectDecision {
	var room [few]*endpoint
	d, _ := e.connect(&c, room[:0])
	return d
}

// connect also gives what is reached, appended to list.
func (e *Engine) connect(c *Connection, list []*endpoint) (ConnectDecision, []*endpoint) {
	deny := func(reason string) (ConnectDecision, []*endpoint) {
		return ConnectDecision{Decision: Decision{Reason: reason}}, nil
	}
	switch {
	case c.Host.IsZero() || c.Port == 0:
		return deny(reasonNoHost)
	case e == nil || len(e.networks) == 0 && !e.asks:
		return deny(reasonNoNetwork)
	case c.Host.IsAddr() && netname.Synthetic(c.Host.Addr()):
		return deny(reasonSynthetic)
	}
	list, named, asks := e.reach(list, c)
	if !named {
		asks = e.asks
	}
	var (
		at       *endpoint
		ended    *endpoint
		why      string
		d        ConnectDecision
		skipping = true
	)
	for _, ep := range list {
		d.Inspect = d.Inspect || ep.inspect
		skipping = skipping && ep.spec.TLS == TLSSkip
		if reason := ep.lapsed(c); reason != "" {
			// What a layer took back says less than what was still meant.
			if ended == nil || ended.spec.Withdrawn && !ep.spec.Withdrawn ||
				ended.spec.Withdrawn == ep.spec.Withdrawn && ep.before(ended) {
				ended, why = ep, reason
			}
			continue
		}
		if until := ep.until(); !until.IsZero() && (d.Until.IsZero() || until.Before(d.Until)) {
			d.Until = until
		}
		if ep.before(at) {
			at = ep
		}
		d.AllowEncodedSlash = d.AllowEncodedSlash || ep.inspect && ep.spec.AllowEncodedSlash
		if destinationRank(ep.destination) > destinationRank(d.Destination) {
			d.Destination = ep.destination
		}
	}
	switch {
	case at != nil:
	case asks && !neverDialled(c.Host):
		return e.askConnect(c, named, ended), nil
	case ended != nil:
		return ConnectDecision{Decision: Decision{Rule: ended.rule, Reason: why}}, nil
	case !named:
		return deny(reasonNoEndpoint)
	case !c.KnownCaller || c.Binary == "":
		return deny(reasonNoCaller)
	default:
		return deny(reasonNoBinary)
	}
	d.Verdict, d.Reason, d.Rule = Allow, at.net.reason, at.rule
	if len(e.fixed) > 0 {
		d.Destination.Fixed = e.fixed[c.Host]
	}
	d.SkipTLS = skipping && !d.Inspect
	if !d.Inspect { // its requests are counted otherwise
		d.Uses = at.counters()
	}
	return d, list
}

// askConnect is the decision where unmatched is ask.
func (e *Engine) askConnect(c *Connection, hit bool, ended *endpoint) ConnectDecision {
	d := Decision{Verdict: Ask, Reason: reasonNoBinary + reasonAsked}
	switch {
	case !hit:
		d.Reason = reasonNoEndpoint + reasonAsked
	case ended != nil:
		d.Rule, d.Reason = ended.rule, reasonEnded+reasonAsked
	case !c.KnownCaller || c.Binary == "":
		d.Reason = reasonNoCaller + reasonAsked
	}
	return ConnectDecision{Decision: d}
}

// destinationRank orders address rules: what names addresses goes before what
// names a host (openshell-v1.md §2.4). Endpoints that overlap agree on
// allowed_ips, which Parse has checked.
func destinationRank(d netname.Destination) int {
	switch d.Mode {
	case netname.AllowedIPs:
		return 3
	case netname.LiteralIP:
		return 2
	case netname.DeclaredHost:
		return 1
	}
	return 0
}

// Request judges one request, or one message, on an inspected connection. On a
// connection that is not inspected the verdict is that of the connection.
//
// Of the endpoints that take the path the most specific governs: its protocol
// says what is judged, and its enforcement what becomes of what no rule allows.
// Allow rules of all endpoints of that protocol are united, but for GraphQL
// operations, which every endpoint has to allow. A deny rule of any endpoint wins.
func (e *Engine) Request(r Request) Decision {
	var room [few]*endpoint
	conn, list := e.connect(&r.Connection, room[:0])
	if conn.Verdict != Allow || !conn.Inspect {
		return conn.Decision
	}
	switch {
	case r.Method == "" && !r.Text, !strings.HasPrefix(r.Target.Path, "/"):
		return Decision{Reason: reasonNoTarget}
	case r.Text:
		r.Method = MethodText
	case strings.EqualFold(r.Method, MethodText):
		return Decision{Reason: reasonTextMethod}
	}
	var (
		selected *endpoint
		j        = judgement{none: reasonNoRule, noneAudit: reasonAudit}
		asks     = true
	)
	for _, ep := range list {
		// Endpoints that judge the connection alone say nothing about requests.
		if !ep.inspect {
			continue
		}
		asks = asks && ep.spec.Unmatched == Ask && ep.spec.Enforcement == AskFirst
		if !ep.takesPath(r.Target.Path) {
			continue
		}
		if ep.governs(selected, &r.Connection) {
			selected = ep
		}
		if ep.before(j.denyAt) {
			if rule := firstMatch(ep.deny, &r, true); rule != nil {
				j.denies(&rule.cited, ep)
			}
		}
		if ep.spec.Protocol == REST && ep.before(j.partAt) && ep.grants(&r) {
			if rule := firstMatch(ep.allow, &r, false); rule != nil {
				j.offers(&rule.cited, ep, &r)
			}
		}
	}
	switch {
	case selected == nil && asks:
		return Decision{Verdict: Ask, Reason: reasonNoPath + reasonAsked}
	case selected == nil:
		return Decision{Reason: reasonNoPath}
	case !selected.spec.AllowEncodedSlash && strings.Contains(r.Target.Path, encodedSlash):
		// The connection let it through because another endpoint permits it.
		return Decision{Rule: selected.rule, Reason: reasonEncodedSlash}
	case selected.spec.Protocol == REST && r.Text:
		j.hard = reasonNoSocket
	case selected.spec.Protocol == REST:
		j.settle()
	default:
		j.part, j.partAt = nil, nil
		j.ended, j.endedRule = "", Rule{}
		e.judgeMessage(selected, &r, &j)
	}
	if j.allow == nil && j.ended == "" && !selected.grants(&r) {
		j.none = reasonBare
	}
	return j.decide(selected, &r.Connection)
}

// judgement is what the rules say about one request. A request is judged in
// parts: a call of a batch, an operation, a ref of a push, or all of it. Of the
// rules that allow a part the first one that has not ended is used.
type judgement struct {
	allow, deny     *cited
	allowAt, denyAt *endpoint
	hard            string // reason of a denial that enforcement: audit does not lift
	none, noneAudit string // the reasons when neither allows nor denies

	part   *cited // what allows the part that is judged now
	partAt *endpoint

	uses      *Counters // of what allows the parts
	several   bool      // not the same of all
	ended     string    // why a rule that would allow it does not
	endedRule Rule
}

// offers notes an allow entry for the part that is judged now.
func (j *judgement) offers(c *cited, ep *endpoint, r *Request) {
	if why := ep.lapsed(&r.Connection); why != "" {
		if j.ended == "" || !ep.spec.Withdrawn {
			j.ended, j.endedRule = why, c.rule
		}
		return
	}
	if ep.before(j.partAt) {
		j.part, j.partAt = c, ep
	}
}

// settle ends a part, and reports whether it is allowed.
func (j *judgement) settle() bool {
	c, at := j.part, j.partAt
	if c == nil {
		return false
	}
	j.part, j.partAt = nil, nil
	if at.before(j.allowAt) {
		j.allow, j.allowAt = c, at
	}
	if u := at.counters(); u != nil && !u.same(j.uses) {
		j.several, j.uses = j.several || j.uses != nil, u
	}
	return true
}

func (j *judgement) denies(c *cited, ep *endpoint) {
	if ep.before(j.denyAt) {
		j.deny, j.denyAt = c, ep
	}
}

// before: of the two, the endpoint is the one that decisions name.
func (ep *endpoint) before(other *endpoint) bool { return other == nil || ep.order < other.order }

func (j *judgement) decide(selected *endpoint, conn *Connection) Decision {
	var d Decision
	switch {
	case j.hard != "":
		return Decision{Rule: selected.rule, Reason: j.hard}
	case j.deny != nil:
		d = Decision{Rule: j.deny.rule, Reason: j.deny.reason}
	case j.allow != nil && j.several:
		return Decision{Rule: j.allow.rule, Reason: reasonSeveral}
	case j.allow != nil:
		return Decision{Verdict: Allow, Rule: j.allow.rule, Reason: j.allow.reason, Uses: j.uses}
	case j.ended != "":
		d = Decision{Rule: j.endedRule, Reason: j.ended}
	default:
		d = Decision{Reason: j.none}
	}
	switch selected.leniency(conn) {
	case asksFirst:
		if j.deny != nil {
			break
		}
		d.Verdict = Ask
		if j.ended == "" {
			d.Reason = j.none + reasonAskFirst
		}
	case audits:
		d.Verdict, d.Audited, d.Uses = Allow, true, selected.counters()
		if j.deny != nil {
			d.Reason = j.deny.audit
		} else {
			d.Rule, d.Reason = selected.rule, j.noneAudit
		}
	}
	return d
}

// Governing is the endpoint that governs requests to a path of an inspected
// connection: it says how they are to be read. Nil: there is none, and every
// such request is denied. The endpoint must not be changed.
func (e *Engine) Governing(c Connection, path string) *Endpoint {
	if conn := e.Connect(c); conn.Verdict != Allow || !conn.Inspect {
		return nil
	}
	who := caller{c: &c}
	var selected *endpoint
	e.each(c.Host, c.Port, func(ep *endpoint) {
		if ep.inspect && who.matches(ep.net) && ep.takesPath(path) && ep.governs(selected, &c) {
			selected = ep
		}
	})
	if selected == nil {
		return nil
	}
	return selected.spec
}

// governs chooses the endpoint that says how a request is read and what becomes
// of it: the most specific selector, of equals the strictest, then one that
// permits no encoded slash, and then the one that decisions name. One that ended
// governs still: what it read in its way would else be allowed in another's.
func (ep *endpoint) governs(other *endpoint, c *Connection) bool {
	if other == nil {
		return true
	}
	if a, b := ep.selector.Specificity(), other.selector.Specificity(); a != b {
		return a > b
	}
	if a, b := ep.leniency(c), other.leniency(c); a != b {
		return a < b
	}
	if a, b := ep.spec.AllowEncodedSlash, other.spec.AllowEncodedSlash; a != b {
		return b
	}
	return ep.before(other)
}

// leniency orders what becomes of what no rule allows, the strictest first. To
// forward it is a grant: it ends as others do, and counts no more against one
// that has not ended.
type leniency uint8

const (
	refuses leniency = iota
	asksFirst
	audits
	audited // till it ended; refuses now
)

func (ep *endpoint) leniency(c *Connection) leniency {
	switch ep.spec.Enforcement {
	case Enforce:
		return refuses
	case AskFirst:
		return asksFirst
	case Audit:
		if ep.lapsed(c) == "" {
			return audits
		}
	}
	return audited
}

func (ep *endpoint) takesPath(path string) bool { return ep.selector.Match(path) }

// grants: the allow rules of the endpoint count for the request's path.
func (ep *endpoint) grants(r *Request) bool { return ep.selector.Grants(r.Target.Path) }

func firstMatch(rules []requestRule, r *Request, deny bool) *requestRule {
	for i := range rules {
		if rules[i].takes(r, deny) {
			return &rules[i]
		}
	}
	return nil
}

func (rule *requestRule) takes(r *Request, deny bool) bool {
	return rule.takesMethod(r.Method) && rule.takesPath(r.Target.Path) && rule.takesQuery(&r.Target, deny)
}

// takesMethod: HEAD also matches what is written for GET, in allow and deny.
func (rule *requestRule) takesMethod(method string) bool {
	return rule.method == "*" || strings.EqualFold(rule.method, method) || rule.method == "GET" && strings.EqualFold(method, "HEAD")
}

func (rule *requestRule) takesPath(path string) bool { return rule.every || rule.path.Match(path) }

// takesQuery: an allow rule wants every value of its keys to match, a deny
// rule fires at the first that does; both want all keys to be present.
func (rule *requestRule) takesQuery(t *target.Target, deny bool) bool {
	if deny {
		return rule.query.Denies(t.Query)
	}
	return rule.query.Allows(t.Query)
}
