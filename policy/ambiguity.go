package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/creel-run/creel/policy/registry"
)

// maxPairs bounds the comparison of endpoints that overlap: beyond it a
// document is refused instead of judged for minutes. A file of MaxBytes that
// was not made to be slow stays far below.
const maxPairs = 1 << 21

// member is one endpoint under comparison; order is its place in the document.
type member struct {
	e     *Endpoint
	path  string
	order int
}

// ambiguity refuses two endpoints that may take one connection and disagree on
// how it is treated (openshell-v1.md §1.6): which of them wins would depend on
// their order. What they allow and deny may differ freely.
func (d *decoder) ambiguity(doc *Document) {
	var all []member
	wild := make(map[uint16][]member)
	for i := range doc.Networks {
		n := &doc.Networks[i]
		at := pathKey("network_policies", n.Key)
		for j := range n.Endpoints {
			if n.Endpoints[j].Withdrawn {
				continue
			}
			m := member{&n.Endpoints[j], pathIndex(at+".endpoints", j), len(all)}
			all = append(all, m)
			if m.literal() {
				continue
			}
			for _, port := range m.ports() {
				wild[port] = append(wild[port], m)
			}
		}
	}
	type place struct {
		host string
		port uint16
	}
	literal := make(map[place][]member)
	pairs := 0
	compare := func(m member, others []member) bool {
		for _, o := range others {
			if pairs++; pairs > maxPairs {
				d.faultAt(m.e.At, m.path, TooMuch, fmt.Sprintf("more than %d overlapping endpoints", maxPairs), "fewer rules for the same hosts", "")
				return false
			}
			a, b := m, o
			if b.order < a.order {
				a, b = b, a
			}
			if a.order != b.order && hostsOverlap(a.e, b.e) && !d.comparePair(a, b) && len(d.faults) > maxFaults {
				return false
			}
		}
		return true
	}
	for _, m := range all {
		for _, port := range m.ports() {
			others := wild[port]
			if !m.literal() {
				// Each pair of wildcards once: with those that stand before.
				k := slices.IndexFunc(others, func(o member) bool { return o.order >= m.order })
				if !compare(m, others[:k]) {
					return
				}
				continue
			}
			p := place{m.e.Pattern.String(), port}
			if !compare(m, others) || !compare(m, literal[p]) {
				return
			}
			literal[p] = append(literal[p], m)
		}
	}
}

func (m member) literal() bool { return m.e.Host != "" && m.e.Pattern.Literal() }

// ports are the endpoint's ports without repetitions.
func (m member) ports() []uint16 {
	list := slices.Clone(m.e.Ports)
	slices.Sort(list)
	return slices.Compact(list)
}

// comparePair reports whether two overlapping endpoints agree.
func (d *decoder) comparePair(a, b member) bool {
	x, y := a.e, b.e
	conflict := func(field, left, right string) bool {
		d.faultAt(y.At, b.path+"."+field, Ambiguous,
			fmt.Sprintf("%s, while %s (line %d) has %s for an overlapping host on the same port", right, a.path, x.At.Line, left), "",
			"give both the same "+field)
		return false
	}
	switch {
	case (x.Protocol == TCP) != (y.Protocol == TCP):
		return conflict("protocol", protocolText(x), protocolText(y))
	case x.TLS != y.TLS:
		return conflict("tls", tlsText(x), tlsText(y))
	case !sameAllowed(x, y):
		return conflict("allowed_ips", allowedText(x), allowedText(y))
	}
	if !hasMetadata(x) || !hasMetadata(y) || specificity(x.Path) != specificity(y.Path) || !pathsOverlap(x.Path, y.Path) {
		if x.Protocol.Inspected() != y.Protocol.Inspected() {
			d.warnAt(y.At, b.path, Weak, fmt.Sprintf("overlaps %s (line %d), and one of them has protocol: %s: requests are judged by that one alone",
				a.path, x.At.Line, max(x.Protocol, y.Protocol)), "")
		}
		return true
	}
	if x.treatment() == y.treatment() {
		return true
	}
	for _, f := range agreeing(x, y) {
		if f.left != f.right {
			return conflict(f.name, f.left, f.right)
		}
	}
	return true
}

// treatment is what agreeing compares, in a form that is compared at once:
// most pairs are equal.
type treatment struct {
	protocol    Protocol
	enforcement Enforcement
	slash       bool
	credentials Credentials
	body        int
	loose       bool
	messages    bool
	registry    registry.Kind
	base        string
	pins        string
}

func (e *Endpoint) treatment() treatment {
	t := treatment{e.Protocol, e.Enforcement, e.AllowEncodedSlash, e.Credentials, 0, e.MCP.LooseToolNames, false, e.Registry, e.RegistryPath, pinText(e)}
	switch e.Protocol {
	case GraphQL, WebSocket, JSONRPC, MCP:
		t.body, t.messages = e.BodyLimit(), e.GraphQLMessages()
	case L4, TCP, SQL, REST, Git, Package, GRPC:
	}
	return t
}

// pinText is the pins of an endpoint as one text.
func pinText(e *Endpoint) string {
	var list []string
	for _, p := range e.ToolPins {
		list = append(list, show(p.Tool)+": "+orNone(p.SHA256))
	}
	return strings.Join(list, ", ")
}

type agreed struct{ name, left, right string }

// agreeing are the fields that two endpoints for the same requests have to
// agree on: each is taken from the one that governs a request.
func agreeing(x, y *Endpoint) []agreed {
	flag := func(f func(e *Endpoint) bool) (string, string) { return fmt.Sprint(f(x)), fmt.Sprint(f(y)) }
	list := []agreed{{"protocol", protocolText(x), protocolText(y)}, {"enforcement", x.Enforcement.String(), y.Enforcement.String()}}
	add := func(name string, f func(e *Endpoint) bool) {
		l, r := flag(f)
		list = append(list, agreed{name, l, r})
	}
	add("allow_encoded_slash", func(e *Endpoint) bool { return e.AllowEncodedSlash })
	add("websocket_credential_rewrite", func(e *Endpoint) bool { return e.Credentials.RewriteMessages })
	add("request_body_credential_rewrite", func(e *Endpoint) bool { return e.Credentials.RewriteBodies })
	c, o := x.Credentials, y.Credentials
	list = append(list,
		agreed{"credential_signing", orNone(c.Signing.Mode), orNone(o.Signing.Mode)},
		agreed{"signing_service", orNone(c.Signing.Service), orNone(o.Signing.Service)},
		agreed{"signing_region", orNone(c.Signing.Region), orNone(o.Signing.Region)},
		agreed{"credential_binding", orNone(c.Provider), orNone(o.Provider)})
	switch x.Protocol {
	case GraphQL, WebSocket:
		list = append(list, agreed{"rules", messageText(x), messageText(y)}, agreed{"graphql_max_body_bytes", fmt.Sprint(x.BodyLimit()), fmt.Sprint(y.BodyLimit())})
	case JSONRPC:
		list = append(list, agreed{"json_rpc", fmt.Sprint(x.BodyLimit()), fmt.Sprint(y.BodyLimit())})
	case MCP:
		list = append(list, agreed{"mcp", fmt.Sprint(x.BodyLimit()), fmt.Sprint(y.BodyLimit())})
		strict := func(e *Endpoint) string { return fmt.Sprintf("strict_tool_names: %t", !e.MCP.LooseToolNames) }
		list = append(list, agreed{"mcp", strict(x), strict(y)}, agreed{"mcp.pins", orNone(pinText(x)), orNone(pinText(y))})
	case Package:
		list = append(list, agreed{"registry", string(x.Registry), string(y.Registry)}, agreed{"registry_path", orNone(x.RegistryPath), orNone(y.RegistryPath)})
	case L4, TCP, SQL, REST, Git, GRPC:
	}
	return list
}

func messageText(e *Endpoint) string {
	if e.GraphQLMessages() {
		return "messages that are GraphQL"
	}
	return "messages that are judged by path"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return show(s)
}

func hasMetadata(e *Endpoint) bool {
	return e.Protocol != L4 && e.Protocol != TCP || e.AllowedIPs != nil || e.TLSWritten || e.Credentials.Provider != ""
}

func protocolText(e *Endpoint) string {
	if e.Protocol == L4 {
		return "no protocol"
	}
	return "protocol " + string(e.Protocol)
}

func tlsText(e *Endpoint) string {
	if e.TLS == TLSSkip {
		return "tls: skip"
	}
	return "tls: auto"
}

func allowedText(e *Endpoint) string {
	if e.AllowedIPs == nil {
		return "no allowed_ips"
	}
	return fmt.Sprintf("allowed_ips of %d ranges", len(e.AllowedIPs))
}

func sameAllowed(x, y *Endpoint) bool {
	if (x.AllowedIPs == nil) != (y.AllowedIPs == nil) {
		return false
	}
	for _, p := range x.AllowedIPs {
		if !slices.Contains(y.AllowedIPs, p) {
			return false
		}
	}
	for _, p := range y.AllowedIPs {
		if !slices.Contains(x.AllowedIPs, p) {
			return false
		}
	}
	return true
}

// hostsOverlap is exact for the pattern language: `*` inside the first label,
// `*` as a whole later label, `**` as the whole first label.
func hostsOverlap(x, y *Endpoint) bool {
	if x.Host == "" || y.Host == "" {
		return true
	}
	xl, yl := x.Pattern.Literal(), y.Pattern.Literal()
	switch {
	case xl && yl:
		return x.Pattern.Host() == y.Pattern.Host()
	case xl:
		return y.Pattern.Match(x.Pattern.Host())
	case yl:
		return x.Pattern.Match(y.Pattern.Host())
	}
	a, b := x.Pattern.String(), y.Pattern.String()
	for {
		ai, bi := strings.LastIndexByte(a, '.'), strings.LastIndexByte(b, '.')
		if ai < 0 || bi < 0 {
			switch {
			case a == "**" || b == "**":
				return true // what is left of the other has at least one label
			case ai >= 0 || bi >= 0:
				return false
			}
			return globsOverlap(a, b, '.')
		}
		if l, r := a[ai+1:], b[bi+1:]; l != r && l != "*" && r != "*" {
			return false
		}
		a, b = a[:ai], b[:bi]
	}
}

func pathsOverlap(a, b string) bool {
	every := func(s string) bool { return s == "" || s == "**" }
	return every(a) || every(b) || globsOverlap(a, b, '/')
}

// globsOverlap reports whether one text can match both globs. Classes,
// alternates and escapes count as any text, so it may see an overlap that is
// none and never misses one.
func globsOverlap(a, b string, sep byte) bool {
	x, y := globTokens(a, sep), globTokens(b, sep)
	// cur[j]: some text is matched by the first i tokens of x and the first j of y.
	cur, next := make([]bool, len(y)+1), make([]bool, len(y)+1)
	cur[0] = true
	for i := 0; ; i++ {
		for j := 0; j <= len(y); j++ {
			if !cur[j] {
				continue
			}
			xRun, yRun := i < len(x) && x[i].run, j < len(y) && y[j].run
			if xRun { // takes nothing
				next[j] = true
			}
			if yRun {
				cur[j+1] = true
			}
			if i == len(x) || j == len(y) || !x[i].meets(y[j]) {
				continue
			}
			switch {
			case xRun && yRun:
			case xRun:
				cur[j+1] = true
			case yRun:
				next[j] = true
			default:
				next[j+1] = true
			}
		}
		if i == len(x) {
			return cur[len(y)]
		}
		cur, next = next, cur
		clear(next)
	}
}

// token is one character, any character, or a run of them.
type token struct {
	c        byte // 0: any
	crossing bool // also the separator
	run      bool
	sep      byte
}

func (t token) meets(o token) bool {
	switch {
	case t.c != 0 && o.c != 0:
		return t.c == o.c
	case t.c != 0:
		return o.crossing || t.c != t.sep
	case o.c != 0:
		return t.crossing || o.c != o.sep
	}
	return true
}

func globTokens(g string, sep byte) []token {
	if strings.ContainsAny(g, "[{\\") {
		return []token{{crossing: true, run: true, sep: sep}}
	}
	var list []token
	for i := 0; i < len(g); i++ {
		switch {
		case strings.HasPrefix(g[i:], "**"):
			for i+1 < len(g) && g[i+1] == '*' {
				i++
			}
			list = append(list, token{crossing: true, run: true, sep: sep})
			// "/**/" also stands for one separator alone.
			if i+1 < len(g) && g[i+1] == sep {
				i++
			} else if n := len(list); n > 1 && list[n-2].c == sep && i+1 == len(g) {
				list = append(list[:n-2], token{crossing: true, run: true, sep: sep}) // "/v1/**" also takes "/v1"
			}
		case g[i] == '*':
			list = append(list, token{run: true, sep: sep})
		case g[i] == '?':
			list = append(list, token{sep: sep})
		default:
			list = append(list, token{c: g[i], sep: sep})
		}
	}
	return list
}

// specificity counts the characters of a selector that are not "*".
func specificity(selector string) int {
	return utf8.RuneCountInString(selector) - strings.Count(selector, "*")
}
