package cli

import (
	"fmt"
	"html"
	"strings"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy/analyse"
)

// escaped is foreign text for a page: no markup, no invisible character.
func escaped(s string) string { return html.EscapeString(audit.Printable(s)) }

const pageHead = `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What the policy opens</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #dde2ea}
code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
td:first-child{min-width:15rem}td:nth-child(2){min-width:9rem}
.anything{color:#b3261e;font-weight:600}.bodies{color:#96570a;font-weight:600}
svg{width:100%;height:auto}svg text{font:12px ui-monospace,monospace;fill:#1c2430}
svg path{fill:none;stroke:#8a97ab;stroke-width:1.2}svg .anything{stroke:#b3261e;stroke-width:2}svg .bodies{stroke:#d08318;stroke-width:1.6}
@media(prefers-color-scheme:dark){body{background:#12161d;color:#dfe5ee}th,td{border-color:#2b3442}svg text{fill:#dfe5ee}.anything{color:#ff8a80}.bodies{color:#ffc46b}}
</style></head><body>
`

// reachPage is one page without scripts and without anything from elsewhere.
func reachPage(r *analyse.Reach) []byte {
	var b strings.Builder
	b.WriteString(pageHead)
	fmt.Fprintf(&b, "<h1>What <code>%s</code> opens</h1>\n", escaped(r.File))
	if len(r.Unknown) > 0 {
		b.WriteString("<p class=\"anything\">This is not all: parts of the policy cannot be told exactly.</p>\n<ul>\n")
		for _, u := range r.Unknown {
			fmt.Fprintf(&b, "<li>%s</li>\n", escaped(u.Error()))
		}
		b.WriteString("</ul>\n")
	}
	reachGraph(&b, r)
	rows := [][]string{}
	for _, a := range r.Network {
		rows = append(rows, []string{placeText(a.Class), listedText(a.Callers, "any program"), carriesText(a), a.Out.String(), strings.Join(a.Policies, ", "), a.Witness.String()})
	}
	pageTable(&b, "Network", []string{"to", "by", "what", "data out", "rules", "for example"}, rows, 3)
	rows = nil
	for _, f := range r.Files {
		rows = append(rows, []string{f.Path, f.Access})
	}
	pageTable(&b, "Files", []string{"path", "access"}, rows, -1)
	rows = nil
	for _, s := range r.Switches {
		rows = append(rows, []string{"system calls", s + " is open"})
	}
	rows = append(rows, modelRows(r.Inference)...)
	rows = append(rows, dnsRows(r.DNS)...)
	for _, l := range r.Limits {
		rows = append(rows, []string{l.Key, l.Is})
	}
	rows = append(rows, []string{"landlock", r.Landlock})
	if !r.Until.IsZero() {
		rows = append(rows, []string{"time", untilText(r)})
	}
	pageTable(&b, "Else", []string{"what", "how"}, rows, -1)
	b.WriteString("</body></html>\n")
	return []byte(b.String())
}

// carriesText is what goes to a place, with what is put into it.
func carriesText(a analyse.Access) string {
	text := trafficText(a.Class)
	if len(a.Credentials) > 0 {
		text += "; carries credentials: " + listedText(a.Credentials, "")
	}
	return text
}

// pageTable writes a table; the cells of column marked get their text as class.
func pageTable(b *strings.Builder, title string, head []string, rows [][]string, marked int) {
	fmt.Fprintf(b, "<h2>%s</h2>\n<table><tr>", escaped(title))
	for _, h := range head {
		fmt.Fprintf(b, "<th>%s</th>", escaped(h))
	}
	b.WriteString("</tr>\n")
	for _, row := range rows {
		b.WriteString("<tr>")
		for i, cell := range row {
			class := ""
			if i == marked {
				class = ` class="` + outClass(cell) + `"`
			}
			fmt.Fprintf(b, "<td%s><code>%s</code></td>", class, escaped(cell))
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table>\n")
}

// outClass is the style of a way out.
func outClass(out string) string {
	switch out {
	case analyse.OutBytes.String():
		return "anything"
	case analyse.OutBodies.String():
		return "bodies"
	}
	return "plain"
}

// A graph of more nodes is no picture any more.
const maxNodes = 150

// reachGraph draws programs on the left, hosts on the right, and a line for
// every way between them, by how much can leave through it.
func reachGraph(b *strings.Builder, r *analyse.Reach) {
	type edge struct{ from, to int }
	programs, places := map[string]int{}, map[string]int{}
	var left, right []string
	node := func(m map[string]int, list *[]string, name string) int {
		i, ok := m[name]
		if !ok {
			i = len(*list)
			m[name] = i
			*list = append(*list, name)
		}
		return i
	}
	widest := map[edge]analyse.Out{}
	var order []edge
	for _, a := range r.Network {
		for _, p := range a.Callers {
			for _, h := range a.Hosts {
				e := edge{node(programs, &left, p), node(places, &right, atPort(h, a.Ports))}
				if _, ok := widest[e]; !ok {
					order = append(order, e)
				}
				widest[e] = max(widest[e], a.Out)
			}
		}
	}
	if len(order) == 0 {
		return
	}
	const rowHeight, width, textAt = 22, 1000, 340
	rows := max(min(len(left), maxNodes), min(len(right), maxNodes))
	y := func(i, n int) int { return rowHeight/2 + (2*i+1)*rows*rowHeight/(2*min(n, maxNodes)) - rowHeight/2 }
	fmt.Fprintf(b, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"programs and the hosts that they reach\">\n", width, rows*rowHeight+rowHeight)
	for _, e := range order {
		if e.from >= maxNodes || e.to >= maxNodes {
			continue
		}
		y1, y2 := y(e.from, len(left)), y(e.to, len(right))
		fmt.Fprintf(b, "<path class=\"%s\" d=\"M%d %d C%d %d %d %d %d %d\"><title>%s → %s: %s</title></path>\n", outClass(widest[e].String()),
			textAt, y1, width/2, y1, width/2, y2, width-textAt, y2, escaped(left[e.from]), escaped(right[e.to]), escaped(widest[e].String()))
	}
	for i, name := range left[:min(len(left), maxNodes)] {
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", textAt-6, y(i, len(left))+4, escaped(shortened(name)))
	}
	for i, name := range right[:min(len(right), maxNodes)] {
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\">%s</text>\n", width-textAt+6, y(i, len(right))+4, escaped(shortened(name)))
	}
	b.WriteString("</svg>\n")
	b.WriteString("<p>What can leave: <span class=\"anything\">anything</span>, as nobody looks inside; <span class=\"bodies\">bodies</span> of requests; else no more than paths and queries.</p>\n")
	if len(left) > maxNodes || len(right) > maxNodes {
		fmt.Fprintf(b, "<p>The graph shows %d programs and hosts at most; the table has all of them.</p>\n", maxNodes)
	}
}

// shortened keeps a label inside its column.
func shortened(s string) string {
	const most = 44
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}
