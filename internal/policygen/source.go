package policygen

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy"
)

// The pools. They are small so that two draws often concern the same thing.
var (
	hosts = []string{
		"api.a.test", "www.a.test", "b.api.a.test", "c.b.api.a.test", "xapi.a.test", "api.b.test",
		"*.a.test", "**.a.test", "api*.a.test", "*api.a.test", "*.api.a.test", "**.api.a.test", "*.*.a.test", "b.*.a.test", "*pi.*.a.test",
		"**.*.a.test", "API.a.test", "*.A.test", "a_b.a.test", "93.184.216.34", "2606:2800:220::1",
	}
	ports   = []int{80, 443, 8443}
	methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "*", "get", "BREW"}
	// pieces of a path component; several are joined.
	pieces     = []string{"a", "b", "c", "a", "b", "*", "?", "[ab]", "[!a]", "[a-c]", "[^b]", "{a,b}", "{a*,bc}", "{,c}", "{b,{a,c}?}", `\*`, ".x"}
	components = []string{"a", "b", "c", "v1", "*", "**", "a", "b"}
	keys       = []string{"q", "k", "Q"}
	values     = []string{"a", "b", "a.b", "*", "**", "a*", "*b", "*.b", "a.*", "**.b", "a.**", "a.**.b", "?", "[ab]", "[!a]*", "{a,b}", "{a.b,c}*", `\*`, "a b", "a**", "/a", "é*"}
	programs   = []string{
		"/usr/bin/curl", "/usr/bin/git", "/usr/bin/python3.13", "/opt/a/bin/agent", "/usr/local/bin/git",
		"/usr/bin/*", "/usr/**", "/usr/bin/python3*", "/**/git", "**/git", "/opt/*/bin/*", "/opt/**/agent", "/usr/{bin,local/bin}/g*", "/**", "/usr/bin/[cg]*", "/usr/*/bin/*",
	}
	digests = []string{strings.Repeat("1", 64), strings.Repeat("2", 64)}
)

// Of says what to draw; the zero Of is everything.
type Of struct {
	Version int // 0: either
	// Protocols of endpoints; nil: all that the version has. "" judges the
	// connection alone.
	Protocols []policy.Protocol
	// Timeless: nothing that ends, is counted, asks or is limited.
	Timeless bool
}

// gen draws one document. once holds what has to agree in all of it.
type gen struct {
	of        Of
	t         *rapid.T
	version   int
	once      map[string]string
	unmatched string // of the document, or of the network policy that is drawn
	limits    int    // drawn so far
	out       strings.Builder
}

func newGen(t *rapid.T, of Of) *gen {
	g := &gen{of: of, t: t, version: of.Version, once: map[string]string{}}
	if g.version == 0 {
		g.version = rapid.IntRange(1, 2).Draw(t, "version")
	}
	return g
}

// Source draws a policy as YAML. It is nearly always valid.
func Source(t *rapid.T, of Of) string {
	g := newGen(t, of)
	g.line(0, "version: %d", g.version)
	g.document()
	g.line(0, "network_policies:")
	for i := range rapid.IntRange(1, 5).Draw(t, "networks") {
		g.network(g.key(i))
	}
	return g.out.String()
}

// key draws the name of the i-th network policy. They are not in the order of
// the document.
func (g *gen) key(i int) string { return fmt.Sprint(g.pick("key", "k", "b", "z"), i) }

func (g *gen) line(indent int, format string, args ...any) {
	g.out.WriteString(strings.Repeat(" ", indent))
	fmt.Fprintf(&g.out, format, args...)
	g.out.WriteByte('\n')
}

func (g *gen) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(g.t, label)
}

// chance is true once in n times, and shrinks to false.
func (g *gen) chance(label string, n int) bool {
	return rapid.IntRange(0, n-1).Draw(g.t, label) == n-1
}

// agreed draws a value for a key of the document at its first use.
func (g *gen) agreed(key string, from ...string) string {
	v, ok := g.once[key]
	if !ok {
		v = g.pick(key, from...)
		g.once[key] = v
	}
	return v
}

func (g *gen) network(key string) {
	above := g.unmatched
	defer func() { g.unmatched = above }()
	g.line(2, "%s:", key)
	g.networkWords()
	g.line(4, "endpoints:")
	for range rapid.IntRange(1, 3).Draw(g.t, "endpoints") {
		g.endpoint()
	}
	if g.version == 2 && g.chance("any binary", 3) {
		g.line(4, "binaries: any")
		return
	}
	g.line(4, "binaries:")
	for range rapid.IntRange(1, 3).Draw(g.t, "binaries") {
		path := g.pick("program", programs...)
		if g.version == 2 && strings.HasPrefix(path, "**") {
			path = "/" + path // version 2 refuses the other
		}
		if g.version == 2 && g.chance("digest", 6) {
			g.line(4, "- {path: %q, sha256: %q}", path, g.pick("sha256", digests...))
			continue
		}
		g.line(4, "- {path: %q}", path)
	}
}

func (g *gen) endpoint() {
	allowed, tls := g.agreed("allowed_ips", "", "", "", "10.0.0.0/8"), ""
	if g.may("") {
		tls = g.agreed("tls", "", "", "", "", "auto", "skip")
	}
	selector := ""
	if tls != "skip" && len(g.kinds(true)) > 0 && g.chance("selector", 3) {
		selector = g.selector()
	}
	about := fmt.Sprint("for selectors of ", len(selector)-strings.Count(selector, "*"))
	kind := g.kind(tls, allowed, selector, about)
	if kind == "" || kind == "tcp" {
		selector = ""
	}
	host := ""
	switch {
	case kind == "tcp":
		host = g.pick("host", slices.DeleteFunc(slices.Clone(hosts), isAddr)...)
		g.line(4, "- host: %q", host)
	case kind == "mcp" || allowed == "" || !g.chance("hostless", 4):
		host = g.pick("host", hosts...)
		g.line(4, "- host: %q", host)
	default:
		g.line(4, "- port: %d", rapid.SampledFrom(ports).Draw(g.t, "port"))
	}
	if allowed != "" {
		g.line(6, "allowed_ips: [%s]", allowed)
	}
	switch {
	case host == "":
	case g.chance("two ports", 4):
		g.line(6, "ports: [80, 443]")
	default:
		g.line(6, "port: %d", rapid.SampledFrom(ports).Draw(g.t, "port"))
	}
	if tls != "" {
		g.line(6, "tls: %s", tls)
	}
	g.endpointWords(host, allowed, selector, kind, about)
	if kind == "" {
		return
	}
	g.line(6, "protocol: %s", kind)
	if kind == "tcp" {
		return
	}
	if selector != "" {
		g.line(6, "path: %q", selector)
	}
	if g.agreed("encoded slash "+about, "no", "no", "no", "yes") == "yes" {
		g.line(6, "allow_encoded_slash: true")
	}
	switch kind {
	case "rest":
		g.rules(g.rule, g.rule, true)
	case "graphql":
		g.registry()
		g.rules(g.operation, g.operation, true)
	case "websocket":
		g.websocket(about)
	case "json-rpc":
		g.rules(func() string { return fmt.Sprintf("method: %q", g.pick("call", append(calls, "*")...)) },
			func() string { return fmt.Sprintf("method: %q", g.pick("call", calls...)) }, false)
	case "mcp":
		g.mcp(about)
	case "git":
		g.rules(func() string { return g.git(false) }, func() string { return g.git(true) }, false)
	case "package":
		g.line(6, "registry: %s", g.agreed("registry of packages "+about, "npm", "pypi"))
		g.rules(func() string { return g.packages(false) }, func() string { return g.packages(true) }, false)
	case "grpc":
		g.rules(func() string { return g.grpc(false) }, func() string { return g.grpc(true) }, false)
	}
}

// may reports whether endpoints of a protocol are wanted.
func (g *gen) may(kind string) bool {
	return g.of.Protocols == nil || slices.Contains(g.of.Protocols, policy.Protocol(kind))
}

// kinds are the wanted protocols whose requests are judged, and without inspected
// also none; common ones more than once.
func (g *gen) kinds(inspected bool) []string {
	list := []string{"rest", "rest", "rest", "graphql", "websocket", "json-rpc", "mcp"}
	if g.version == 2 {
		list = append(list, "git", "package", "grpc")
	}
	if !inspected {
		list = append(list, "", "")
	}
	return slices.DeleteFunc(list, func(k string) bool { return !g.may(k) })
}

// kind draws the protocol of an endpoint.
func (g *gen) kind(tls, allowed, selector, about string) string {
	all, none := g.kinds(false), g.may("")
	switch {
	case g.may("tcp") && (len(all) == 0 || g.agreed("tcp", "no", "no", "no", "no", "no", "no", "no", "yes") == "yes"):
		return "tcp"
	case tls == "skip":
		return ""
	case selector != "":
		return g.agreed("protocol "+about, g.kinds(true)...)
	}
	// Beside an endpoint that judges the connection alone another may be inspected.
	inspected := g.agreed("protocol "+about, all...)
	if !none || tls != "" || allowed != "" { // which have to agree in more
		return inspected
	}
	return g.pick("protocol", inspected, inspected, inspected, "")
}

func isAddr(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// rules draws access or rules, and deny rules.
func (g *gen) rules(allow, deny func() string, presets bool) {
	if presets && g.chance("preset", 3) {
		g.line(6, "access: %s", g.pick("access", "read-only", "read-write", "full"))
	} else {
		g.line(6, "rules:")
		for range rapid.IntRange(1, 4).Draw(g.t, "rules") {
			g.line(6, "- allow: {%s}", allow())
		}
	}
	if g.chance("denies", 2) {
		g.line(6, "deny_rules:")
		for range rapid.IntRange(1, 2).Draw(g.t, "deny rules") {
			g.line(6, "- {%s}", deny())
		}
	}
}

func (g *gen) rule() string {
	text := fmt.Sprintf("method: %q, path: %q", g.pick("method", methods...), g.path())
	if !g.chance("query", 3) {
		return text
	}
	var parts []string
	for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 1, 2, rapid.ID).Draw(g.t, "keys") {
		if g.chance("any", 2) {
			list := rapid.SliceOfN(rapid.SampledFrom(values), 1, 2).Draw(g.t, "globs")
			parts = append(parts, fmt.Sprintf("%q: {any: [%s]}", k, quoted(list)))
		} else {
			parts = append(parts, fmt.Sprintf("%q: %q", k, g.pick("glob", values...)))
		}
	}
	return text + ", query: {" + strings.Join(parts, ", ") + "}"
}

// path draws the glob of a rule.
func (g *gen) path() string {
	if g.chance("everything", 5) {
		return g.pick("path", "**", "/**")
	}
	n := rapid.IntRange(0, 4).Draw(g.t, "components")
	list := make([]string, n)
	for i := range list {
		list[i] = g.component()
	}
	text := "/" + strings.Join(list, "/")
	if n > 0 && g.chance("final slash", 6) {
		text += "/"
	}
	if g.chance("leading **", 8) {
		text = "**" + text
	}
	return text
}

func (g *gen) component() string {
	if !g.chance("joined", 3) {
		return g.pick("component", components...)
	}
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 3).Draw(g.t, "pieces"), "")
}

// selector draws the path of an endpoint: some of the language of rules.
func (g *gen) selector() string {
	list := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "v1", "*", "a*", "[ab]", "**"}), 1, 3).Draw(g.t, "selector components")
	return "/" + strings.Join(list, "/")
}

func quoted(list []string) string {
	text := make([]string, len(list))
	for i, s := range list {
		text[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(text, ", ")
}
