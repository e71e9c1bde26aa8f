package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/netname"
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

func (e *Engine) suggestRequest(r *Request) string {
	c, method, path := r.Connection, r.Method, r.Target.Path
	if e != nil && (method != "" || r.Text) {
		if g := e.Governing(c, path); g != nil && g.Protocol != REST {
			return e.suggestMessage(g, r)
		}
	}
	switch {
	case c.Host.IsZero() || c.Port == 0:
		return "# nothing to allow: the connection has no valid host and port\n"
	case c.Host.IsAddr() && netname.Synthetic(c.Host.Addr()):
		return "# nothing to allow: the address stands for a name, and for none that is known\n"
	case neverDialled(c.Host):
		return "# no policy can allow this: loopback, link-local and metadata services are never dialled\n"
	}
	version := 2
	if e != nil && e.version != 0 {
		version = e.version
	}
	binaries := "      - {path: " + scalar(literalGlob(c.Binary, true)) + "}\n"
	if !c.KnownCaller || c.Binary == "" {
		if version < 2 {
			return "# no version 1 policy can allow this: the calling program is not known\n"
		}
		binaries = ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "network_policies:\n  %s:\n    endpoints:\n      - host: %s\n        port: %d\n", e.freeKey(c), scalar(c.Host.String()), c.Port)
	like := e.like(c)
	if method == "" {
		if like != nil && like.spec.Protocol == TCP {
			b.WriteString("        protocol: tcp\n")
		}
	} else {
		if deny := e.denied(c, method, path); deny != "" {
			return deny
		}
		b.WriteString("        protocol: rest\n        enforcement: enforce\n")
	}
	if like != nil {
		// Endpoints that overlap have to agree on how they are treated.
		if like.spec.TLS == TLSSkip && method == "" {
			b.WriteString("        tls: skip\n")
		}
		if like.spec.AllowedIPs != nil {
			b.WriteString("        allowed_ips: [" + prefixes(like.spec.AllowedIPs) + "]\n")
		}
		if like.spec.AllowEncodedSlash && method != "" {
			b.WriteString("        allow_encoded_slash: true\n")
		}
	}
	if method != "" {
		fmt.Fprintf(&b, "        rules:\n          - allow: {method: %s, path: %s}\n", scalar(strings.ToUpper(method)), scalar(literalGlob(path, false)))
	}
	if binaries == "" {
		b.WriteString("    binaries: any\n")
	} else {
		b.WriteString("    binaries:\n" + binaries)
	}
	return b.String()
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
func (e *Engine) denied(c Connection, method, path string) string {
	if e == nil {
		return ""
	}
	r := Request{Connection: c, Method: method}
	r.Target.Path = path
	text := ""
	who := caller{c: &c}
	e.each(c.Host, c.Port, func(ep *endpoint) {
		if !ep.inspect || !who.matches(ep.net) || !ep.takesPath(path) || text != "" {
			return
		}
		for i := range ep.deny {
			if rule := &ep.deny[i]; len(rule.spec.Query) == 0 && rule.takes(&r, true) {
				text = fmt.Sprintf("# the deny rule at %s wins over every allow rule: remove or narrow it\n", rule.rule.At)
				return
			}
		}
	})
	return text
}

// freeKey is a name for a rule that the policy does not hold yet.
func (e *Engine) freeKey(c Connection) string {
	base := []byte("allow_")
	for _, ch := range []byte(c.Host.String()) {
		if !isWord(ch) {
			ch = '_'
		}
		base = append(base, ch)
	}
	base = append(base, '_')
	base = strconv.AppendUint(base, uint64(c.Port), 10)
	key := string(base)
	for i := 2; e != nil && e.hasKey(key); i++ {
		key = string(base) + "_" + strconv.Itoa(i)
	}
	return key
}

func (e *Engine) hasKey(key string) bool {
	_, ok := slices.BinarySearchFunc(e.networks, key, func(n *network, k string) int { return strings.Compare(n.spec.Key, k) })
	return ok
}

// literalGlob is the glob that matches exactly s. Binaries are globs only if
// they hold a star.
func literalGlob(s string, binary bool) string {
	if binary && !strings.Contains(s, "*") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(`*?[]{}\!,`, s[i]) >= 0 && (s[i] != ',' && s[i] != '!') {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// scalar writes a text so that YAML reads the same text again.
func scalar(s string) string {
	plain := s != "" && (s[0] == '/' || lower(s[0]) >= 'a' && lower(s[0]) <= 'z') && !yaml11Bool(s)
	for i := 0; plain && i < len(s); i++ {
		plain = isWord(s[i]) || strings.IndexByte("/.-~@+", s[i]) >= 0
	}
	switch s {
	case "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE":
		plain = false
	}
	if plain {
		return s
	}
	return strconv.QuoteToASCII(s)
}

func prefixes(list []netip.Prefix) string {
	text := make([]string, len(list))
	for i, p := range list {
		text[i] = scalar(p.String())
	}
	return strings.Join(text, ", ")
}
