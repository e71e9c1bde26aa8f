package learn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/learn"
)

func host(t testing.TB, s string) netname.Host {
	t.Helper()
	h, err := netname.ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// get is a denied request of curl.
func get(t testing.TB, name, path string) learn.Call {
	return learn.Call{Host: host(t, name), Port: 443, Binary: "/usr/bin/curl", Known: true, Method: "GET", Path: path, Count: 1}
}

func with(c learn.Call, method string) learn.Call { c.Method = method; return c }

func connection(t testing.TB, name string, port uint16) learn.Call {
	c := get(t, name, "")
	c.Method, c.Port = "", port
	return c
}

// allowed asks the learned policy, compiled anew.
func allowed(t testing.TB, text string, c learn.Call) bool {
	t.Helper()
	doc, _, err := policy.Parse("learned.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	conn := policy.Connection{Host: c.Host, Port: c.Port, Binary: c.Binary, KnownCaller: c.Known}
	if c.Method == "" {
		return e.Connect(conn).Verdict == policy.Allow
	}
	r := policy.Request{Connection: conn, Method: c.Method}
	r.Target.Path = c.Path
	d := e.Request(r)
	return d.Verdict == policy.Allow && !d.Audited
}

func learned(t testing.TB, base string, calls ...learn.Call) learn.Result {
	t.Helper()
	b := learn.Base{Name: "base.yaml"}
	if base != "" {
		b.Text = []byte(base)
	}
	res, err := learn.Learn(b, calls, nil)
	if err != nil {
		t.Fatal(err)
	}
	left := map[learn.Call]bool{}
	for _, l := range res.Left {
		if l.Why == "" {
			t.Errorf("left without a reason: %+v", l)
		}
		left[l.Call] = true
	}
	// What it does not list as left it allows, and the neighbours it does not.
	for _, c := range calls {
		if got := allowed(t, res.Policy, c); got == left[c] {
			t.Errorf("%+v: allowed %t, left %t\n%s", c, got, left[c], res.Policy)
		}
		other := c
		other.Host = host(t, "other.test")
		if allowed(t, res.Policy, other) {
			t.Errorf("another host is allowed by\n%s", res.Policy)
		}
	}
	return res
}

func TestOneRuleForHostAndProgram(t *testing.T) {
	wget := get(t, "a.test", "/x")
	wget.Binary = "/usr/bin/wget"
	ssh := connection(t, "a.test", 22)
	res := learned(t, "", get(t, "a.test", "/x"), get(t, "a.test", "/y"), with(get(t, "a.test", "/x"), "POST"), with(get(t, "a.test", "/y"), "HEAD"), ssh, wget, get(t, "b.test", "/"))
	want := `version: 2
network_policies:
  # Learned from what was denied. REVIEW BEFORE USE: nothing here is trusted by itself, the agent
  # chose what to ask for. Riskiest first; remove what you do not want.
  # risk: high
  #   - requests on it are not inspected: the program can send and read anything there
  #   - writes: POST
  #   - the host was asked for once
  allow_a_test_curl:
    endpoints:
      - host: a.test
        port: 22
      - host: a.test
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /x}
          - allow: {method: GET, path: /y}
          - allow: {method: POST, path: /x}
    binaries:
      - {path: /usr/bin/curl}
  # risk: low
  #   - the host was asked for once
  allow_a_test_wget:
    endpoints:
      - host: a.test
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /x}
    binaries:
      - {path: /usr/bin/wget}
  # risk: low
  #   - the host was asked for once
  allow_b_test_curl:
    endpoints:
      - host: b.test
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /}
    binaries:
      - {path: /usr/bin/curl}
`
	if d := cmp.Diff(want, res.Policy); d != "" {
		t.Error(d)
	}
}

// Paths are widened where ids differ, and nowhere else.
func TestPaths(t *testing.T) {
	uuid := func(c string) string { return strings.Repeat(c, 8) + "-1111-4111-8111-" + strings.Repeat(c, 12) }
	tests := []struct {
		paths []string
		want  string
		not   string // a path that must stay denied; "": none
	}{
		{[]string{"/items/1", "/items/2"}, "/items/*", "/items/1/2"},
		{[]string{"/items/1"}, "/items/1", "/items/2"},
		{[]string{"/items/1", "/items/1/x"}, "/items/1 /items/1/x", "/items/2"},
		{[]string{"/items/1", "/items/2", "/items/all"}, "/items/* /items/all", "/items/1/x"},
		{[]string{"/a", "/b"}, "/a /b", "/c"},
		{[]string{"/v1/x", "/v2/x"}, "/v1/x /v2/x", "/v3/x"},
		{[]string{"/u/1/p/2", "/u/1/p/3"}, "/u/1/p/*", "/u/2/p/3"},
		{[]string{"/u/1/p/2", "/u/2/p/3"}, "/u/*/p/*", "/u/1/p/2/q"},
		{[]string{"/c/" + uuid("a"), "/c/" + uuid("b")}, "/c/*", "/d/" + uuid("a")},
		{[]string{"/c/1a2b3c4d5e", "/c/99aabbccdd"}, "/c/*", "/c"},
		{[]string{"/c/deadbee", "/c/defaced"}, "/c/deadbee /c/defaced", "/c/facade0"},
		{[]string{"/d/2026-11-23", "/d/2026-11-24"}, "/d/*", "/d/2026-11-23/x"},
		{[]string{"/f/1.json", "/f/2.json"}, "/f/1.json /f/2.json", "/f/3.json"},
		{[]string{"/pkg/left-pad2", "/pkg/is-odd3"}, "/pkg/is-odd3 /pkg/left-pad2", "/pkg/x1"},
		{[]string{"/g/a*b", "/g/[x]"}, `/g/\[x\] /g/a\*b`, "/g/aXb"},
		{[]string{"/1/2/3", "/4/2/3"}, "/*/2/3", "/4/2/4"},
	}
	for _, tt := range tests {
		var calls []learn.Call
		for _, p := range tt.paths {
			calls = append(calls, get(t, "a.test", p))
		}
		res := learned(t, "", calls...)
		var got []string
		for _, p := range res.Rules[0].Endpoints[0].Allow {
			got = append(got, p.Path)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v: %v, want %s", tt.paths, got, tt.want)
		}
		for _, c := range []learn.Call{get(t, "a.test", tt.not), with(get(t, "a.test", tt.paths[0]), "PUT")} {
			if allowed(t, res.Policy, c) {
				t.Errorf("%v: %s %s is allowed", tt.paths, c.Method, c.Path)
			}
		}
	}
}

func TestRisk(t *testing.T) {
	python := get(t, "a.test", "/x")
	python.Binary = "/usr/bin/python3.12"
	unknown := get(t, "a.test", "/x")
	unknown.Known = false
	tests := []struct {
		name string
		call learn.Call
		host learn.Host
		risk learn.Risk
		why  string
	}{
		{"read", get(t, "a.test", "/x"), learn.Host{Calls: 5}, learn.Low, ""},
		{"once", get(t, "a.test", "/x"), learn.Host{Calls: 1}, learn.Low, "asked for once"},
		{"writes", with(get(t, "a.test", "/x"), "POST"), learn.Host{Calls: 5}, learn.Medium, "writes: POST"},
		{"writes, once", with(get(t, "a.test", "/x"), "DELETE"), learn.Host{Calls: 1}, learn.High, "writes: DELETE"},
		{"after a read", get(t, "a.test", "/x"), learn.Host{Calls: 5, AfterRead: host(t, "web.test")}, learn.Medium, "could be read from web.test"},
		{"after a read, writes", with(get(t, "a.test", "/x"), "POST"), learn.Host{Calls: 5, AfterRead: host(t, "web.test")}, learn.High, "could be read from web.test"},
		{"uninspected", connection(t, "a.test", 5432), learn.Host{Calls: 5}, learn.High, "not inspected"},
		{"web, no request read", connection(t, "a.test", 443), learn.Host{Calls: 5}, learn.Low, "reading everything"},
		{"unknown caller", unknown, learn.Host{Calls: 5}, learn.High, "any program"},
		{"interpreter", python, learn.Host{Calls: 1}, learn.Medium, "runs any code"},
		{"echo", get(t, "x.webhook.site", "/x"), learn.Host{Calls: 5}, learn.Medium, "hands on"},
		{"rented", get(t, "x.github.io", "/x"), learn.Host{Calls: 1}, learn.Medium, "anybody can have"},
		{"model", get(t, "api.openai.com", "/x"), learn.Host{Calls: 5}, learn.Medium, "model host"},
		{"address", get(t, "192.0.2.7", "/x"), learn.Host{Calls: 5}, learn.Low, "an address"},
		{"secret", get(t, "a.test", "/bot/ghp_abcdefgh"), learn.Host{Calls: 5}, learn.Medium, "may be a secret"},
	}
	for _, tt := range tests {
		res, err := learn.Learn(learn.Base{}, []learn.Call{tt.call}, map[netname.Host]learn.Host{tt.call.Host: tt.host})
		if err != nil || len(res.Rules) != 1 {
			t.Errorf("%s: %+v, %v", tt.name, res, err)
			continue
		}
		r := res.Rules[0]
		if why := strings.Join(r.Reasons, "; "); r.Risk != tt.risk || !strings.Contains(why, tt.why) || (tt.why == "") != (why == "") {
			t.Errorf("%s: %s %q", tt.name, r.Risk, why)
		}
		if !strings.Contains(res.Policy, "# risk: "+tt.risk.String()+"\n") || !strings.Contains(res.Policy, "REVIEW BEFORE USE") {
			t.Errorf("%s:\n%s", tt.name, res.Policy)
		}
	}
}

// A connection of which no request was read: reading, on the web's ports.
func TestConnections(t *testing.T) {
	res := learned(t, "", connection(t, "a.test", 443), connection(t, "b.test", 5432))
	for c, want := range map[learn.Call]bool{
		get(t, "a.test", "/any/thing"):               true,
		with(get(t, "a.test", "/any/thing"), "POST"): false,
	} {
		if allowed(t, res.Policy, c) != want {
			t.Errorf("%s %s: allowed %t\n%s", c.Method, c.Path, !want, res.Policy)
		}
	}
	// A request that was read says more than the connection.
	res = learned(t, "", connection(t, "a.test", 443), get(t, "a.test", "/x"))
	if allowed(t, res.Policy, get(t, "a.test", "/y")) {
		t.Errorf("more than was asked for:\n%s", res.Policy)
	}
}

const base = `# ours
version: 2
network_policies:
  # keep this comment
  api:
    endpoints:
      - {host: a.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /ok}}], deny_rules: [{method: "*", path: /secret}]}
      - {host: db.test, port: 5432, protocol: tcp, allowed_ips: [10.0.0.0/8]}
      - {host: skip.test, port: 443, tls: skip}
    binaries: [/usr/bin/curl]
`

func TestBase(t *testing.T) {
	db := connection(t, "db.test", 5432)
	db.Binary = "/usr/bin/psql"
	skip := get(t, "skip.test", "/")
	skip.Binary = "/usr/bin/wget"
	res := learned(t, base, get(t, "a.test", "/ok"), get(t, "a.test", "/new"), get(t, "a.test", "/secret"), db, skip, get(t, "127.0.0.1", "/"))
	if res.Already != 1 || len(res.Rules) != 2 || len(res.Left) != 3 {
		t.Errorf("%+v", res)
	}
	for _, want := range []string{"# ours\nversion: 2\n", "  # keep this comment\n  api:\n", "protocol: tcp\n        allowed_ips: [\"10.0.0.0/8\"]\n", "allow_a_test_curl:"} {
		if !strings.Contains(res.Policy, want) {
			t.Errorf("%q is not in\n%s", want, res.Policy)
		}
	}
	why := ""
	for _, l := range res.Left {
		why += l.Why + "\n"
	}
	for _, want := range []string{"the deny rule at base.yaml:7:", "never dialled", "fits into the policy"} {
		if !strings.Contains(why, want) {
			t.Errorf("%q is not in %s", want, why)
		}
	}
}

func TestBaseOfVersion1(t *testing.T) {
	unknown := get(t, "a.test", "/x")
	unknown.Binary, unknown.Known = "", false
	res := learned(t, "version: 1\n", get(t, "a.test", "/x"), unknown)
	if len(res.Rules) != 1 || len(res.Left) != 1 || !strings.HasPrefix(res.Policy, "version: 1\n") {
		t.Errorf("%+v", res)
	}
	// A host that others reach with enforcement: audit: what contradicts is told, not widened.
	res = learned(t, "version: 1\nnetwork_policies:\n  a:\n    endpoints: [{host: a.test, port: 443, protocol: rest, access: read-only}]\n    binaries: [{path: /usr/bin/git}]\n", get(t, "a.test", "/x"))
	if len(res.Rules) != 0 || len(res.Left) != 1 || !strings.Contains(res.Left[0].Why, "enforcement") {
		t.Errorf("%+v", res)
	}
	if _, err := learn.Learn(learn.Base{Name: "b", Text: []byte("version: 3\n")}, nil, nil); err == nil {
		t.Error("a faulty base is taken")
	}
}

func TestClaimed(t *testing.T) {
	c := get(t, "model.test", "/v1")
	res, err := learn.Learn(learn.Base{Claims: func(h netname.Host, _ uint16) bool { return h == c.Host }}, []learn.Call{c}, nil)
	if err != nil || len(res.Rules) != 0 || len(res.Left) != 1 {
		t.Errorf("%+v %v", res, err)
	}
}

// Any number of things can be asked for.
func TestBounds(t *testing.T) {
	var calls []learn.Call
	for i := range 300 {
		calls = append(calls, get(t, fmt.Sprintf("h%d.test", i), "/x"))
		calls = append(calls, get(t, "a.test", "/p"+strings.Repeat("x", i)))
	}
	res, err := learn.Learn(learn.Base{}, calls, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rules) != 200 || len(res.Left) != 101+250 && len(res.Left) != 100+250 {
		t.Errorf("%d rules, %d left", len(res.Rules), len(res.Left))
	}
}

// Whatever programs and paths are called, the policy can be read, allows what it
// says, and no name gets out of its quotes.
func FuzzLearn(f *testing.F) {
	f.Add("/usr/bin/curl", "GET", "/a/1", "/a/2", uint16(443))
	f.Add("/tmp/x\n    binaries: any\n#", "POST", "/*/[a]/{b,c}", "/\\x", uint16(80))
	f.Add("/tmp/ü*\x1b", "", "", "", uint16(22))
	f.Fuzz(func(t *testing.T, binary, method, one, two string, port uint16) {
		if port == 0 || !strings.HasPrefix(binary, "/") || method != "" && (!strings.HasPrefix(one, "/") || !strings.HasPrefix(two, "/")) {
			t.Skip()
		}
		call := func(path string) learn.Call {
			return learn.Call{Host: host(t, "a.test"), Port: port, Binary: binary, Known: true, Method: method, Path: path, Count: 1}
		}
		calls := []learn.Call{call(one), call(two)}
		if method == "" {
			calls = []learn.Call{call("")}
		}
		res, err := learn.Learn(learn.Base{}, calls, nil)
		if err != nil {
			t.Fatal(err)
		}
		left := map[learn.Call]bool{}
		for _, l := range res.Left {
			left[l.Call] = true
		}
		for _, c := range calls {
			if got := allowed(t, res.Policy, c); got == left[c] {
				t.Errorf("%+v: allowed %t\n%s", c, got, res.Policy)
			}
			c.Binary = "/usr/bin/another"
			if c.Binary != binary && !strings.Contains(binary, "*") && allowed(t, res.Policy, c) {
				t.Errorf("another program is allowed by\n%s", res.Policy)
			}
		}
	})
}

// Calls that were denied by their message teach no rule of their path, with and
// without a base: each operation is told once.
func TestMessages(t *testing.T) {
	push := func(path, message string) learn.Call {
		c := with(get(t, "git.test", path), "POST")
		c.Message = message
		return c
	}
	calls := []learn.Call{
		push("/app/git-receive-pack", "git push app refs/heads/a: add it"), push("/app.git/git-receive-pack", "git push app refs/heads/a: add it"),
		push("/app/git-receive-pack", "git push app refs/heads/b: add it"), get(t, "git.test", "/readme"),
	}
	from := func(text string) learn.Result {
		b := learn.Base{Name: "base.yaml"}
		if text != "" {
			b.Text = []byte(text)
		}
		res, err := learn.Learn(b, calls, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	const governed = "version: 2\nnetwork_policies:\n  code:\n    endpoints: [{host: git.test, port: 443, path: /app/**, protocol: git, rules: [{allow: {operation: fetch, repository: app}}]}]\n    binaries: any\n"
	for text, unsure := range map[string]bool{"": false, "version: 2\n": false, governed: true} {
		res := from(text)
		if len(res.Left) != 2 || res.Left[0].Call.Count != 2 || strings.Contains(res.Policy, "receive-pack") || strings.Contains(res.Policy, "method: POST") {
			t.Errorf("%+v", res)
		}
		for i, want := range []string{"git push app refs/heads/a: add it", "git push app refs/heads/b: add it"} {
			if why := res.Left[i].Why; !strings.HasPrefix(why, want) || strings.Contains(why, "may have it by now") != unsure {
				t.Errorf("%q", why)
			}
		}
	}
	// What the base lets through by now needs nothing.
	if res := from("version: 2\nnetwork_policies:\n  a:\n    endpoints: [{host: git.test, port: 443}]\n    binaries: any\n"); res.Already != 4 || len(res.Left) != 0 {
		t.Errorf("%+v", res)
	}
}
