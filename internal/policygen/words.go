package policygen

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// ends are the times at which rules end, in one order and in two forms. Times of
// questions lie at them and on either side.
var (
	ends  = []string{"2026-06-01T00:00:00Z", "2027-01-01T01:00:00+02:00", "2027-01-01T00:00:00Z"}
	times = []time.Time{at("2026-05-31T23:59:59Z"), at("2026-05-31T23:59:59Z"), at("2026-06-01T00:00:00Z"), at("2026-12-31T23:00:00Z"), at("2026-12-31T23:59:59Z"), at("2027-01-01T00:00:00Z")}
)

func at(text string) time.Time {
	t, _ := time.Parse(time.RFC3339, text)
	return t
}

// bounded: words that end, count, ask and limit are wanted.
func (g *gen) bounded() bool { return g.version == 2 && !g.of.Timeless }

// document draws the words of version 2 at the top of a document.
func (g *gen) document() {
	if !g.bounded() {
		return
	}
	if g.chance("unmatched of the document", 3) {
		g.unmatched = g.pick("unmatched", "ask", "ask", "deny")
		g.line(0, "unmatched: %s", g.unmatched)
	}
	g.dns()
	g.limit(0, 6)
}

// dns draws who is asked for addresses, and some that nobody is asked for. They
// decide nothing about a connection or request.
func (g *gen) dns() {
	if !g.chance("dns", 6) {
		return
	}
	g.line(0, "dns:")
	if g.chance("upstream", 2) {
		g.line(2, "upstream: %q", g.pick("server", "host", "192.0.2.53", "tls://dns.test", "https://dns.test/q"))
	}
	if g.chance("fixed hosts", 2) {
		g.line(2, "hosts: {%s: [198.51.101.7], %s: [10.0.0.5, 10.0.0.6]}", g.pick("public", "api.a.test", "a.test"), g.pick("internal", "www.a.test", "b.api.a.test"))
	}
}

// limit draws limits, of a number that no other of the document has.
func (g *gen) limit(indent, n int) {
	if !g.chance("limits", n) {
		return
	}
	g.limits++
	g.line(indent, "limits: {connections: %d}", g.limits)
}

func (g *gen) networkWords() {
	if g.version == 2 && g.chance("ancestors", 4) {
		g.line(4, "ancestors: true")
	}
	if !g.bounded() {
		return
	}
	if g.chance("unmatched of the network policy", 4) {
		g.unmatched = g.pick("unmatched", "ask", "deny")
		g.line(4, "unmatched: %s", g.unmatched)
	}
	g.lapse(4, 8)
	g.limit(4, 8)
}

// lapse draws words that end a grant, each once in n times.
func (g *gen) lapse(indent, n int) {
	if g.chance("expires_at", n) {
		g.line(indent, "expires_at: %s", g.pick("end", ends...))
	}
	if g.chance("max_uses", n) {
		g.line(indent, "max_uses: %d", rapid.IntRange(1, 3).Draw(g.t, "uses"))
	}
}

// endpointWords draws the words of an endpoint that are about no protocol.
// Endpoints of one specificity agree in the enforcement that comes of them.
func (g *gen) endpointWords(host, allowed, selector, kind, about string) {
	if g.version == 2 && allowed == "" && literalName(host) && g.chance("internal addresses", 6) {
		g.line(6, "internal_addresses: true")
	}
	if g.bounded() {
		g.lapse(6, 8)
		if selector == "" {
			g.limit(6, 8)
		}
	}
	inspected := kind != "" && kind != "tcp"
	if !g.bounded() {
		if inspected {
			if e := g.agreed("enforcement "+about, "enforce", "enforce", "audit", ""); e != "" {
				g.line(6, "enforcement: %s", e)
			}
		}
		return
	}
	if !inspected {
		if g.chance("unmatched of the endpoint", 4) {
			g.line(6, "unmatched: %s", g.pick("unmatched", "ask", "deny"))
		}
		return
	}
	effective := g.agreed("enforcement "+about, "enforce", "enforce", "audit", "ask")
	asks := "deny"
	if effective == "ask" {
		asks = "ask"
	}
	inherited := g.unmatched
	if inherited == "" {
		inherited = "deny"
	}
	enforcement, unmatched := true, false
	switch {
	case effective == "audit":
		unmatched = g.chance("unmatched of the endpoint", 4)
	case g.chance("without enforcement", 2):
		enforcement = false
		unmatched = inherited != asks || g.chance("unmatched of the endpoint", 4)
	default:
		unmatched = g.chance("unmatched of the endpoint", 4)
	}
	if enforcement {
		g.line(6, "enforcement: %s", effective)
	}
	if unmatched {
		g.line(6, "unmatched: %s", asks)
	}
}

// literalName: one host by name, and no pattern or address.
func literalName(host string) bool {
	return host != "" && !strings.Contains(host, "*") && !isAddr(host)
}

var (
	repositories = []string{"team/app", "team/app", "team/docs", "team/*", "**", "*/app", "team/{app,docs}", "other/**"}
	refs         = []string{"main", "agent/*", "agent/**", "refs/**", "refs/tags/*", "refs/heads/[am]*", "refs/heads/main", "**"}
	packageNames = []string{"left-pad", "left-pad", "@acme/*", "@acme/app", "**", "*", "left-*", "{left-pad,@acme/app}"}
	versions     = []string{"1.*", "1.2.3", "2.*", "[12].*", "**", "?.2.?"}
	ages         = []string{"1h", "7d", "30d"}
)

// git draws a rule about Git requests.
func (g *gen) git(deny bool) string {
	text := fmt.Sprintf("repository: %q", g.pick("repository", repositories...))
	if !g.chance("push", 2) {
		return "operation: fetch, " + text
	}
	text = "operation: push, " + text
	if !deny || !g.chance("every push", 3) {
		text += ", refs: [" + quoted(rapid.SliceOfNDistinct(rapid.SampledFrom(refs), 1, 2, rapid.ID).Draw(g.t, "refs")) + "]"
	}
	if !deny {
		for _, word := range []string{"force", "delete"} {
			if g.chance(word, 3) {
				text += ", " + word + ": true"
			}
		}
	}
	return text
}

// packages draws a rule about packages.
func (g *gen) packages(deny bool) string {
	text := fmt.Sprintf("package: %q", g.pick("package", packageNames...))
	if g.chance("versions", 2) {
		text += ", versions: [" + quoted(rapid.SliceOfNDistinct(rapid.SampledFrom(versions), 1, 2, rapid.ID).Draw(g.t, "versions")) + "]"
	}
	if deny {
		return text
	}
	if g.chance("min_age", 4) {
		text += ", min_age: " + g.pick("age", ages...)
	}
	if g.chance("publish", 3) {
		text += ", publish: true"
	}
	return text
}
