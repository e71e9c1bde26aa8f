package analyse_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/glob"
)

const provedPolicy = `
version: 2
network_policies:
  github:
    binaries: [/usr/bin/git]
    endpoints:
      - {host: github.test, port: 443, protocol: rest, access: read-write}
  api:
    binaries: any
    endpoints:
      - {host: api.example.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /v1/**}}], deny_rules: [{method: '*', path: /v1/keys}]}
  raw:
    binaries: [/usr/bin/ssh]
    endpoints:
      - {host: "*.internal.test", port: 22}
`

func TestProve(t *testing.T) {
	doc := parse(t, provedPolicy)
	for text, want := range map[string]string{
		`never: {host: "**.corp"}`:                                                "holds",
		`never: {host: "**.internal.test"}`:                                       "/usr/bin/ssh → a.internal.test:22",
		`never: {host: "**.internal.test", port: 443}`:                            "holds",
		`never: {host: a.b.internal.test}`:                                        "holds",
		`never: {host: api.example.test, path: /v1/keys}`:                         "holds",
		`never: {host: api.example.test, path: "/v1/*"}`:                          "a program that is not known → api.example.test:443 GET /v1/",
		`never: {method: DELETE}`:                                                 "/usr/bin/ssh → a.internal.test:22 DELETE /",
		`never: {method: DELETE, port: 443}`:                                      "holds",
		`never: {binary: /usr/bin/curl, method: POST}`:                            "holds",
		`never: {binary: "/usr/bin/*", method: POST}`:                             "/usr/bin/git → github.test:443 POST /",
		`only: {binary: /usr/bin/git, host: github.test}`:                         "holds",
		`only: {binary: /usr/bin/curl, host: github.test}`:                        "/usr/bin/git → github.test:443",
		`only: {method: GET, host: api.example.test}`:                             "holds", // HEAD is in GET, as in rules
		`only: {path: "/v1/**", host: api.example.test}`:                          "holds",
		`only: {path: "/v1/{a,b}", host: api.example.test}`:                       "a program that is not known → api.example.test:443 GET /v1/",
		`only: {host: "**.test"}`:                                                 "holds",
		`only: {host: "*.test"}`:                                                  "a program that is not known → api.example.test:443",
		`only: {host: "*.internal.test", port: 22, method: GET}`:                  "/usr/bin/ssh → a.internal.test:22 any bytes",
		`always: {host: github.test, port: 443, binary: /usr/bin/git}`:            "holds",
		`always: {host: github.test, port: 443}`:                                  "a program that is not known → github.test:443",
		`always: {host: github.test, binary: /usr/bin/git}`:                       "/usr/bin/git → github.test:9999",
		`always: {host: api.example.test, port: 443, method: GET, path: "/v1/*"}`: "a program that is not known → api.example.test:443 GET /v1/keys",
		`always: {host: api.example.test, port: 443, method: GET, path: /v1/x}`:   "holds",
	} {
		proves(t, doc, text, want)
	}
}

// In version 1 what a program starts may do what the program may.
func TestProveAncestors(t *testing.T) {
	const text = "network_policies:\n  git:\n    binaries: [{path: /usr/bin/git}]\n    endpoints: [{host: github.test, port: 443}]\n"
	list, err := analyse.ParseAssertions("a.yaml", []byte(`[{only: {binary: /usr/bin/git, host: github.test}}]`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := analyse.Prove(parse(t, "version: 1\n"+text), list, time.Time{})
	if err != nil || !got[0].Holds {
		t.Errorf("got %+v, %v", got, err)
	}
}

// proves checks what is said of an assertion: that it holds, or a counterexample.
func proves(t *testing.T, doc *policy.Document, text, want string) {
	t.Helper()
	list, err := analyse.ParseAssertions("a.yaml", []byte("- "+text))
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return
	}
	got, err := analyse.Prove(doc, list, time.Time{})
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return
	}
	have := "holds"
	if !got[0].Holds {
		have = got[0].Counterexample.String()
	}
	if have != want {
		t.Errorf("%s\n got %s\nwant %s", text, have, want)
	}
}

// What an assertion says of the query is what rules say: never as a deny rule, only and
// always as an allow rule.
func TestProveQuery(t *testing.T) {
	doc := parse(t, rest("rules: [{allow: {method: GET, path: /search, query: {draft: 't*'}}}, {allow: {method: GET, path: /all}}], deny_rules: [{method: GET, path: /all, query: {raw: '1'}}]"))
	for text, want := range map[string]string{
		`never: {query: draft=true, path: /search}`:  "/usr/bin/curl → api.test:443 GET /search?draft=true",
		`never: {query: draft=false, path: /search}`: "holds",
		`never: {query: "draft=*", path: /other}`:    "holds",
		`never: {query: raw=1}`:                      "/usr/bin/curl → api.test:443 GET /search?draft=t&raw=1",
		`never: {query: raw=1, path: /all}`:          "holds",
		`never: {query: "raw=*", path: /all}`:        "/usr/bin/curl → api.test:443 GET /all?raw=",
		`always: {binary: /usr/bin/curl, host: api.test, port: 443, method: GET, path: /search, query: "draft=tr*"}`: "holds",
		`always: {binary: /usr/bin/curl, host: api.test, port: 443, method: GET, path: /search, query: "draft=*"}`:   "/usr/bin/curl → api.test:443 GET /search?draft=",
		`always: {binary: /usr/bin/curl, host: api.test, port: 443, method: GET, path: /all, query: "x=*"}`:          "/usr/bin/curl → api.test:443 GET /all?raw=1&x=",
		`only: {host: api.test, query: "draft=t*"}`:                                                                  "/usr/bin/curl → api.test:443 GET /all",
	} {
		proves(t, doc, text, want)
	}
}

func TestParseAssertions(t *testing.T) {
	for text, want := range map[string]string{
		"":                                        "list of assertions; the file is empty",
		"never: {host: a.test}":                   "found a mapping, want a list",
		"[]":                                      "at least one assertion",
		"- never: {}":                             "at least one of host",
		"- {}":                                    "never, only or always",
		"- nevr: {host: a.test}":                  `unknown key "nevr"`,
		"- never: {hots: a.test}":                 `unknown key "hots"`,
		"- {never: {host: a}, only: {host: a}}":   "never and only in one assertion",
		"- never: {host: 10.0.0.0/8}":             "a host name, an address, or a pattern",
		"- never: {port: 0}":                      "a port of 1..65535",
		"- never: {port: '443'}":                  "a port of 1..65535",
		"- never: {binary: curl}":                 "the absolute path of a program",
		"- never: {path: 'v1'}":                   "matches no request",
		"- never: {query: draft}":                 "a key of a query and a glob, like draft=true",
		"- never: {query: 'draft=[a'}":            "a key of a query and a well-formed glob",
		"- never: {query: 'a=b', text: true}":     "text with query",
		"- never: {path: '/[a'}":                  "a well-formed path glob",
		"- never: {method: 'GET,POST'}":           "an HTTP method",
		"- never: {host: a.test, host: b.test}":   `duplicate key "host"`,
		"- never: {host: [a.test]}":               "found a list, want a text",
		"- never: &x {host: a.test}\n- never: *x": "found an alias",
		"- a: b: c":                               "a.yaml:1:1: ",
		"- never: {host: a.test}\n---\n- b":       "a.yaml:2:1: a second document, want one document per file\n  hint: remove",
		"- never:\n\t- a":                         "a.yaml:2:1: found character that cannot start any token\n  hint: YAML is indented with spaces",
		"- never: " + strings.Repeat("[", 40) + strings.Repeat("]", 40): "nested levels",
		"\xff": "not UTF-8",
	} {
		_, err := analyse.ParseAssertions("a.yaml", []byte(text))
		var faults policy.Faults
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseAssertions(f *testing.F) {
	f.Add([]byte("- never: {host: \"**.internal\"}\n- only: {binary: /usr/bin/git, host: github.test}\n"))
	f.Add([]byte("- always: {host: a.test, port: 443, method: GET, path: /v1/**}\n  name: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := analyse.ParseAssertions("a.yaml", data)
		if err != nil {
			return
		}
		for _, a := range list {
			again, err := analyse.ParseAssertions("b.yaml", []byte("- "+string(a.Word)+": {port: 1}"))
			if err != nil || len(again) != 1 {
				t.Fatalf("%+v: %v", a, err)
			}
		}
	})
}

// What is proved holds for random requests, and every counterexample was
// confirmed by the engine.
func TestProveIsExact(t *testing.T) {
	held, broken := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDocument(t)
		a := analyse.Assertion{
			Word:   rapid.SampledFrom([]analyse.Word{analyse.Never, analyse.Only, analyse.Always}).Draw(t, "word"),
			Host:   rapid.SampledFrom([]string{"", "api.a.test", "*.a.test", "**.test", "**", "**.b.**"}).Draw(t, "asserted host"),
			Port:   rapid.SampledFrom([]uint16{0, 443, 80}).Draw(t, "asserted port"),
			Binary: rapid.SampledFrom([]string{"", "/usr/bin/git", "/opt/**"}).Draw(t, "asserted binary"),
			Method: rapid.SampledFrom([]string{"", "GET", "POST"}).Draw(t, "asserted method"),
			Path:   rapid.SampledFrom([]string{"", "/v1/**", "/v1/secret"}).Draw(t, "asserted path"),
		}
		got, err := analyse.Prove(doc, []analyse.Assertion{a}, time.Time{})
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if !got[0].Holds {
			broken++
			return
		}
		held++
		e := compile(t, doc)
		for range 30 {
			w := drawRequest(t)
			if a.Word == analyse.Always && w.Traffic != analyse.HTTP && (w.Traffic != analyse.Connection || a.Method+a.Path != "") {
				continue
			}
			if a.Word == analyse.Always && a.Method+a.Path == "" && w.Traffic == analyse.HTTP {
				continue
			}
			if strings.Contains(w.Path, "%2F") {
				continue // what the connection does not let through at all
			}
			g, err := analyse.Judge(e, w)
			if err != nil {
				t.Fatalf("%v", err)
			}
			in, scope := described(t, a, doc.Version, w)
			let := g != analyse.Denied
			switch {
			case a.Word == analyse.Never && in && let, a.Word == analyse.Always && in && !let, a.Word == analyse.Only && scope && !in && let:
				t.Fatalf("%s is said to hold, and the engine says %s to %s", a, g, w)
			}
		}
	})
	if held < 5 || broken < 5 {
		t.Errorf("%d assertions held, %d did not: one of them is not tested", held, broken)
	}
}

// described is a second reading of what an assertion describes.
func described(t fataler, a analyse.Assertion, version int, w analyse.Witness) (inside, scope bool) {
	h, err := netname.ParseHost(w.Host)
	if err != nil {
		t.Fatalf("%v", err)
	}
	host := a.Host == "" || a.Host == "**" || h.String() == a.Host
	if !host && !h.IsAddr() {
		s, err := netname.ParseSelector(a.Host)
		host = err == nil && s.Match(h)
	}
	place := host && (a.Port == 0 || a.Port == w.Port)
	callers := []string{w.Binary}
	if version == 1 {
		callers = append(callers, w.Ancestors...)
	}
	who := a.Binary == ""
	for _, c := range callers {
		who = who || w.Known && (c == a.Binary || matches(a.Binary, c))
	}
	what := a.Method+a.Path == ""
	if !what && w.Traffic == analyse.HTTP {
		path, _, _ := strings.Cut(w.Path, "?")
		method := strings.ToUpper(w.Method)
		what = (a.Method == "" || a.Method == method || a.Method == "GET" && method == "HEAD") && (a.Path == "" || matches(a.Path, path))
	}
	if !what && w.Traffic == analyse.Connection {
		what = a.Word == analyse.Only // it opens nothing more than its requests
	}
	return place && who && what, a.Binary+a.Method+a.Path == "" || place
}

func matches(pattern, text string) bool {
	g, err := glob.Compile(pattern, '/')
	return err == nil && g.Match(text)
}
