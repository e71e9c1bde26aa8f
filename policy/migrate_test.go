package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

const old = `# the head
version: 1 # the first
network_policies:
  # about the forge
  forge:
    endpoints:
      - {host: forge.test, port: 443, protocol: REST, tls: terminate, access: read-only}
      - host: "*.forge.test" # all of them
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /**}
          - allow: {method: GET}
      - {host: 192.0.2.7, port: 22}
      - {host: inside.test, port: 22, allowed_ips: [10.0.0.0/8]}
    binaries:
      - {path: "**/git", harness: true}
      - {path: curl}
  nothing:
    endpoints: [{host: a.test, port: 443}]
    binaries: []
`

const migrated = `# the head
version: 2 # the first
network_policies:
  # about the forge
  forge:
    endpoints:
      - {host: forge.test, internal_addresses: true, port: 443, protocol: rest, enforcement: audit, tls: auto, access: read-only}
      - host: "*.forge.test" # all of them
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /**}
      - {host: 192.0.2.7, port: 22}
      - {host: inside.test, port: 22, allowed_ips: [10.0.0.0/8]}
    binaries:
      - {path: "/**/git"}
    ancestors: true
landlock:
  compatibility: best_effort
`

func TestMigrate(t *testing.T) {
	got, notes, err := policy.Migrate("old.yaml", []byte(old))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != migrated {
		t.Errorf("got:\n%s", got)
	}
	var text []string
	for _, n := range notes {
		text = append(text, fmt.Sprintf("%d %s", n.At.Line, n.Text))
	}
	all := strings.Join(text, "\n")
	for _, want := range []string{
		"2 landlock: best_effort is kept", `5 network policy "forge" keeps ancestors: true`, "7 enforcement: audit is kept", "7 internal_addresses: true is kept",
		"14 a rule is left out", `19 the program "curl" is left out`, `20 network policy "nothing" is left out`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no note %q in:\n%s", want, all)
		}
	}
}

// TestMigrateModels: where version 1 lets models be used, version 2 is told to.
func TestMigrateModels(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"{host: API.openai.com, port: 443, protocol: rest, access: full}":                                                     true,
		"{host: a.test, port: 443, protocol: rest, rules: [{allow: {method: POST, path: /v1/messages}}]}":                     true,
		`{host: "*.a.test", port: 443, protocol: rest, rules: [{allow: {method: "*", path: /api/generate}}]}`:                 true,
		"{host: a.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /v1/messages}}]}":                      false,
		"{host: a.test, port: 443, protocol: rest, rules: [{allow: {method: POST, path: /v1/*}}]}":                            false,
		"{host: a.test, port: 443, protocol: rest, access: full}":                                                             false,
		`{host: "*.openai.com", port: 443, protocol: rest, access: full}`:                                                     false,
		"{host: a.test, port: 443, protocol: graphql, path: /v1/messages, access: full}":                                      false,
		"{port: 443, allowed_ips: [10.0.0.0/8], protocol: rest, rules: [{allow: {method: POST, path: /v1/messages}}]}":        true,
		"{host: a.test, ports: [443], protocol: rest, rules: [{allow: {method: post, path: /x/openai/v1/chat/completions}}]}": true,
	} {
		got, _, err := policy.Migrate("p.yaml", []byte("version: 1\nnetwork_policies: {k: {endpoints: ["+endpoint+"], binaries: [{path: /a}]}}\n"))
		if err != nil || strings.Contains(string(got), "models: allow") != want {
			t.Errorf("%s: %v\n%s", endpoint, err, got)
		}
	}
}

func TestMigrateRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"version 2":             {"version: 2\n", "is version 2 already"},
		"a fault":               {"version: 1\nbogus: 1\n", `unknown key "bogus"`},
		"a program by any path": {"version: 1\nnetwork_policies: {k: {endpoints: [{host: a.test, port: 443}], binaries: [{path: \"*/git\"}]}}\n", "version 2 has no words"},
		"rules that are none": {"version: 1\nnetwork_policies: {k: {endpoints: [{host: a.test, port: 443, protocol: rest, rules: [{allow: {method: GET}}]}], binaries: [{path: /a}]}}\n",
			"version 2 has no words"},
	} {
		if _, _, err := policy.Migrate("p.yaml", []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// dice makes connections and requests near what a document is about.
type dice struct {
	*rand.Rand
	doc *policy.Document
}

func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

// fill puts text in place of wildcards, more or less as they ask for it.
func (d dice) fill(glob string) string {
	glob = strings.ReplaceAll(glob, "**", pick(d, "a", "a/b", "", "x.y"))
	return strings.ReplaceAll(glob, "*", pick(d, "a", "b-1", "", "a/b"))
}

func (d dice) connection() policy.Connection {
	c := policy.Connection{Port: 443, KnownCaller: d.IntN(20) > 0, Binary: "/usr/bin/other"}
	c.Host, _ = netname.ParseHost("other.example")
	if len(d.doc.Networks) == 0 {
		return c
	}
	n := pick(d, d.doc.Networks...)
	if len(n.Endpoints) > 0 {
		e := pick(d, n.Endpoints...)
		c.Port = pick(d, e.Ports...)
		if h, err := netname.ParseHost(d.fill(strings.ReplaceAll(e.Host, "**", pick(d, "a", "a.b")))); err == nil {
			c.Host = h
		}
	}
	if d.IntN(10) == 0 {
		c.Port = uint16(d.IntN(1 << 16))
	}
	if len(n.Binaries) > 0 {
		b := d.fill(pick(d, n.Binaries...).Path)
		switch d.IntN(4) {
		case 0:
			c.Ancestors = []string{"/bin/sh", b}
		case 1:
			c.Ancestors = []string{b}
			c.Binary = pick(d, "/usr/bin/python3", b, b+"x")
		default:
			c.Binary = b
		}
	}
	return c
}

func (d dice) request(c policy.Connection) policy.Request {
	r := policy.Request{Connection: c, Method: pick(d, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"), Target: target.Target{Path: "/"}}
	n := pick(d, d.doc.Networks...)
	for _, e := range n.Endpoints {
		for _, rule := range append(e.Allow[:len(e.Allow):len(e.Allow)], e.Deny...) {
			if d.IntN(3) == 0 {
				continue
			}
			if path := d.fill(rule.Path); strings.HasPrefix(path, "/") {
				r.Target.Path = path + pick(d, "", "", "/more")
			}
			if d.IntN(2) == 0 && rule.Method != "*" && rule.Method != "" {
				r.Method = rule.Method
			}
			for _, q := range rule.Query {
				if d.IntN(3) > 0 {
					r.Target.Query = map[string][]string{q.Key: {d.fill(pick(d, q.Any...))}}
				}
			}
			if d.IntN(3) == 0 {
				return r
			}
		}
	}
	return r
}

// Every file of the corpus that loads means in version 2 what it meant.
func TestMigrateCorpus(t *testing.T) {
	data, err := os.ReadFile("testdata/corpus/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest []struct{ File, Kind string }
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	migrated, allowed, denied := 0, 0, 0
	for _, entry := range manifest {
		data, err := os.ReadFile(filepath.Join("testdata/corpus", filepath.FromSlash(entry.File)))
		if err != nil {
			t.Fatal(err)
		}
		if entry.Kind == "preset" {
			data = presetDocument(t, data)
		}
		doc, _, err := policy.Parse(entry.File, data)
		if err != nil {
			continue // TestCorpus says why
		}
		t.Run(entry.File, func(t *testing.T) {
			text, _, err := policy.Migrate(entry.File, data)
			if err != nil {
				t.Fatal(err)
			}
			migrated++
			before, after := engineOf(t, string(data)), engineOf(t, string(text))
			d := dice{rand.New(rand.NewPCG(1, uint64(migrated))), doc}
			for range 3000 {
				c := d.connection()
				x, y := before.Connect(c), after.Connect(c)
				if x.Verdict != y.Verdict || x.Rule.Policy != y.Rule.Policy || x.Inspect != y.Inspect || x.SkipTLS != y.SkipTLS ||
					x.AllowEncodedSlash != y.AllowEncodedSlash || x.Destination.Mode != y.Destination.Mode || len(x.Destination.Allowed) != len(y.Destination.Allowed) {
					t.Fatalf("%+v\nbefore %+v\nafter %+v", c, x, y)
				}
				if x.Verdict != policy.Allow || len(doc.Networks) == 0 {
					denied++
					continue
				}
				allowed++
				r := d.request(c)
				p, q := before.Request(r), after.Request(r)
				if p.Verdict != q.Verdict || p.Audited != q.Audited || p.Rule.Policy != q.Rule.Policy {
					t.Fatalf("%+v\nbefore %+v\nafter %+v", r, p, q)
				}
			}
		})
	}
	t.Logf("%d files, %d connections allowed and %d denied alike", migrated, allowed, denied)
	if migrated == 0 || allowed == 0 || denied == 0 {
		t.Error("nothing was compared")
	}
}

func FuzzMigrate(f *testing.F) {
	f.Add([]byte(old))
	f.Add([]byte("version: 1\nx: &a [*a]\n"))
	f.Add([]byte("version: 1\nnetwork_policies: {a: &n {endpoints: [&e {host: a.test, port: 1, protocol: rest, access: full}, *e], binaries: [{path: /a}]}, b: *n}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _, err := policy.Migrate("fuzz.yaml", data)
		if err != nil {
			return
		}
		if _, _, err := policy.Parse("fuzz.yaml", text); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

// TestMigratedModelHosts: what version 1 reached is accepted where it was written
// out, and told where a pattern takes it.
func TestMigratedModelHosts(t *testing.T) {
	const v1 = `version: 1
network_policies:
  m:
    name: m
    endpoints:
      - {host: api.openai.com, port: 443}
      - {host: "*.anthropic.com", port: 443}
    binaries: [{path: /usr/bin/curl}]
`
	out, notes, err := policy.Migrate("old.yaml", []byte(v1))
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := policy.Parse("new.yaml", out)
	if err != nil {
		t.Fatal(err)
	}
	guarded := doc.GuardedHosts()
	if slices.Contains(guarded, "api.openai.com") || !slices.Contains(guarded, "api.anthropic.com") {
		t.Errorf("guarded: %v", guarded)
	}
	if !slices.ContainsFunc(notes, func(w policy.Warning) bool {
		return strings.Contains(w.Text, `"*.anthropic.com" takes hosts of model services`)
	}) {
		t.Errorf("no note of the pattern: %v", notes)
	}
}

// TestAcceptedModelsOpenNothingElse: what one rule accepts holds for no other.
func TestAcceptedModelsOpenNothingElse(t *testing.T) {
	const accepts = "{host: api.openai.com, port: 443, protocol: tcp, models: allow}"
	for name, x := range map[string]struct {
		other   string
		guarded bool
	}{
		"alone":             {accepts, false},
		"beside a pattern":  {`{host: "*.openai.com", port: 8443, protocol: tcp}`, true},
		"beside the host":   {"{host: api.openai.com, port: 8443, protocol: tcp}", true},
		"beside another":    {"{host: other.test, port: 443, protocol: tcp}", false},
		"beside every host": {"{allowed_ips: [203.0.114.0/24], port: 8443}", true},
	} {
		t.Run(name, func(t *testing.T) {
			doc, _, err := policy.Parse("p.yaml", []byte("version: 2\nnetwork_policies:\n  a:\n    endpoints: ["+accepts+"]\n    binaries: any\n  b:\n    endpoints: ["+x.other+"]\n    binaries: any\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(doc.GuardedHosts(), "api.openai.com"); got != x.guarded {
				t.Errorf("guarded %v", got)
			}
		})
	}
	inspected := "version: 2\nnetwork_policies:\n  a:\n    endpoints: [{host: api.openai.com, port: 443, protocol: rest, access: full, models: allow}]\n    binaries: any\n"
	doc, _, err := policy.Parse("p.yaml", []byte(inspected))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(doc.GuardedHosts(), "api.openai.com") {
		t.Error("a rule that looks into requests lets uninspected connections through")
	}
}
