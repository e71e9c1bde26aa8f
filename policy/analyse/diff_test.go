package analyse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

// An empty difference means that no random request tells the two apart; and one
// that is not has witnesses, which Diff has confirmed.
func TestDiffIsExact(t *testing.T) {
	equal, different := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		a := drawDocument(t)
		b := mutate(t, a)
		d, err := analyse.Diff(a, b, time.Time{})
		if err != nil {
			t.Fatalf("%v", err)
		}
		x, y := compile(t, a), compile(t, b)
		told := len(d.Allowed)+len(d.Denied)+len(d.Recorded) > 0
		for range 30 {
			w := drawRequest(t)
			was, err1 := analyse.Judge(x, w)
			is, err2 := analyse.Judge(y, w)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatalf("%v", err)
			}
			if was != is && !told {
				t.Fatalf("%s: %s, then %s, and the difference is empty", w, was, is)
			}
		}
		back, err := analyse.Diff(b, a, time.Time{})
		if err != nil || len(back.Allowed) != len(d.Denied) && (len(back.Allowed) == 0 || len(d.Denied) == 0) {
			t.Fatalf("the difference backwards: %v %v %v", d, back, err)
		}
		if told {
			different++
		} else {
			equal++
		}
	})
	if equal < 5 || different < 5 {
		t.Errorf("%d pairs were equal and %d different: one of them is not tested", equal, different)
	}
}

// mutate changes a document, or writes the same in another way.
func mutate(t *rapid.T, doc *policy.Document) *policy.Document {
	c := *doc
	c.Networks = nil
	for _, n := range doc.Networks {
		m := n
		m.Endpoints = nil
		for _, e := range n.Endpoints {
			switch rapid.IntRange(0, 11).Draw(t, "change") {
			case 0:
				continue
			case 1:
				e.Enforcement = 1 - e.Enforcement
			case 2:
				e.Allow = append(append([]policy.RequestRule{}, e.Allow...), drawRule(t, "more"))
			case 3:
				e.Deny = append(append([]policy.RequestRule{}, e.Deny...), drawRule(t, "deny more"))
			case 4:
				if e.Protocol == policy.REST && e.Access == "read-only" {
					e.Access = ""
					e.Allow = append([]policy.RequestRule{{Method: "GET", Path: "**"}, {Method: "OPTIONS", Path: "/**"}}, e.Allow...)
				}
			case 5:
				e = drawEndpoint(t)
			case 6:
				m.Endpoints = append(m.Endpoints, e)
			}
			m.Endpoints = append(m.Endpoints, e)
		}
		if rapid.IntRange(0, 9).Draw(t, "binaries") == 0 && len(m.Binaries) > 0 {
			m.Binaries = m.Binaries[1:]
		}
		c.Networks = append(c.Networks, m)
	}
	return &c
}

func parse(t testing.TB, text string) *policy.Document {
	t.Helper()
	doc, _, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// rest is a version 2 policy with one inspected endpoint.
func rest(rules string) string {
	return "version: 2\nnetwork_policies:\n  api:\n    binaries: [/usr/bin/curl]\n    endpoints:\n      - {host: api.test, port: 443, protocol: rest, " + rules + "}\n"
}

func TestDiff(t *testing.T) {
	const get = "rules: [{allow: {method: GET, path: /v1/**}}]"
	for _, c := range []struct {
		name, a, b string
		want       []string // per class: direction and witness
	}{
		{"equal", rest(get), rest(get), nil},
		{"renamed, reordered", rest(get), strings.Replace(rest(get), "  api:", "  zzz:\n    name: other", 1), nil},
		{"the same in other words", rest("access: read-only"),
			rest("rules: [{allow: {method: GET, path: '**'}}, {allow: {method: OPTIONS, path: '/**'}}]"), nil},
		{"HEAD is in GET", rest(get), rest("rules: [{allow: {method: GET, path: /v1/**}}, {allow: {method: HEAD, path: /v1/**}}]"), nil},
		{"alternatives", rest("rules: [{allow: {method: GET, path: '/{a,b}'}}]"),
			rest("rules: [{allow: {method: GET, path: /a}}, {allow: {method: GET, path: /b}}]"), nil},
		{"a deny that never matters", rest(get), rest(get + ", deny_rules: [{method: POST, path: /v1/**}]"), nil},
		{"a deny", rest(get), rest(get + ", deny_rules: [{method: '*', path: /v1/keys}]"),
			[]string{"- [api.test] [443] [/usr/bin/curl] [GET HEAD] [/v1/keys] []: /usr/bin/curl → api.test:443 GET /v1/keys"}},
		{"wider", rest(get), rest("rules: [{allow: {method: GET, path: /**}}]"),
			[]string{"+ [api.test] [443] [/usr/bin/curl] [GET HEAD] [/** but not /v1/**] []: /usr/bin/curl → api.test:443 GET /"}},
		{"not inspected", rest("access: full"), strings.Replace(rest(""), ", protocol: rest, ", "", 1),
			[]string{"+ [api.test] [443] [/usr/bin/curl] [] [] []: /usr/bin/curl → api.test:443 any bytes"}},
		{"audit", rest("access: full, enforcement: enforce"), rest("access: full, enforcement: audit"), nil},
		{"audit lets through", rest(get), rest(get + ", enforcement: audit"),
			[]string{
				"+ [api.test] [443] [/usr/bin/curl] [] [** but not /v1/**] []: /usr/bin/curl → api.test:443 GET /",
				"+ [api.test] [443] [/usr/bin/curl] [every method but GET, HEAD] [/v1/**] []: /usr/bin/curl → api.test:443 POST /v1/",
			}},
		{"query", rest("rules: [{allow: {method: GET, path: /v1, query: {draft: 't*'}}}]"), rest("rules: [{allow: {method: GET, path: /v1, query: {draft: 'tr*'}}}]"),
			[]string{"- [api.test] [443] [/usr/bin/curl] [GET HEAD] [/v1] [every value of draft is t*, no value of draft is tr* every value of draft is t*, some value of draft is tr*]: /usr/bin/curl → api.test:443 GET /v1?draft=t"}},
		{"another program", rest(get), strings.Replace(rest(get), "[/usr/bin/curl]", "[/usr/bin/curl, /usr/bin/wget]", 1),
			[]string{"+ [api.test] [443] [/usr/bin/wget] [GET HEAD] [/v1/**] []: /usr/bin/wget → api.test:443 GET /v1/"}},
		{"a wildcard", rest(get), strings.Replace(rest(get), "host: api.test", "host: '*.api.test'", 1), []string{
			"+ [*.api.test] [443] [/usr/bin/curl] [GET HEAD] [/v1/**] []: /usr/bin/curl → a.api.test:443 GET /v1/",
			"- [api.test] [443] [/usr/bin/curl] [GET HEAD] [/v1/**] []: /usr/bin/curl → api.test:443 GET /v1/",
		}},
		{"addresses", rest(get), rest(get + ", allowed_ips: [10.0.0.0/8]"), []string{
			"+ [api.test] [443] [/usr/bin/curl] [] [] []: /usr/bin/curl → api.test:443 at address 10.255.255.255",
			"- [api.test] [443] [/usr/bin/curl] [] [] []: /usr/bin/curl → api.test:443 at address 128.0.0.0",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := analyse.Diff(parse(t, c.a), parse(t, c.b), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, part := range []struct {
				sign string
				list []analyse.Class
			}{{"+", d.Allowed}, {"-", d.Denied}, {"~", d.Recorded}} {
				for _, k := range part.list {
					got = append(got, strings.Join([]string{part.sign, show(k.Hosts), show(k.Ports), show(k.Callers), show(k.Methods), show(k.Paths), show(k.Query)}, " ")+": "+k.Witness.String())
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if d.Equal() != (len(c.want) == 0) {
				t.Errorf("equal: %v, %+v", d.Equal(), d)
			}
		})
	}
}

func show(v any) string { return fmt.Sprint(v) }
