package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Miss is one respect in which a rule does not take what was asked.
type Miss struct {
	What  string `json:"what"` // host, port, binary, endpoint path, method, path, query, operation type, operation name, field, tool, repository, ref, package, version, service …
	Found string `json:"found"`
	Want  string `json:"want"`
}

func (m Miss) String() string { return fmt.Sprintf("%s: %s, want %s", m.What, m.Found, m.Want) }

// Sentence is the miss for people, without a final dot.
func (m Miss) Sentence() string {
	switch {
	case m.What == missLayer || m.What == missUses:
		return m.Found + ": the rule grants " + m.Want
	case m.Found == "":
		return m.What + " is unknown, the rule wants " + m.Want
	}
	return m.What + " is " + m.Found + ", the rule wants " + m.Want
}

// What of a Miss that is no part of what was asked.
const (
	missLayer = "layer"
	missUses  = "uses"
)

// Explanation is a decision with what would change it. Its texts quote what
// was asked; whoever shows them on a terminal escapes them.
type Explanation struct {
	Decision
	Connection ConnectDecision `json:"connection"`
	Request    *Decision       `json:"request,omitempty"`
	Nearest    *Rule           `json:"nearest,omitempty"` // of a denial that no rule decided: the rule that misses least
	Misses     []Miss          `json:"misses,omitempty"`  // why Nearest does not match
	Suggestion string          `json:"suggestion,omitempty"`
	Limits     []string        `json:"limits,omitempty"` // that bound what is allowed
	// Addresses are those that the policy gives the host of a connection that is
	// allowed, which nobody is asked for; Refused says why none of them is dialled.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Refused   string       `json:"refused,omitempty"`
	// Model: the rules allow it, and it is a model call, which goes to the
	// inference route that serves it and is denied without one. The Decision is
	// that of a sandbox without a route.
	Model *ModelCall `json:"model,omitempty"`
}

// Explain says which rule decides a connection and, unless r is nil, a request
// on it; for a denial also the nearest rule, and policy lines that would allow
// it. r.Connection is replaced by c. It looks at every rule: it is for people,
// not for the path of a request.
func (e *Engine) Explain(c Connection, r *Request) Explanation {
	x := Explanation{Connection: e.Connect(c)}
	x.Decision = x.Connection.Decision
	if rule := x.Connection.Destination; x.Verdict == Allow && rule.Fixed != nil {
		x.Addresses = rule.Fixed
		if err := rule.Check(c.Host, c.Port, rule.Fixed); err != nil {
			x.Refused = err.Error()
		}
	}
	if x.Verdict != Allow {
		x.nearestEndpoint(e, c)
	} else if r != nil && x.Connection.Inspect {
		req := *r
		req.Connection = c
		d := e.Request(req)
		x.Request, x.Decision = &d, d
		if d.Verdict != Allow || d.Audited {
			x.nearestRule(e, &req)
		}
	}
	if r != nil && x.Verdict == Allow && x.Connection.Inspect {
		req := *r
		req.Connection = c
		if call, ok := e.Models(&req, false); ok {
			x.Model, x.Decision = &call, Decision{Rule: x.Rule, Reason: ReasonModel}
			return x
		}
	}
	if x.Verdict == Allow {
		path := ""
		if r != nil {
			path = r.Target.Path
		}
		e.Limits(c, path, func(l *Limited) {
			for _, text := range l.Texts() {
				if !slices.Contains(x.Limits, text) {
					x.Limits = append(x.Limits, text)
				}
			}
		})
	}
	if x.Verdict == Allow && !x.Audited {
		return x
	}
	if r != nil {
		req := *r
		req.Connection = c
		x.Suggestion = e.suggestRequest(&req)
	} else {
		x.Suggestion = e.Suggest(c, "", "")
	}
	return x
}

// nearestEndpoint looks for the endpoint that misses a connection least.
func (x *Explanation) nearestEndpoint(e *Engine, c Connection) {
	if e == nil || c.Host.IsZero() {
		return
	}
	best := 0
	for _, n := range e.networks {
		taken := n.takes(&c)
		for _, ep := range n.endpoints {
			score, misses := 0, []Miss(nil)
			switch {
			case ep.spec.Host == "" || ep.pattern.Match(c.Host):
				score += 8
			default:
				if related(c.Host.String(), ep.pattern.String()) {
					score += 4
				}
				misses = append(misses, Miss{"host", c.Host.String(), ep.pattern.String()})
			}
			if slices.Contains(ep.spec.Ports, c.Port) {
				score += 2
			} else {
				misses = append(misses, Miss{"port", fmt.Sprint(c.Port), portList(ep.spec.Ports)})
			}
			if taken {
				score++
			} else {
				misses = append(misses, n.binaryMiss(&c))
			}
			if why := ep.lapsed(&c); why != "" {
				misses = append(misses, ep.lapseMiss(&c))
			}
			// Port and program alone say nothing: a rule for another site is no help.
			if score >= 4 && score > best {
				best = score
				rule := ep.rule
				x.Nearest, x.Misses = &rule, misses
			}
		}
	}
}

func (n *network) binaryMiss(c *Connection) Miss {
	m := Miss{What: "binary", Found: c.Binary}
	if !c.KnownCaller || c.Binary == "" {
		m.Found = "a program that is not known"
	}
	var paths []string
	for _, b := range n.spec.Binaries {
		if b.SHA256 != "" {
			b.Path += " with sha256 " + b.SHA256
		}
		paths = append(paths, b.Path)
	}
	switch {
	case len(paths) == 0:
		m.Want = "nothing: the rule names no program"
	case len(paths) > 4:
		m.Want = fmt.Sprintf("%s or %d others", strings.Join(paths[:4], ", "), len(paths)-4)
	default:
		m.Want = strings.Join(paths, ", ")
	}
	return m
}

// lapseMiss says what ended the grants of an endpoint.
func (ep *endpoint) lapseMiss(c *Connection) Miss {
	l := ep.lapse
	switch {
	case l.withdrawn != "":
		return Miss{missLayer, "a layer below restates this network policy", "only what that layer allows"}
	case !l.expires.IsZero() && (c.Now.IsZero() || !c.Now.Before(l.expires)):
		now := "a time that is not known"
		if !c.Now.IsZero() {
			now = c.Now.Format(time.RFC3339)
		}
		return Miss{"time", now, "before " + l.expires.Format(time.RFC3339)}
	}
	return Miss{missUses, "all of its uses are used up", "nothing more"}
}

// related: the host and the pattern share their last two labels.
func related(host, pattern string) bool {
	tail := func(s string) string {
		i := strings.LastIndexByte(s, '.')
		if i < 0 {
			return s
		}
		return s[strings.LastIndexByte(s[:i], '.')+1:]
	}
	return tail(host) == tail(pattern)
}

// nearestRule looks for the allow rule that misses a request least. A request
// that a deny rule took has no nearest: that rule is in the decision.
func (x *Explanation) nearestRule(e *Engine, r *Request) {
	if x.Rule.Policy != "" && !x.Audited && x.Verdict != Ask {
		return
	}
	g := e.Governing(r.Connection, r.Target.Path)
	if g != nil && g.Protocol != REST {
		x.nearestMessage(e, g, r)
		return
	}
	x.nearestHTTP(e, g, r)
}

// nearestHTTP: by method and path. The endpoint that governs may be nil.
func (x *Explanation) nearestHTTP(e *Engine, governing *Endpoint, r *Request) {
	best := -1
	who := caller{c: &r.Connection}
	e.each(r.Host, r.Port, func(ep *endpoint) {
		if !ep.inspect || !who.matches(ep.net) || governing != nil && ep.spec.Protocol != governing.Protocol {
			return
		}
		base, baseMisses := 0, []Miss(nil)
		if ep.lapsed(&r.Connection) != "" {
			baseMisses = append(baseMisses, ep.lapseMiss(&r.Connection))
		}
		if ep.takesPath(r.Target.Path) && ep.grants(r) {
			base = 8
		} else {
			baseMisses = append(baseMisses, Miss{"endpoint path", r.Target.Path, ep.spec.Path})
		}
		if len(ep.allow) == 0 && base > best {
			best = base
			rule := ep.rule
			x.Nearest, x.Misses = &rule, append(baseMisses, Miss{"method", r.Method, "nothing: the endpoint allows no request"})
		}
		for i := range ep.allow {
			rule := &ep.allow[i]
			if r.Text && rule.method == "GET" || !r.Text && rule.method == MethodText {
				continue // of the other half of a WebSocket
			}
			score, misses := base, slices.Clone(baseMisses)
			if rule.takesPath(r.Target.Path) {
				score += 4
			} else {
				misses = append(misses, Miss{"path", r.Target.Path, rule.spec.Path})
			}
			if rule.takesMethod(r.Method) {
				score += 2
			} else {
				misses = append(misses, Miss{"method", r.Method, wantMethod(ep, rule)})
			}
			if rule.takesQuery(&r.Target, false) {
				score++
			} else {
				misses = append(misses, rule.queryMisses(r)...)
			}
			if score > best {
				best = score
				near := rule.rule
				x.Nearest, x.Misses = &near, misses
			}
		}
	})
}

// wantMethod names all methods of a preset, because its rules stand on one line.
func wantMethod(ep *endpoint, rule *requestRule) string {
	if rule.spec.At != ep.spec.At || ep.spec.Access == "" {
		return rule.method
	}
	var methods []string
	for i := range ep.allow {
		methods = append(methods, ep.allow[i].method)
	}
	return strings.Join(methods, ", ") + " (access: " + ep.spec.Access + ")"
}

// queryMisses names keys, never values: a query may hold secrets.
func (rule *requestRule) queryMisses(r *Request) []Miss {
	var misses []Miss
	for _, q := range rule.spec.Query {
		values, matcher := r.Target.Query[q.Key], rule.query.Get(q.Key)
		m := Miss{What: "query", Want: q.Key + " = " + strings.Join(q.Any, " or ")}
		switch {
		case len(values) == 0:
			m.Found = q.Key + " is absent"
		case slices.ContainsFunc(values, func(v string) bool { return !matcher.Match(v) }):
			m.Found = q.Key + " has another value"
		default:
			continue
		}
		misses = append(misses, m)
	}
	return misses
}
