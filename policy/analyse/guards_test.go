package analyse_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

// The set of a policy is what a run lets through: the engine's answer, but for
// connections to model hosts that nobody looks into.
func TestSetIsTheRunAtModelHosts(t *testing.T) {
	hosts := []string{"api.openai.com", "chatgpt.com", "other.openai.com", "models.x.test", "a.models.x.test", "b.x.test"}
	patterns := []string{"api.openai.com", "*.openai.com", "**.x.test", "*.models.x.test", "models.x.test", "b.x.test", "chatgpt.com"}
	counts := map[string]int{}
	property := func(t *rapid.T) {
		d := drawn{t}
		draw := func() *policy.Document {
			doc := &policy.Document{File: "random.yaml", Version: rapid.SampledFrom([]int{1, 2, 2, 2}).Draw(t, "version")}
			for i := range rapid.IntRange(1, 3).Draw(t, "networks") {
				e := policy.Endpoint{Host: d.pick("host", patterns), Ports: []uint16{443}, Protocol: rapid.SampledFrom([]policy.Protocol{policy.L4, policy.L4, policy.TCP, policy.REST}).Draw(t, "protocol"), Enforcement: policy.Enforce}
				if e.Protocol == policy.REST {
					e.Access = "full"
				} else if d.once(3, "skip") {
					e.TLS = policy.TLSSkip
				}
				doc.Networks = append(doc.Networks, policy.Network{Key: fmt.Sprint("n", i), Endpoints: []policy.Endpoint{e}, Binaries: []policy.Binary{{Path: d.pick("binary", []string{"/usr/bin/curl", "/usr/bin/git", "/**"})}}})
			}
			if doc.Version == 2 && d.once(2, "inference") {
				doc.Inference = &policy.Inference{RemoveHosts: d.some("removed", []string{"API.openai.com", "chatgpt.com"}, 2), AddHosts: d.some("added", []string{"models.x.test", "*.models.x.test"}, 2)}
				if d.once(4, "hosts") {
					doc.Inference.Hosts = []string{"b.x.test"}
				}
			}
			return doc
		}
		// run is written a second time, from the text of decision and documentation.
		run := func(doc *policy.Document, w analyse.Witness) analyse.Grant {
			g, err := analyse.Judge(compile(t, doc), w)
			if err != nil {
				t.Fatalf("%v", err)
			}
			h, err := netname.ParseHost(w.Host)
			if err != nil {
				t.Fatalf("%v", err)
			}
			if doc.Version < 2 || compile(t, doc).Connect(policy.Connection{Host: h, Port: w.Port, KnownCaller: true, Binary: w.Binary, Now: now, Uses: new(policy.Uses)}).Inspect {
				return g
			}
			model := policy.ModelHost(h) || w.Host == "chatgpt.com"
			if i := doc.Inference; i != nil {
				if i.Hosts != nil {
					model = slices.Contains(i.Hosts, w.Host)
				}
				model = model || slices.Contains(i.AddHosts, w.Host) || slices.Contains(i.AddHosts, "*.models.x.test") && strings.HasSuffix(w.Host, ".models.x.test")
				model = model && !slices.ContainsFunc(i.RemoveHosts, func(r string) bool { return strings.EqualFold(r, w.Host) })
			}
			if model && g != analyse.Denied {
				counts["guarded"]++
				return analyse.Denied
			}
			return g
		}
		docs := []*policy.Document{draw(), draw()}
		diff, err := analyse.Diff(docs[0], docs[1], now)
		if err != nil {
			t.Fatalf("%v\n%s%s", err, shown(docs[0]), shown(docs[1]))
		}
		if _, err := analyse.ReachOf(docs[0], now); err != nil {
			t.Fatalf("%v", err)
		}
		assertion := analyse.Assertion{Word: analyse.Never, Host: d.pick("never", hosts)}
		proofs, err := analyse.Prove(docs[0], []analyse.Assertion{assertion}, now)
		if err != nil {
			t.Fatalf("%v", err)
		}
		var sets []*analyse.Set
		for _, doc := range docs {
			s, err := analyse.Reachable(doc, now)
			if err != nil || len(s.Unknown()) > 0 {
				t.Fatalf("%v", err)
			}
			sets = append(sets, s)
		}
		for range 20 {
			w := analyse.Witness{Traffic: rapid.SampledFrom([]analyse.Traffic{analyse.Connection, analyse.Bytes, analyse.Opaque, analyse.HTTP}).Draw(t, "traffic"), Host: d.pick("host", hosts), Port: 443, Known: true, Binary: d.pick("binary", []string{"/usr/bin/curl", "/usr/bin/git", "/opt/x"}), Method: "POST", Path: "/"}
			var grants []analyse.Grant
			for i, doc := range docs {
				want := run(doc, w)
				if got := ask(t, sets[i], compile(t, doc), w); got != want {
					t.Fatalf("%s: set says %s, a run %s\n%s%+v", w, got, want, shown(doc), doc.Inference)
				}
				grants = append(grants, want)
				counts[want.String()]++
			}
			if proofs[0].Holds && w.Host == assertion.Host && grants[0] != analyse.Denied {
				t.Fatalf("%s is let through, and never was proved", w)
			}
			if proofs[0].Holds {
				counts["proved"]++
			}
			if grants[0] != grants[1] {
				counts["told apart"]++
				if len(diff.Allowed)+len(diff.Denied) == 0 {
					t.Fatalf("%s: %v, and the difference is empty\n%s%s", w, grants, shown(docs[0]), shown(docs[1]))
				}
			}
		}
	}
	enough(t, counts, 20, []string{"deny", "allow", "guarded", "told apart", "proved"}, func() { rapid.Check(t, property) })
}

// What models are accepted for is compared, in version 1 as it is meant there.
func TestModelsAreCompared(t *testing.T) {
	parse := func(text string) *policy.Document {
		t.Helper()
		doc, _, err := policy.Parse("p.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	two := func(more string) *policy.Document {
		return parse("version: 2\nnetwork_policies: {a: {binaries: any, endpoints: [{host: a.test, port: 443, protocol: rest, access: full" + more + "}]}}\n")
	}
	d, err := analyse.Diff(two(""), two(", models: allow"), now)
	if err != nil || len(d.Allowed)+len(d.Denied)+len(d.Unknown) > 0 || len(d.Sections) != 1 || d.Sections[0].Key != "models of a.test:443 for any program" || d.Sections[0].Is != "allow" {
		t.Errorf("%v %+v", err, d)
	}
	if d, err := analyse.Diff(two(""), two(", models: deny"), now); err != nil || !d.Equal() {
		t.Errorf("%v %+v", err, d)
	}
	one := func(host, path string) *policy.Document {
		return parse("version: 1\nnetwork_policies: {a: {binaries: [{path: /bin/x}], endpoints: [{host: " + host + ", port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: POST, path: " + path + "}}]}]}}\n")
	}
	for _, x := range []struct{ host, path, want string }{
		{"a.test", "/v1/messages", "allow at /v1/messages"}, {"a.test", "/v1/message*", ""}, {"a.test", "/v1/items", ""}, {"api.openai.com", "/x", "allow"},
	} {
		d, err := analyse.Diff(one("b.test", "/y"), one(x.host, x.path), now)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, s := range d.Sections {
			got += s.Is
		}
		if got != x.want {
			t.Errorf("%s %s: %q, want %q", x.host, x.path, got, x.want)
		}
	}
}

// A credential that is bound to a model host, which no policy says, opens connections
// that the guard refuses: reach, diff and prove tell of it.
func TestBoundCredentialsAtModelHosts(t *testing.T) {
	of := func(endpoint string) *policy.Document {
		return parse(t, "version: 2\nnetwork_policies: {a: {binaries: [/usr/bin/curl], endpoints: [{host: "+endpoint+"}]}}\n")
	}
	nothing, plain, skip := of("other.test, port: 443"), of("api.openai.com, port: 443"), of("api.openai.com, port: 443, tls: skip")
	every, some := of("api.openai.com, port: 443, protocol: rest, access: full"), of("api.openai.com, port: 443, protocol: rest, access: read-only")
	r, err := analyse.ReachOf(plain, now)
	if err != nil || len(r.Network) != 1 || r.Network[0].Traffic != analyse.Bound || r.Network[0].Out != analyse.OutBodies || r.Network[0].Uninspected ||
		r.Network[0].Witness.String() != "/usr/bin/curl → api.openai.com:443 a request with a credential that is bound to the host" {
		t.Errorf("%v %+v", err, r)
	}
	if r, err := analyse.ReachOf(skip, now); err != nil || len(r.Network) != 0 {
		t.Errorf("what nobody can look into is reached: %v %+v", err, r)
	}
	for _, x := range []struct {
		a, b            *policy.Document
		allowed, denied string // of api.openai.com
	}{
		{nothing, plain, "http with a bound credential", ""},
		{plain, nothing, "", "http with a bound credential"},
		{plain, every, "http", ""},
		{plain, some, "http", "http with a bound credential"},
		{plain, skip, "", "http with a bound credential"},
		{plain, plain, "", ""},
		{nothing, every, "http", ""},
	} {
		d, err := analyse.Diff(x.a, x.b, now)
		if err != nil {
			t.Fatal(err)
		}
		texts := func(list []analyse.Class) string {
			var out []string
			for _, c := range list {
				if slices.Contains(c.Hosts, "api.openai.com") {
					out = append(out, c.Traffic.String())
				}
			}
			return strings.Join(out, ", ")
		}
		if texts(d.Allowed) != x.allowed || texts(d.Denied) != x.denied {
			t.Errorf("%s%s allowed %q, want %q; denied %q, want %q", shown(x.a), shown(x.b), texts(d.Allowed), x.allowed, texts(d.Denied), x.denied)
		}
	}
	for _, x := range []struct {
		a     analyse.Assertion
		holds bool
	}{
		{analyse.Assertion{Word: analyse.Never, Host: "api.openai.com"}, false},
		{analyse.Assertion{Word: analyse.Never, Host: "api.openai.com", Method: "POST"}, false},
		{analyse.Assertion{Word: analyse.Never, Host: "chatgpt.com"}, true},
		{analyse.Assertion{Word: analyse.Only, Host: "api.openai.com"}, true},
		{analyse.Assertion{Word: analyse.Only, Host: "api.openai.com", Binary: "/usr/bin/curl"}, true},
		{analyse.Assertion{Word: analyse.Only, Host: "api.openai.com", Binary: "/usr/bin/git"}, false},
		{analyse.Assertion{Word: analyse.Only, Host: "api.openai.com", Path: "/v1/**"}, false},
		{analyse.Assertion{Word: analyse.Only, Host: "other.test"}, false},
		{analyse.Assertion{Word: analyse.Always, Host: "api.openai.com", Port: 443, Binary: "/usr/bin/curl"}, false},
	} {
		got, err := analyse.Prove(plain, []analyse.Assertion{x.a}, now)
		if err != nil || got[0].Holds != x.holds {
			t.Errorf("%s: %v %+v", x.a, err, got)
		}
	}
}
