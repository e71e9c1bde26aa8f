package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/internal/policygen"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// writer makes policies of few words, so that rules meet.
type writer struct{ *rand.Rand }

func (w writer) pick(list ...string) string { return list[w.IntN(len(list))] }

func (w writer) maybe(n int, text string) string {
	if w.IntN(n) == 0 {
		return text
	}
	return ""
}

func (w writer) endpoint() string {
	host := w.pick("a.zone.test", "b.zone.test", `"*.zone.test"`, `"**.zone.test"`, "x.a.zone.test")
	var b strings.Builder
	fmt.Fprintf(&b, "      - host: %s\n        ports: [%s]\n", host, w.pick("443", "80", "443, 80"))
	b.WriteString(w.maybe(8, "        expires_at: "+w.pick("2029-01-01T00:00:00Z", "2031-01-01T00:00:00Z")+"\n"))
	b.WriteString(w.maybe(8, "        unmatched: ask\n"))
	if w.IntN(4) == 0 {
		return b.String()
	}
	b.WriteString("        protocol: rest\n")
	b.WriteString(w.maybe(4, "        path: "+w.pick("/a/**", "/a/b/**", `"**"`)+"\n"))
	if !strings.Contains(b.String(), "unmatched") {
		b.WriteString(w.maybe(4, "        enforcement: "+w.pick("audit", "ask")+"\n"))
	}
	if w.IntN(3) == 0 {
		b.WriteString("        access: " + w.pick("read-only", "read-write", "full") + "\n")
	} else {
		b.WriteString("        rules:\n")
		for range 1 + w.IntN(2) {
			fmt.Fprintf(&b, "          - allow: {method: %s, path: %s%s}\n", w.pick("GET", "POST", `"*"`, "HEAD"), w.pick("/a/**", "/a/b", `"/**"`, "/a/*", `"**"`), w.maybe(4, ", query: {q: v}"))
		}
	}
	b.WriteString(w.maybe(4, "        deny_rules: [{method: "+w.pick("GET", `"*"`)+", path: "+w.pick("/a/b", "/a/**")+"}]\n"))
	return b.String()
}

func (w writer) networks() string {
	var b strings.Builder
	b.WriteString("network_policies:\n")
	for _, key := range []string{"k1", "k2", "k3"} {
		if w.IntN(3) == 0 {
			continue
		}
		fmt.Fprintf(&b, "  %s:\n    binaries: %s\n", key, w.pick("any", "[/bin/a]", "[/bin/a, /bin/b]", `["/bin/*"]`))
		b.WriteString(w.maybe(8, "    expires_at: 2030-01-01T00:00:00Z\n"))
		b.WriteString(w.maybe(8, "    ancestors: true\n"))
		b.WriteString("    endpoints:\n")
		for range 1 + w.IntN(2) {
			b.WriteString(w.endpoint())
		}
	}
	if b.String() == "network_policies:\n" {
		return "network_policies: {}\n"
	}
	return b.String()
}

// narrower turns some words into tighter ones, so that enough layers are taken.
func (w writer) narrower(text string) string {
	for _, r := range [][2]string{
		{`"**.zone.test"`, "a.zone.test"}, {"443, 80", "443"}, {`method: "*"`, "method: GET"}, {`path: "/**"`, "path: /a/b"}, {"binaries: any", "binaries: [/bin/a]"},
		{"[/bin/a, /bin/b]", "[/bin/b]"}, {"/a/*", "/a/b"}, {"access: full", "access: read-only"}, {"enforcement: audit", "enforcement: enforce"},
		{"    ancestors: true\n", ""}, {"unmatched: ask", "unmatched: deny"}, {"        access: full\n", "        access: read-only\n        path: /a/**\n"},
	} {
		if w.IntN(3) == 0 && !(strings.Contains(r[1], "path: /a/**\n") && strings.Contains(text, "path: /a")) {
			text = strings.ReplaceAll(text, r[0], r[1])
		}
	}
	return text
}

func (w writer) request() policy.Request {
	c := policy.Connection{Port: 443, KnownCaller: true, Binary: w.pick("/bin/a", "/bin/b", "/bin/c"), Now: time.Date(2028+w.IntN(4), 6, 1, 0, 0, 0, 0, time.UTC), Uses: new(policy.Uses)}
	c.Host, _ = netname.ParseHost(w.pick("a.zone.test", "b.zone.test", "x.a.zone.test", "zone.test"))
	if w.IntN(4) == 0 {
		c.Port = 80
	}
	if w.IntN(4) == 0 {
		c.Ancestors = []string{w.pick("/bin/a", "/bin/b")}
	}
	r := policy.Request{Connection: c, Method: w.pick("GET", "HEAD", "POST", "PUT", "DELETE"), Target: target.Target{Path: w.pick("/", "/a/b", "/a/c", "/a/b/c", "/z")}}
	if w.IntN(3) == 0 {
		r.Target.Query = map[string][]string{"q": {w.pick("v", "x")}}
	}
	return r
}

// Where nothing is open, no layer allows what the one above does not, nor lets
// pass uninspected what was inspected.
func TestNoLayerLoosens(t *testing.T) {
	w := writer{rand.New(rand.NewPCG(1, 2))}
	taken, refused, allowed := 0, 0, 0
	for range 1500 {
		networks := w.networks()
		up := "version: 2\n" + w.maybe(4, "unmatched: ask\n") + networks
		lower := w.networks()
		if w.IntN(4) > 0 {
			lower = w.narrower(networks)
		}
		low := below(w.maybe(8, "unmatched: ask\n") + lower)
		top, _, err := policy.Parse("layer0.yaml", []byte(up))
		if err != nil {
			continue // rules that contradict each other
		}
		doc, err := layered(t, up, low)
		if err != nil {
			refused++
			continue
		}
		taken++
		before, err := policy.Compile(top)
		if err != nil {
			t.Fatal(err)
		}
		after, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			r := w.request()
			x, y := before.Connect(r.Connection), after.Connect(r.Connection)
			p, q := before.Request(r), after.Request(r)
			if q.Verdict == policy.Allow {
				allowed++
			}
			looser := func(a, b policy.Verdict) bool {
				return b == policy.Allow && a != policy.Allow || b == policy.Ask && a == policy.Deny
			}
			if looser(x.Verdict, y.Verdict) || looser(p.Verdict, q.Verdict) || y.Verdict == policy.Allow && x.Inspect && !y.Inspect || y.SkipTLS && !x.SkipTLS ||
				q.Audited && p.Verdict == policy.Deny {
				t.Fatalf("%+v\nabove: %v, request %v (%s)\nbelow: %v, request %v (%s)\n%s\n%s", r, x.Verdict, p.Verdict, p.Reason, y.Verdict, q.Verdict, q.Reason, up, low)
			}
		}
	}
	t.Logf("%d layers taken, %d refused, %d requests allowed", taken, refused, allowed)
	if taken < 100 || refused < 100 || allowed < 1000 {
		t.Error("too little was compared")
	}
}

// What time allows later, it allowed before, and no connection that was to be
// inspected ceases to be.
func TestTimeOnlyTakesAway(t *testing.T) {
	w := writer{rand.New(rand.NewPCG(3, 4))}
	changed := 0
	for range 1500 {
		text := "version: 2\n" + w.maybe(4, "unmatched: ask\n") + w.networks()
		doc, _, err := policy.Parse("p.yaml", []byte(text))
		if err != nil {
			continue
		}
		e, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			r := w.request()
			for year := 2028; year < 2032; year++ {
				late := r
				r.Now, late.Now = time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC), time.Date(year+1, 6, 1, 0, 0, 0, 0, time.UTC)
				x, y := e.Connect(r.Connection), e.Connect(late.Connection)
				p, q := e.Request(r), e.Request(late)
				if p.Verdict != q.Verdict {
					changed++
				}
				if y.Verdict == policy.Allow && (x.Verdict != policy.Allow || x.Inspect && !y.Inspect) || q.Verdict == policy.Allow && p.Verdict != policy.Allow {
					t.Fatalf("%+v\nin %d: %v, request %v\na year later: %v, request %v\n%s", r, year, x.Verdict, p.Verdict, y.Verdict, q.Verdict, text)
				}
				if !x.Until.IsZero() && late.Now.Before(x.Until) && p.Verdict != q.Verdict {
					t.Fatalf("the verdict changed before %v", x.Until)
				}
				if x.Verdict == policy.Allow && x.Until.IsZero() && p.Verdict != q.Verdict {
					t.Fatalf("%+v: the verdict changed, and nothing said when\n%s", r, text)
				}
			}
		}
	}
	if changed < 100 {
		t.Errorf("time changed %d verdicts", changed)
	}
}

// The same in all protocols: what is allowed when rules ended or were used up was
// allowed before, and read in the same way.
func TestEndsOnlyTakeAway(t *testing.T) {
	changed := 0
	property := func(t *rapid.T) {
		doc, text, err := policygen.Draw(t, policygen.Of{Version: 2})
		if err != nil {
			t.Skip(err)
		}
		e, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			late := policygen.Question(t, doc)
			if late.Now.IsZero() {
				continue
			}
			early := late
			early.Now, early.Uses = late.Now.AddDate(-5, 0, 0), new(policy.Uses)
			if p := late.Package; p != nil && !p.Published.IsZero() { // of the same age
				before := *p
				before.Published = p.Published.Add(early.Now.Sub(late.Now))
				early.Package = &before
			}
			x, y := e.Request(early), e.Request(late)
			if x.Verdict != y.Verdict {
				changed++
			}
			if y.Verdict == policy.Allow && (x.Verdict != policy.Allow || x.Audited && !y.Audited) {
				t.Fatalf("%s %+v\nearly: %v %s\nlate: %v %s\n%s", late.Host, late, x.Verdict, x.Reason, y.Verdict, y.Reason, text)
			}
			if a, b := e.Governing(early.Connection, early.Target.Path), e.Governing(late.Connection, late.Target.Path); a != nil && b != nil && a.Protocol != b.Protocol {
				t.Fatalf("%s %+v: read as %s, later as %s\n%s", late.Host, late, a.Protocol, b.Protocol, text)
			}
		}
	}
	for range 4 {
		rapid.Check(t, property)
	}
	if changed < 100 {
		t.Errorf("ends changed %d verdicts", changed)
	}
}
