package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/target"
)

// reservedPrefix marks the keys of rules that provider profiles bring along.
const reservedPrefix = "_provider_"

func (d *decoder) networks(v value) []Network {
	var list []Network
	if v.n.Kind == yaml.SequenceNode {
		d.fault(v, WrongType, describe(v.n), "a mapping (of network rules)", "give each rule a name: NAME: {endpoints: [{host: a.test, port: 443}], binaries: [/usr/bin/curl]}")
		return nil
	}
	d.mapping(v, "of network rules", func(key *yaml.Node, val value) {
		k := value{key, val.path}
		switch {
		case strings.TrimSpace(key.Value) == "":
			d.fault(k, Missing, "", "a name for the rule", "")
		case strings.HasPrefix(key.Value, reservedPrefix):
			d.fault(k, Reserved, show(key.Value), "another name", "keys that begin with "+reservedPrefix+" belong to provider profiles")
		case len(key.Value) > maxText:
			d.fault(k, TooMuch, "a long name", "a shorter one", "")
		}
		list = append(list, d.network(k, val))
	})
	return list
}

func (d *decoder) network(key, v value) Network {
	n := Network{Key: key.n.Value, Name: key.n.Value, At: d.at(key.n)}
	s, ok := d.section(v, "a network rule", networkWords)
	if !ok {
		return n
	}
	if name, ok := s.get("name"); ok {
		if text, ok := d.text(name, "a text"); ok && text != "" {
			n.Name = text
		}
	}
	n.Ancestors = d.ancestors(s)
	n.Expires, n.MaxUses = d.expires(s), d.maxUses(s)
	above := d.unmatched
	d.unmatched = d.unmatchedWord(s, above)
	defer func() { d.unmatched = above }()
	l, listed := s.get("endpoints")
	switch {
	case listed && !isNull(l.n) && l.n.Kind != yaml.SequenceNode:
		d.fault(l, WrongType, describe(l.n), "a list of endpoints", "write "+endpointExample)
	case listed:
		d.list(l, "endpoints", func(_ int, item value) {
			n.Endpoints = append(n.Endpoints, d.endpoint(item))
		})
	}
	d.networkLimits(s, &n)
	if len(n.Endpoints) == 0 && (!listed || isNull(l.n) || len(l.n.Content) == 0 && l.n.Kind == yaml.SequenceNode) {
		d.warn(key, NoOperation, "the rule has no endpoints, so it allows nothing", "")
	}
	l, written := s.get("binaries")
	switch {
	case !written && d.version >= 2:
		d.fault(value{key.n, key.path + ".binaries"}, Missing, "", "the programs that may use this rule",
			"list them (binaries: [{path: /usr/bin/curl}]), or write binaries: any")
	case written && l.n.Kind == yaml.ScalarNode && l.n.Value == "any" && d.version >= 2:
		n.AnyBinary = true
	case written && !isNull(l.n) && l.n.Kind != yaml.SequenceNode:
		d.fault(l, WrongType, describe(l.n), "a list of programs", d.binariesHint(l))
		return n
	case written:
		d.list(l, "binaries", func(_ int, item value) {
			if b, ok := d.binary(item); ok {
				n.Binaries = append(n.Binaries, b)
			}
		})
		if len(n.Binaries) == 0 && d.version >= 2 && (isNull(l.n) || l.n.Kind == yaml.SequenceNode && len(l.n.Content) == 0) {
			d.fault(l, Missing, "", "at least one program", "an empty list matches no program; write binaries: any for all of them")
		}
	}
	if len(n.Binaries) == 0 && d.version == 1 && (!written || isNull(l.n) || len(l.n.Content) == 0) {
		d.warn(key, NeverFires, "the rule names no binaries, so it matches NO program and allows nothing",
			"list the programs: binaries: [{path: /usr/bin/curl}]")
	}
	return n
}

// binariesHint says how to write what stands behind binaries and is no list.
func (d *decoder) binariesHint(v value) string {
	switch text := v.n.Value; {
	case v.n.Kind == yaml.MappingNode:
		return "write [ … ] around it: binaries: [{path: /usr/bin/curl}]"
	case v.n.Kind != yaml.ScalarNode:
	case everyProgram(text) && d.version >= 2:
		return "write binaries: any"
	case everyProgram(text):
		return "the word any belongs to version: 2"
	case strings.HasPrefix(text, "/"):
		return "write " + d.binaryList(text)
	}
	return "write the absolute paths: " + d.binaryList("/usr/bin/curl")
}

// everyProgram: a word that somebody may take for the word any.
func everyProgram(text string) bool {
	return text == "*" || strings.EqualFold(text, "any") || strings.EqualFold(text, "all")
}

// binaryList is a list of one program as the version writes it. A path that could
// hold a secret is not repeated.
func (d *decoder) binaryList(path string) string {
	if looksSecret(path) || len(path) > maxShown {
		path = "/usr/bin/curl"
	}
	if strings.ContainsAny(path, " ,[]{}#:*&!|>'\"%@`\\") {
		path = strconv.Quote(path)
	}
	if d.version < 2 {
		return "binaries: [{path: " + path + "}]"
	}
	return "binaries: [" + path + "]"
}

func (d *decoder) binary(v value) (Binary, bool) {
	b := Binary{At: d.at(v.n)}
	p, sum := v, value{}
	if d.version < 2 && v.n.Kind == yaml.ScalarNode && !isNull(v.n) {
		d.fault(v, WrongType, describe(v.n), "a mapping with the path of a program", d.binariesHint(v))
		return b, false
	}
	if d.version < 2 || v.n.Kind == yaml.MappingNode {
		s, ok := d.section(v, "a binary", binaryWords)
		if !ok {
			return b, false
		}
		if h, ok := s.get("harness"); ok {
			d.boolean(h)
			d.warn(h, Deprecated, "harness has no effect", "remove it")
		}
		sum, _ = s.get("sha256")
		if p, ok = s.get("path"); !ok {
			d.fault(value{v.n, v.path + ".path"}, Missing, "", "the path of a program", "")
			return b, false
		}
	}
	text, ok := d.text(p, "the path of a program")
	if !ok {
		return b, false
	}
	b.Path = text
	if sum.n != nil {
		if b.SHA256, ok = d.digest(sum); !ok {
			return b, false
		}
	}
	problem, hint := binaryProblem(text)
	if d.version >= 2 && everyProgram(text) {
		hint = "write binaries: any, without a list"
	}
	switch {
	case strings.Contains(text, "*") && d.globFault(p, text, '/'):
		return b, false
	case problem == "":
	case d.version >= 2 || text == "":
		d.fault(p, BadValue, show(text)+", "+problem, "an absolute path, or a glob that begins with one", hint)
		return b, false
	default:
		d.warn(p, Weak, show(text)+" "+problem, hint)
	}
	return b, true
}

// digest is a SHA-256 in hexadecimal digits.
func (d *decoder) digest(v value) (string, bool) {
	const want = "64 hexadecimal digits"
	text, ok := d.text(v, want)
	if !ok {
		return "", false
	}
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != sha256.Size {
		d.fault(v, BadValue, show(text), want, "as sha256sum prints it")
		return "", false
	}
	return strings.ToLower(text), true
}

// binaryProblem says what is doubtful about a binary's path or glob.
func binaryProblem(p string) (problem, hint string) {
	switch {
	case p == "":
		return "matches no program", ""
	case strings.HasPrefix(p, "/"):
		if !strings.Contains(p, "*") && strings.ContainsAny(p, "?[{") {
			return "is compared literally: ? [ { are wildcards only next to a *", "write a * where a wildcard is meant"
		}
		return "", ""
	case strings.HasPrefix(p, "*"):
		return "trusts a program of that name in any folder, also one that the agent wrote", "begin with a folder that the agent cannot write to"
	}
	return "matches no program: callers have absolute paths", "write the absolute path, like /usr/bin/curl"
}

// endpointExample is a list of one endpoint.
const endpointExample = "endpoints: [{host: a.test, port: 443}]"

func (d *decoder) endpoint(v value) Endpoint {
	e := Endpoint{At: d.at(v.n)}
	if v.n.Kind == yaml.ScalarNode && !isNull(v.n) {
		d.fault(v, WrongType, describe(v.n), "a mapping (an endpoint)", "write "+endpointExample)
		return e
	}
	s, ok := d.section(v, "an endpoint", endpointWords)
	if !ok {
		return e
	}
	e.Ports = d.ports(v, s)
	later := false
	if p, ok := s.get("protocol"); ok {
		e.Protocol, later = d.protocol(p)
		d.mark(s, &e, "protocol")
	}
	if a, ok := s.get("allowed_ips"); ok {
		d.allowedIPs(a, &e)
	}
	d.host(v, s, &e)
	e.Expires, e.MaxUses, e.Unmatched = d.expires(s), d.maxUses(s), d.unmatchedWord(s, d.unmatched)
	d.internal(s, &e)
	d.models(s, &e)
	d.endpointWays(s, &e)
	d.unmatchedWays(s, &e)
	if later {
		// What the rules mean depends on the protocol; its one fault is enough.
		return e
	}
	if p, ok := s.get("path"); ok {
		d.selector(p, &e)
	}
	d.endpointLimits(s, &e)
	if a, ok := s.get("allow_encoded_slash"); ok {
		e.AllowEncodedSlash = d.boolean(a)
	}
	d.protocolKeys(s, &e)
	d.registryKeys(s, &e)
	d.credentialKeys(s, &e)
	switch e.Protocol {
	case REST:
		d.restRules(v, s, &e)
	case WebSocket:
		d.webSocketRules(v, s, &e)
	case GraphQL:
		d.graphqlRules(v, s, &e)
	case JSONRPC, MCP:
		d.callRules(v, s, &e)
	case SQL:
		d.sqlRules(v, s, &e)
	case Git:
		d.gitRules(v, s, &e)
	case Package:
		d.packageRules(v, s, &e)
	case GRPC:
		d.grpcRules(v, s, &e)
	default:
		d.noRules(s, &e)
	}
	return e
}

func (d *decoder) ports(v value, s section) []uint16 {
	const want = "a port of 1..65535"
	one, hasOne := s.get("port")
	many, hasMany := s.get("ports")
	var ports []uint16
	switch {
	case hasOne && hasMany:
		d.fault(many, Conflict, "port and ports together", "one of them", "write ports: […] with all of them")
	case hasOne:
		if p, ok := d.number(one, 1, 65535, want); ok {
			ports = append(ports, uint16(p))
		}
	case hasMany && many.n.Kind == yaml.ScalarNode && len(many.n.Value) <= 5 && decimal(many.n.Value):
		d.fault(many, WrongType, describe(many.n), "a list of ports", "write port: "+many.n.Value+", or ports: ["+many.n.Value+"]")
	case hasMany:
		n := 0
		d.list(many, "ports", func(_ int, item value) {
			n++
			if p, ok := d.number(item, 1, 65535, want); ok {
				ports = append(ports, uint16(p))
			}
		})
		if n == 0 && (isNull(many.n) || many.n.Kind == yaml.SequenceNode) {
			d.fault(many, Missing, "", "at least one port", "")
		}
	default:
		d.fault(value{v.n, v.path + ".port"}, Missing, "", want, "write port: 443")
	}
	return ports
}

func (d *decoder) protocol(v value) (p Protocol, later bool) {
	want := "rest, websocket, graphql, mcp, json-rpc, sql, tcp, or no protocol at all"
	if d.version >= 2 {
		want = strings.Join(protocolsOf2, ", ") + ", " + want
	}
	text, ok := d.text(v, want)
	if !ok || text == "" {
		return L4, !ok
	}
	folded := strings.ToLower(text)
	if !slices.Contains(protocolWords, folded) || d.version < 2 && slices.Contains(protocolsOf2, folded) {
		hint := didYouMean(text, protocolWords...)
		if slices.Contains(protocolsOf2, folded) {
			hint = "protocol: " + folded + " is of version: 2"
		}
		if strings.HasPrefix(folded, "http") {
			hint = "HTTP requests are judged by protocol: rest"
		}
		d.fault(v, BadValue, show(text), want, hint)
		return L4, true
	}
	if folded != text {
		if d.version >= 2 {
			d.fault(v, BadValue, show(text), want, "did you mean "+folded+"?")
		} else {
			d.warn(v, Weak, show(text)+" is read as "+folded, "write "+folded)
		}
	}
	return Protocol(folded), false
}

func (d *decoder) host(v value, s section, e *Endpoint) {
	at := value{v.n, v.path + ".host"}
	text := ""
	if h, ok := s.get("host"); ok {
		at = h
		if text, ok = d.text(h, "a host name or address"); !ok {
			return
		}
	}
	if at.n.Style == 0 && yaml11Bool(text) {
		d.fault(at, WrongType, show(text)+" without quotes, which older YAML reads as a boolean", "a host name or address", "put it in quotes")
		return
	}
	if strings.TrimSpace(text) == "" {
		if _, ok := s.get("allowed_ips"); !ok || e.Protocol == TCP || e.Protocol == MCP {
			d.fault(at, Missing, "", "a host name, a pattern like *.example.com, or an address", "only allowed_ips without protocol: tcp or mcp can do without a host")
		}
		return
	}
	e.Host = text
	pattern, err := netname.ParsePattern(text)
	if err != nil {
		hint := ""
		switch {
		case strings.Contains(text, "://") || strings.Contains(text, "/"):
			hint = "write the host alone; the port has its own key, and paths belong to rules"
		case strings.Contains(text, ":") && strings.Count(text, ":") == 1:
			hint = "write the port under port:"
		case text == "*" || text == "**":
			hint = "name the hosts; there is no rule for all of them"
		case strings.HasSuffix(text, "."):
			hint = "write the name without the final dot"
		}
		d.fault(at, BadValue, show(text)+" ("+plainError(err)+")", "a host name, a pattern like *.example.com, or an address", hint)
		return
	}
	e.Pattern = pattern
	if !pattern.Literal() {
		return
	}
	h, err := netname.ParseHost(text)
	switch {
	case err != nil:
		d.fault(at, BadValue, show(text)+" ("+plainError(err)+")", "a host name or address", "")
	case h.IsAddr() && e.Protocol == TCP:
		d.fault(at, BadValue, "the address "+show(text), "a DNS name with protocol: tcp", "leave protocol out to judge connections to an address")
	case h.IsAddr() && netname.Synthetic(h.Addr()):
		d.fault(at, Blocked, show(text), "a real address", "addresses in this range stand for names inside a sandbox and are never dialled")
	case neverDialled(h):
		d.fault(at, Blocked, show(text), "another host", "loopback, link-local and metadata services are never dialled from a sandbox")
	}
}

// plainError is the text of an error of a leaf package, without its own quotes
// of the input where that could be a secret.
func plainError(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	// "parse allowed_ips "…": cause": the value is shown by the fault itself.
	text := err.Error()
	var syntax *glob.SyntaxError
	if errors.As(err, &syntax) {
		text = syntax.Reason
	}
	if i := strings.LastIndex(text, "\": "); i >= 0 {
		text = text[i+3:]
	}
	if !looksSecret(text) && len(text) <= 2*maxShown {
		return text
	}
	return "not well formed"
}

// maxAllowed bounds one allowed_ips list: every connection walks it.
const maxAllowed = 256

func (d *decoder) allowedIPs(v value, e *Endpoint) {
	n := 0
	d.list(v, "addresses and CIDR ranges", func(_ int, item value) {
		n++
		text, ok := d.text(item, "an address or CIDR range")
		if !ok {
			return
		}
		if p, err := netip.ParsePrefix(text); err == nil && partOfInternet(p) {
			d.warn(item, NoOperation, "the range holds addresses that are never dialled (multicast, reserved, or standing for names inside a sandbox)", "")
			e.AllowedIPs = append(e.AllowedIPs, p.Masked())
			return
		}
		prefixes, err := netname.ParseAllowed([]string{text})
		if err != nil {
			d.fault(item, BadValue, show(text)+" ("+plainError(err)+")", "an address or CIDR range that may be dialled", "")
			return
		}
		e.AllowedIPs = append(e.AllowedIPs, prefixes...)
	})
	if n > maxAllowed {
		d.fault(v, TooMuch, fmt.Sprintf("%d entries", n), fmt.Sprintf("at most %d", maxAllowed), "name wider ranges")
	}
	if n == 0 && (isNull(v.n) || v.n.Kind == yaml.SequenceNode) {
		d.fault(v, Missing, "", "at least one address or range", "remove allowed_ips to use the usual rules for addresses")
	}
}

// endpointWays decodes tls, enforcement and access.
func (d *decoder) endpointWays(s section, e *Endpoint) {
	if v, ok := s.get("tls"); ok {
		e.TLS, e.TLSWritten = d.tls(v)
	}
	if v, ok := s.get("access"); ok {
		const want = "read-only, read-write or full"
		if text, ok := d.text(v, want); ok {
			switch text {
			case "", "read-only", "read-write", "full":
				e.Access = text
			default:
				d.fault(v, BadValue, show(text), want, didYouMean(text, "read-only", "read-write", "full"))
			}
		}
	}
	if d.version == 1 {
		e.Enforcement = Audit
	}
	if v, ok := s.get("enforcement"); ok {
		want, words := "enforce or audit", []string{"enforce", "audit"}
		if d.version >= 2 {
			want, words = "enforce, audit or ask", append(words, "ask")
		}
		text, ok := d.text(v, want)
		switch {
		case !ok || text == "":
		case text == "enforce":
			e.Enforcement = Enforce
		case text == "audit":
			e.Enforcement = Audit
		case text == "ask" && d.version >= 2:
			e.Enforcement = AskFirst
		default:
			d.fault(v, BadValue, show(text), want, didYouMean(text, words...))
		}
	}
}

func (d *decoder) tls(v value) (mode TLSMode, written bool) {
	const want = "auto or skip"
	text, ok := d.text(v, want)
	switch {
	case !ok || text == "":
		return TLSAuto, false
	case text == "auto":
	case text == "skip":
		mode = TLSSkip
	case text == "terminate" || text == "passthrough":
		d.warn(v, Deprecated, "tls: "+text+" means auto", "remove it; whether TLS is terminated follows from protocol")
	default:
		hint := didYouMean(text, "auto", "skip")
		if text == "none" {
			hint = "remove it for auto (plain text stays plain), or write skip for opaque bytes"
		}
		d.fault(v, BadValue, show(text), want, hint)
	}
	return mode, true
}

func (d *decoder) selector(v value, e *Endpoint) {
	text, ok := d.text(v, "a path")
	if !ok || text == "" {
		return
	}
	if _, err := target.ParseSelector(text); err != nil {
		d.fault(v, BadValue, show(text)+" ("+plainError(err)+")", `a path glob that begins with "/", or "**"`, "")
		return
	}
	e.Path = text
}

// noRules: without an inspected protocol nothing can judge requests, so words
// that ask for it would be promises that nobody keeps.
func (d *decoder) noRules(s section, e *Endpoint) {
	hint := "write protocol: rest to judge requests, or remove it"
	what := "an endpoint without protocol, which judges the connection alone"
	if e.Protocol == TCP {
		what = "protocol: tcp, which judges the connection alone"
	}
	for _, key := range []string{"rules", "deny_rules", "path"} {
		if v, ok := s.get(key); ok && !(isNull(v.n) || v.n.Kind == yaml.ScalarNode && v.n.Value == "") {
			d.fault(v, Conflict, key+" on "+what, "", hint)
		}
	}
	if v, ok := s.get("access"); ok && e.Access != "" {
		switch {
		case e.Protocol == TCP || e.Access != "full":
			d.fault(v, Conflict, "access: "+e.Access+" on "+what, "", hint)
		case d.version >= 2:
			d.warn(v, NoOperation, "access without protocol has no effect", "remove it")
		}
	}
	if v, ok := s.get("enforcement"); ok && e.Protocol == TCP {
		d.fault(v, Conflict, "enforcement on "+what, "", "remove it; connections are always enforced")
	} else if ok && e.Enforcement == AskFirst {
		d.fault(v, Conflict, "enforcement: ask on "+what, "", "write protocol: rest to judge requests; unmatched: ask is about programs that are not named")
	}
	if v, ok := s.get("allow_encoded_slash"); ok && e.AllowEncodedSlash {
		d.warn(v, NoOperation, "allow_encoded_slash has no effect on "+what, "")
	}
	e.Enforcement = Enforce
}

func portList(ports []uint16) string {
	text := make([]string, len(ports))
	for i, p := range ports {
		text[i] = strconv.Itoa(int(p))
	}
	return strings.Join(text, ", ")
}

// partOfInternet: a range so wide that it names no network, such as 192.0.0.0/2
// in a list that means everything, may hold addresses that are always blocked:
// those are refused when they are dialled, whatever a policy allows. It must
// not hold what OpenShell refuses too: loopback, link-local, unspecified.
func partOfInternet(p netip.Prefix) bool {
	const wide4, wide6 = 8, 16
	p = p.Masked()
	wide := wide6
	if p.Addr().Is4() {
		wide = wide4
	}
	if p.Bits() > wide || netname.ClassifyPrefix(p) != netname.AlwaysBlocked || netname.Classify(p.Addr()) == netname.AlwaysBlocked {
		return false
	}
	for _, core := range []string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "::/8", "fe80::/10"} {
		if p.Overlaps(netip.MustParsePrefix(core)) {
			return false
		}
	}
	return true
}
