package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/policy/target"
)

// restRules decodes access, rules and deny_rules of a rest endpoint.
func (d *decoder) restRules(v value, s section, e *Endpoint) {
	d.endpointRules(v, s, e, ruleReader{
		presets: true,
		decode:  func(v value, deny bool) RequestRule { return d.requestRule(v, e, deny) },
		empty:   func(r RequestRule) bool { return r.Method == "" && r.Path == "" },
		example: `write - allow: {method: GET, path: "/**"}`,
	})
}

// knownMethods are those of RFC 9110 and PATCH; others work and are unusual.
var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "*"}

// requestRule decodes an allow or deny entry of HTTP requests. What makes a
// deny rule miss is a fault; what makes an allow rule miss is on the safe
// side, so version 1 keeps it.
func (d *decoder) requestRule(v value, e *Endpoint, deny bool) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	s, ok := d.ruleSection(v, e, "method", "path", "query")
	if !ok {
		return r
	}
	return d.httpRule(v, s, e, deny)
}

func (d *decoder) httpRule(v value, s section, e *Endpoint, deny bool) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	what := "allow"
	if deny {
		what = "deny"
	}
	strict := deny || d.version >= 2
	for _, key := range []string{"method", "path"} {
		if _, ok := s.get(key); ok {
			continue
		}
		want := map[string]string{"method": `an HTTP method, or "*"`, "path": `a path glob, or "**"`}[key]
		if strict {
			d.fault(value{v.n, pathKey(v.path, key)}, Missing, "", want, "without it this "+what+" rule never fires")
		} else {
			d.warn(value{v.n, pathKey(v.path, key)}, NeverFires, "without "+key+" this rule allows nothing", "add "+key)
		}
	}
	if m, ok := s.get("method"); ok {
		r.Method = d.method(m, e, strict)
	}
	if p, ok := s.get("path"); ok {
		r.Path = d.rulePath(p, strict)
	}
	if q, ok := s.get("query"); ok {
		d.mapping(q, "of query keys", func(key *yaml.Node, val value) {
			if m, ok := d.matcher(val); ok {
				r.Query = append(r.Query, QueryRule{Key: key.Value, Any: m})
			}
		})
		slices.SortFunc(r.Query, func(a, b QueryRule) int { return strings.Compare(a.Key, b.Key) })
	}
	return r
}

func (d *decoder) method(v value, e *Endpoint, strict bool) string {
	const want = `an HTTP method, or "*"`
	text, ok := d.text(v, want)
	if !ok {
		return ""
	}
	upper := strings.ToUpper(text)
	never := ""
	switch {
	case upper == MethodText && e.Protocol != WebSocket:
		never = "messages are judged by protocol: websocket"
	case upper != MethodText && upper != "GET" && upper != "*" && e.Protocol == WebSocket && isToken(text):
		never = "what a websocket endpoint takes is GET (the handshake) and " + MethodText
	}
	switch {
	case never != "" && strict:
		d.fault(v, NeverFires, "the method "+show(text), "", never)
	case never != "":
		d.warn(v, NeverFires, "no request has the method "+show(text), never)
	case upper == MethodText:
	case !isToken(text):
		hint := ""
		if strings.ContainsAny(text, ",| ") {
			hint = "write one rule for each method"
		}
		d.fault(v, BadValue, show(text), want, hint)
		return ""
	case !slices.Contains(knownMethods, upper):
		d.warn(v, Weak, "unusual HTTP method "+show(text), didYouMean(upper, knownMethods...))
	}
	return upper
}

// isToken: RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isWord(s[i]) && !strings.ContainsRune("!#$%&'*+-.^`|~", rune(s[i])) {
			return false
		}
	}
	return s != "" && (s == "*" || !strings.ContainsAny(s, "*|"))
}

func (d *decoder) rulePath(v value, strict bool) string {
	text, ok := d.text(v, `a path glob, or "**"`)
	if !ok {
		return ""
	}
	if d.globFault(v, text, '/') {
		return ""
	}
	if why, hint := neverMatches(text); why != "" {
		if strict {
			d.fault(v, NeverFires, show(text)+" "+why, "", hint)
		} else {
			d.warn(v, NeverFires, show(text)+" "+why, hint)
		}
	}
	return text
}

// neverMatches says why a path glob matches no canonical path: such a deny
// rule protects nothing. It may miss cases; it never accuses a live one.
func neverMatches(glob string) (why, hint string) {
	if strings.ContainsAny(glob, "[{\\") {
		return "", ""
	}
	if glob == "**" || strings.HasPrefix(glob, "**/") || strings.HasPrefix(glob, "*/") {
		return "", ""
	}
	if !strings.HasPrefix(glob, "/") {
		return "matches no path: paths begin with /", `begin with "/" or "**/"`
	}
	if _, after, ok := strings.Cut(glob, "?"); ok && strings.Contains(after, "=") {
		return "has a ? that stands for one character, never for the beginning of a query", "write the path alone, and query: {key: value}"
	}
	var plain strings.Builder
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case c == '*' || c == '?':
			plain.WriteByte('x')
		case c >= 0x80:
			fmt.Fprintf(&plain, "%%%02X", c)
		default:
			plain.WriteByte(c)
		}
	}
	t, err := target.Parse(plain.String(), true)
	switch {
	case err != nil:
		return "matches no canonical path", "paths are compared after decoding; write %XX in upper case for what stays encoded"
	case strings.ContainsFunc(glob, func(r rune) bool { return r >= 0x80 }) || t.Path != plain.String():
		return "matches no canonical path", "requests are compared in the form " + show(t.Path)
	}
	return "", ""
}

// maxMatcherGlobs bounds the alternatives of one matcher; every request that
// comes so far walks them.
const maxMatcherGlobs = 256

// matcher decodes a query matcher: a glob, or {any: [glob, …]}.
func (d *decoder) matcher(v value) ([]string, bool) { return d.matcherBy(v, '.') }

func (d *decoder) matcherBy(v value, separator byte) ([]string, bool) {
	var globs []string
	add := func(_ int, item value) {
		if text, ok := d.text(item, "a glob"); ok && !d.globFault(item, text, separator) {
			globs = append(globs, text)
		}
	}
	before := len(d.faults)
	switch v.n.Kind {
	case yaml.ScalarNode:
		add(0, v)
	case yaml.MappingNode:
		s, ok := d.section(v, "a matcher", matcherWords)
		if anyOf, has := s.get("any"); ok && has {
			d.list(anyOf, "globs", add)
		}
	default:
		d.fault(v, WrongType, describe(v.n), "a glob, or {any: [glob, …]}", "")
	}
	switch {
	case len(d.faults) > before:
	case len(globs) == 0:
		d.fault(v, Missing, "", "a glob, or {any: [glob, …]} with at least one", "")
	case len(globs) == 1 && globs[0] == "":
		d.fault(v, BadValue, show(""), "a glob", "the empty glob matches no value")
	case len(globs) > maxMatcherGlobs:
		d.fault(v, TooMuch, strconv.Itoa(len(globs))+" globs", "at most "+strconv.Itoa(maxMatcherGlobs), "")
	}
	return globs, len(d.faults) == before
}
