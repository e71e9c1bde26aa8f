package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/netname"
)

// Draft is a rule that a policy lacks, for one host and one program.
type Draft struct {
	Key       string
	Host      netname.Host
	Binary    string // empty: any program, because the caller is not known
	Endpoints []DraftEndpoint
	Remarks   []string // comment lines above the rule; the caller keeps foreign text out or escapes it
}

// DraftEndpoint is one port of a Draft.
type DraftEndpoint struct {
	Port    uint16
	Allow   []Permit // of an inspected endpoint; empty: the connection alone is allowed
	Remarks []string // comment lines above the endpoint
	// like is what the policy says about the host and port already: endpoints
	// that overlap have to agree on how they are treated.
	like *Endpoint
}

// Permit is one allow entry. Path is a glob.
type Permit struct {
	Method string `json:"method"`
	Path   string `json:"path"`
}

// Refusal says in one comment line why no rule can allow a call, or "". With a
// method and a canonical path it is about the request.
func (e *Engine) Refusal(c Connection, method, path string) string {
	r := Request{Connection: c, Method: method}
	r.Target.Path = path
	return e.refusal(&r)
}

func (e *Engine) refusal(r *Request) string {
	c := r.Connection
	switch {
	case c.Host.IsZero() || c.Port == 0:
		return "# nothing to allow: the connection has no valid host and port\n"
	case c.Host.IsAddr() && netname.Synthetic(c.Host.Addr()):
		return "# nothing to allow: the address stands for a name, and for none that is known\n"
	case neverDialled(c.Host):
		return "# no policy can allow this: loopback, link-local and metadata services are never dialled\n"
	case (!c.KnownCaller || c.Binary == "") && e.languageVersion() < 2:
		return "# no version 1 policy can allow this: the calling program is not known\n"
	case r.Method != "":
		if why := e.denied(r); why != "" {
			return why
		}
	}
	if why := e.contradicted(c, r.Method, r.Target.Path); why != "" {
		return why
	}
	return e.queried(r, REST)
}

func (e *Engine) languageVersion() int {
	if e != nil && e.version != 0 {
		return e.version
	}
	return 2
}

// DraftFor is an endpoint that allows what is permitted on a host and port, in
// the way in which the policy treats them already.
func (e *Engine) DraftFor(c Connection, allow []Permit) DraftEndpoint {
	d := DraftEndpoint{Port: c.Port, Allow: allow}
	if like := e.like(c); like != nil {
		d.like = like.spec
	}
	return d
}

// Protocol is how far the endpoint's traffic is judged.
func (d DraftEndpoint) Protocol() Protocol {
	switch {
	case len(d.Allow) > 0:
		return REST
	case d.like != nil && d.like.Protocol == TCP:
		return TCP
	}
	return L4
}

// Like is how far the policy judges the traffic to the same host and port
// already; ok is false if it says nothing about them.
func (d DraftEndpoint) Like() (p Protocol, ok bool) {
	if d.like == nil {
		return L4, false
	}
	return d.like.Protocol, true
}

// YAML is the rule as an entry of network_policies, indented by indent.
func (d Draft) YAML(indent string) string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, indent+format+"\n", args...) }
	for _, r := range d.Remarks {
		put("# %s", r)
	}
	put("%s:", scalar(d.Key))
	put("  endpoints:")
	for _, e := range d.Endpoints {
		for _, r := range e.Remarks {
			put("    # %s", r)
		}
		put("    - host: %s", scalar(d.Host.String()))
		put("      port: %d", e.Port)
		if p := e.Protocol(); p != L4 {
			put("      protocol: %s", p)
		}
		if len(e.Allow) > 0 {
			put("      enforcement: enforce")
		}
		if e.like != nil {
			if e.like.TLS == TLSSkip && len(e.Allow) == 0 {
				put("      tls: skip")
			}
			if e.like.AllowedIPs != nil {
				put("      allowed_ips: [%s]", prefixes(e.like.AllowedIPs))
			}
		}
		if len(e.Allow) > 0 && (e.like != nil && e.like.AllowEncodedSlash || slices.ContainsFunc(e.Allow, func(p Permit) bool { return strings.Contains(p.Path, encodedSlash) })) {
			put("      allow_encoded_slash: true")
		}
		if len(e.Allow) > 0 {
			put("      rules:")
		}
		for _, p := range e.Allow {
			put("        - allow: {method: %s, path: %s}", scalar(strings.ToUpper(p.Method)), scalar(p.Path))
		}
	}
	if d.Binary == "" {
		put("  binaries: any")
	} else {
		put("  binaries:")
		put("    - {path: %s}", scalar(literalGlob(d.Binary, true)))
	}
	return b.String()
}

// FreeKey is a name for a rule that neither the policy nor taken holds: made of
// parts, of what the layers above open if they do so for some names, and of a
// number if it has to be.
func (e *Engine) FreeKey(taken func(string) bool, parts ...string) string {
	var base []byte
	for i, part := range parts {
		if i > 0 {
			base = append(base, '_')
		}
		for _, ch := range []byte(part) {
			if !isWord(ch) {
				ch = '_'
			}
			base = append(base, ch)
		}
	}
	key := e.openName(string(base))
	for i := 2; e != nil && e.hasKey(key) || taken != nil && taken(key); i++ {
		key = e.openName(string(base) + "_" + strconv.Itoa(i))
	}
	return key
}

func (e *Engine) hasKey(key string) bool {
	_, ok := slices.BinarySearchFunc(e.networks, key, func(n *network, k string) int { return strings.Compare(n.spec.Key, k) })
	return ok
}

// LiteralPath is the glob that matches exactly one path.
func LiteralPath(path string) string { return literalGlob(path, false) }

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
