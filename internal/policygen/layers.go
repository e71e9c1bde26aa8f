package policygen

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// LayerName is how the layer that extends the i-th one of Layers names it.
func LayerName(i int) string { return fmt.Sprintf("layer%d.yaml", i) }

// Layers draws two or three policies, each of which extends the one before it. A
// lower one restates network policies above, mostly narrower, takes some back,
// and adds its own, now and then under a name that is open (those with an "o").
func Layers(t *rapid.T, of Of) []string {
	of.Version = 2
	g := newGen(t, of)
	var texts []string
	above := map[string]string{} // what was written last under a name
	var order []string
	write := func(key, text string) {
		if _, ok := above[key]; !ok {
			order = append(order, key)
		}
		above[key] = text
		g.line(2, "%s:", key)
		g.out.WriteString(text)
	}
	draw := func(key string) {
		out := g.out.String()
		g.network(key)
		text := g.out.String()[len(out)+len("  "+key+":\n"):]
		g.out.Reset()
		g.out.WriteString(out)
		write(key, text)
	}
	for i := range rapid.IntRange(2, 3).Draw(t, "layers") {
		g.out.Reset()
		g.unmatched = ""
		g.line(0, "version: 2")
		if i == 0 {
			if g.chance("open", 2) {
				g.line(0, "open: [%q]", g.pick("open keys", "network_policies.o*", "network_policies.o*", "network_policies.o9", "network_policies"))
			}
			g.document()
			g.line(0, "network_policies:")
			for n := range rapid.IntRange(1, 4).Draw(t, "networks") {
				draw(fmt.Sprint(g.pick("key", "k", "b", "o"), n))
			}
			texts = append(texts, g.out.String())
			continue
		}
		g.line(0, "extends: [%s]", LayerName(i-1))
		if g.chance("open", 4) {
			g.line(0, "open: %s", g.pick("open keys", "[]", `["network_policies.o9"]`, `["network_policies.o*"]`))
		}
		if !of.Timeless && g.chance("unmatched of the layer", 4) {
			g.unmatched = g.pick("unmatched", "deny", "deny", "ask")
			g.line(0, "unmatched: %s", g.unmatched)
		}
		head := g.out.Len()
		g.line(0, "network_policies:")
		empty := g.out.Len()
		for _, key := range order[:len(order):len(order)] {
			switch {
			case !g.chance("restated", 3):
			case g.chance("taken back", 6):
				write(key, "    endpoints: []\n    binaries: any\n")
			default:
				write(key, g.narrower(above[key]))
			}
		}
		if g.chance("a name of its own", 4) {
			write("n"+fmt.Sprint(i), g.narrower(above[g.pick("like", order...)]))
		}
		if g.chance("an open name", 3) && !slices.Contains(order, "o9") {
			draw("o9")
		}
		text := g.out.String()
		if len(text) == empty {
			text = text[:head]
		}
		texts = append(texts, text)
	}
	return texts
}

// narrower replaces some words of a network policy by ones that allow less, and
// now and then one by a word that allows more, which Parse has to refuse.
func (g *gen) narrower(text string) string {
	if g.chance("wider", 12) {
		text = g.wider(text)
	}
	for _, r := range [][2]string{
		{`"**.a.test"`, `"*.a.test"`}, {`"**.a.test"`, `"api.a.test"`}, {`"*.a.test"`, `"www.a.test"`}, {`"**.api.a.test"`, `"b.api.a.test"`},
		{"ports: [80, 443]", "port: 443"}, {`method: "*"`, `method: "GET"`}, {`method: "GET"`, `method: "HEAD"`}, {`path: "**"`, `path: "/a/b"`}, {`path: "/**"`, `path: "/a"`},
		{"binaries: any", "binaries: [/usr/bin/curl]"}, {`"/usr/**"`, `"/usr/bin/curl"`}, {"    ancestors: true\n", ""}, {"unmatched: ask", "unmatched: deny"},
		{"enforcement: audit", "enforcement: enforce"}, {"enforcement: ask", "enforcement: enforce"}, {"max_uses: 3", "max_uses: 1"}, {"access: full", "access: read-write"},
		{"      internal_addresses: true\n", ""}, {"      allow_encoded_slash: true\n", ""}, {"2027-01-01T00:00:00Z", "2026-06-01T00:00:00Z"},
	} {
		if strings.Contains(text, r[0]) && g.chance("narrower", 4) {
			text = strings.ReplaceAll(text, r[0], r[1])
		}
	}
	if !g.of.Timeless && !strings.Contains(text, "\n    expires_at") && !strings.HasPrefix(text, "    expires_at") && g.chance("an end", 6) {
		text = "    expires_at: " + g.pick("end", ends...) + "\n" + text
	}
	return text
}

func (g *gen) wider(text string) string {
	var can [][2]string
	for _, r := range [][2]string{
		{"2026-06-01T00:00:00Z", "2027-01-01T00:00:00Z"}, {"max_uses: 1", "max_uses: 3"}, {"unmatched: deny", "unmatched: ask"}, {"enforcement: enforce", "enforcement: audit"},
		{"enforcement: enforce", "enforcement: ask"}, {"access: read-only", "access: full"}, {`method: "GET"`, `method: "*"`}, {`"/usr/bin/curl"`, `"/usr/**"`},
		{`"api.a.test"`, `"*.a.test"`}, {"port: 443", "port: 80"},
		{"    endpoints:", "    ancestors: true\n    endpoints:"}, {"    expires_at", "    # expires_at"}, {"    max_uses", "    # max_uses"}, {"protocol: rest", "# protocol: rest"},
	} {
		if strings.Contains(text, r[0]) && !(strings.Contains(r[1], "ancestors") && strings.Contains(text, "ancestors")) {
			can = append(can, r)
		}
	}
	if len(can) == 0 {
		return text
	}
	r := rapid.SampledFrom(can).Draw(g.t, "wider word")
	return strings.Replace(text, r[0], r[1], 1)
}
