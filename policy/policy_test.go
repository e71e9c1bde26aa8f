package policy_test

import (
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/target"
)

// parse is for documents that have to be right.
func parse(t testing.TB, text string) *policy.Document {
	t.Helper()
	doc, _, err := policy.Parse("creel.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse:\n%v\n%s", err, text)
	}
	return doc
}

func compile(t testing.TB, text string, opts ...policy.Option) *policy.Engine {
	t.Helper()
	e, err := policy.Compile(parse(t, text), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func host(t testing.TB, s string) netname.Host {
	t.Helper()
	h, err := netname.ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func curl(t testing.TB, name string, port uint16) policy.Connection {
	t.Helper()
	return policy.Connection{Host: host(t, name), Port: port, Binary: "/usr/bin/curl", KnownCaller: true}
}

func request(c policy.Connection, method, path string) policy.Request {
	return policy.Request{Connection: c, Method: method, Target: target.Target{Path: path}}
}

func TestDefault(t *testing.T) {
	doc, warns, err := policy.Parse("default", []byte(policy.Default()))
	if err != nil {
		t.Fatal(err)
	}
	if len(warns) > 0 {
		t.Errorf("warnings in the built-in policy:\n%v", warns)
	}
	if doc.Version != 2 || !doc.Filesystem.IncludeWorkdir || doc.Landlock.Compatibility != policy.HardRequirement || doc.Inference != nil {
		t.Errorf("unexpected document: %+v", doc)
	}
	if got := doc.Filesystem.ReadWrite; len(got) != 1 || got[0].Path != "/tmp" {
		t.Errorf("read_write: %+v", got)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Connect(curl(t, "example.com", 443)); d.Verdict != policy.Deny {
		t.Errorf("the built-in policy allows a connection: %+v", d)
	}
}

func TestZeroDenies(t *testing.T) {
	var zero policy.Engine
	for name, d := range map[string]policy.Decision{
		"connect":        zero.Connect(curl(t, "example.com", 443)).Decision,
		"connect, nil":   (*policy.Engine)(nil).Connect(curl(t, "example.com", 443)).Decision,
		"request":        zero.Request(request(curl(t, "example.com", 443), "GET", "/")),
		"no host":        compile(t, permissive).Connect(policy.Connection{Port: 443, Binary: "/usr/bin/curl", KnownCaller: true}).Decision,
		"no port":        compile(t, permissive).Connect(curl(t, "a.test", 0)).Decision,
		"no method":      compile(t, permissive).Request(request(curl(t, "a.test", 80), "", "/")),
		"no path":        compile(t, permissive).Request(request(curl(t, "a.test", 80), "GET", "")),
		"asterisk":       compile(t, permissive).Request(request(curl(t, "a.test", 80), "OPTIONS", "*")),
		"synthetic":      compile(t, permissive).Connect(curl(t, netname.SandboxV4.String(), 443)).Decision,
		"unknown caller": compile(t, named).Connect(policy.Connection{Host: host(t, "a.test"), Port: 443, Binary: "/usr/bin/curl"}).Decision,
	} {
		if d.Verdict != policy.Deny || d.Reason == "" || d.Audited {
			t.Errorf("%s: %+v", name, d)
		}
	}
	// What the denials above would be allowed for if they were complete.
	if d := compile(t, permissive).Request(request(curl(t, "a.test", 80), "GET", "/")); d.Verdict != policy.Allow {
		t.Errorf("permissive: %+v", d)
	}
	if d := compile(t, named).Connect(curl(t, "a.test", 443)); d.Verdict != policy.Allow {
		t.Errorf("named: %+v", d)
	}
}

const permissive = `
version: 2
network_policies:
  all:
    endpoints:
      - {host: a.test, port: 80, protocol: rest, access: full}
      - {ports: [443], allowed_ips: [16.0.0.0/4]}
    binaries: any
`

const named = `
version: 2
network_policies:
  one:
    endpoints: [{host: a.test, port: 443}]
    binaries: [{path: /usr/bin/curl}, /usr/bin/git]
`

func TestCallers(t *testing.T) {
	version1 := `
version: 1
network_policies:
  one:
    endpoints: [{host: a.test, port: 443}]
    binaries: [{path: /usr/bin/claude}, {path: "/opt/tools/**"}]
`
	version2 := `
version: 2
network_policies:
  one:
    endpoints: [{host: a.test, port: 443}]
    binaries: [{path: /usr/bin/claude}, {path: "/opt/tools/**"}]
`
	resolve := policy.ResolveBinaries(func(p string) string {
		if p == "/usr/bin/claude" {
			return "/usr/lib/claude/bin/claude.exe"
		}
		return ""
	})
	for _, c := range []struct {
		name      string
		binary    string
		ancestors []string
		unknown   bool
		v1, v2    bool
	}{
		{name: "itself", binary: "/usr/bin/claude", v1: true, v2: true},
		{name: "glob", binary: "/opt/tools/a/b", v1: true, v2: true},
		{name: "glob with dots", binary: "/opt/tools/../../home/x", v1: false, v2: false},
		{name: "glob with double slash", binary: "/opt/tools//x", v1: false, v2: false},
		{name: "link target", binary: "/usr/lib/claude/bin/claude.exe", v1: true, v2: true},
		{name: "child", binary: "/usr/bin/curl", ancestors: []string{"/bin/bash", "/usr/bin/claude"}, v1: true, v2: false},
		{name: "other", binary: "/usr/bin/curl", v1: false, v2: false},
		{name: "unknown", binary: "/usr/bin/claude", unknown: true, v1: false, v2: false},
		{name: "empty", binary: "", v1: false, v2: false},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := policy.Connection{Host: host(t, "a.test"), Port: 443, Binary: c.binary, Ancestors: c.ancestors, KnownCaller: !c.unknown}
			for _, v := range []struct {
				text string
				want bool
			}{{version1, c.v1}, {version2, c.v2}} {
				d := compile(t, v.text, resolve).Connect(conn)
				if (d.Verdict == policy.Allow) != v.want {
					t.Errorf("got %+v, want allowed %v by%s", d, v.want, v.text)
				}
			}
		})
	}
}

func TestConnectDecision(t *testing.T) {
	text := `
network_policies:
  b_rest:
    endpoints:
      - {host: both.test, port: 443, protocol: rest, enforcement: enforce, access: read-only, allow_encoded_slash: true}
    binaries: [{path: /usr/bin/curl}]
  a_plain:
    endpoints:
      - {host: both.test, port: 443}
      - {host: opaque.test, port: 993, tls: skip}
      - {host: 203.0.113.7, port: 443}
      - {host: "*.wild.test", port: 443}
      - {host: inner.test, port: 443, allowed_ips: [10.0.0.0/8]}
    binaries: [{path: /usr/bin/curl}]
`
	for _, c := range []struct {
		host          string
		port          uint16
		policy        string
		inspect, skip bool
		slash         bool
		mode1, mode2  netname.DestinationMode
	}{
		{"both.test", 443, "a_plain", true, false, true, netname.DeclaredHost, netname.DefaultMode},
		{"opaque.test", 993, "a_plain", false, true, false, netname.DeclaredHost, netname.DefaultMode},
		{"203.0.113.7", 443, "a_plain", false, false, false, netname.LiteralIP, netname.LiteralIP},
		{"x.wild.test", 443, "a_plain", false, false, false, netname.DefaultMode, netname.DefaultMode},
		{"inner.test", 443, "a_plain", false, false, false, netname.AllowedIPs, netname.AllowedIPs},
	} {
		for version, mode := range map[string]netname.DestinationMode{"version: 1": c.mode1, "version: 2": c.mode2} {
			d := compile(t, version+text).Connect(curl(t, c.host, c.port))
			if d.Verdict != policy.Allow || d.Rule.Policy != c.policy || d.Rule.At.Line == 0 ||
				d.Inspect != c.inspect || d.SkipTLS != c.skip || d.AllowEncodedSlash != c.slash || d.Destination.Mode != mode {
				t.Errorf("%s %s: %+v", version, c.host, d)
			}
		}
	}
	// The plain endpoint beside an inspected one allows no request.
	e := compile(t, "version: 1"+text)
	if d := e.Request(request(curl(t, "both.test", 443), "DELETE", "/x")); d.Verdict != policy.Deny {
		t.Errorf("plain endpoint allowed a request: %+v", d)
	}
	if d := e.Request(request(curl(t, "both.test", 443), "GET", "/x")); d.Verdict != policy.Allow || d.Rule.Policy != "b_rest" {
		t.Errorf("inspected endpoint: %+v", d)
	}
}

// An endpoint of "/v1/**" governs "/v1" and allows nothing there: version 1
// says so, and a broader endpoint must not open what it closes.
func TestSelectorAndBarePrefix(t *testing.T) {
	const text = `
version: 2
network_policies:
  k:
    endpoints:
      - {host: a.test, port: 80, protocol: rest, path: "/v1/**", access: full, deny_rules: [{method: PUT, path: "**"}]}
      - {host: a.test, port: 81, protocol: graphql, path: "/v1/**", access: full}
      - {host: a.test, port: 81, protocol: rest, access: full}
      - {host: a.test, port: 82, protocol: graphql, path: "/v1/**", access: full}
      - {host: a.test, port: 82, protocol: graphql, path: /v1, access: read-only}
      - {host: a.test, port: 83, protocol: mcp, path: "/v1/**", mcp: {allow_all_known_mcp_methods: true}}
      - {host: a.test, port: 84, protocol: rest, path: "/v1/**", access: full}
      - {host: a.test, port: 84, protocol: rest, access: read-only}
    binaries: any
`
	e := compile(t, text)
	query, mutation := ops(graphql.Operation{Type: "query", Fields: []string{"a"}}), ops(graphql.Operation{Type: "mutation", Fields: []string{"a"}})
	for _, c := range []struct {
		port         uint16
		method, path string
		graphql      *graphql.Request
		rpc          *jsonrpc.Request
		want         policy.Verdict
	}{
		{80, "GET", "/v1", nil, nil, policy.Deny},
		{80, "GET", "/v1/", nil, nil, policy.Allow},
		{80, "GET", "/v1/a/b", nil, nil, policy.Allow},
		{80, "GET", "/v10", nil, nil, policy.Deny},
		{80, "GET", "/", nil, nil, policy.Deny},
		{81, "POST", "/v1", query, nil, policy.Deny},
		{81, "POST", "/v1/", query, nil, policy.Allow},
		{81, "POST", "/v2", nil, nil, policy.Allow},
		{82, "POST", "/v1", query, nil, policy.Allow},
		{82, "POST", "/v1", mutation, nil, policy.Deny},
		{82, "POST", "/v1/x", mutation, nil, policy.Allow},
		{83, "POST", "/v1", nil, rpcCalls(jsonrpc.Call{Method: "initialize"}), policy.Deny},
		{83, "POST", "/v1", nil, &jsonrpc.Request{Response: true}, policy.Deny},
		{83, "GET", "/v1", nil, &jsonrpc.Request{ReceiveStream: true}, policy.Deny},
		{83, "GET", "/v1/", nil, &jsonrpc.Request{ReceiveStream: true}, policy.Allow},
		{84, "GET", "/v1", nil, nil, policy.Allow},
		{84, "POST", "/v1", nil, nil, policy.Deny},
	} {
		r := request(curl(t, "a.test", c.port), c.method, c.path)
		r.GraphQL, r.RPC = c.graphql, c.rpc
		d, x := e.Request(r), e.Explain(r.Connection, &r)
		if d.Verdict != c.want || x.Verdict != c.want {
			t.Errorf("%d %s %s: %+v", c.port, c.method, c.path, d)
		}
		if c.path == "/v1" && c.want == policy.Deny && c.port != 82 && (len(x.Misses) == 0 || x.Misses[0].What != "endpoint path") && c.port != 84 {
			t.Errorf("%d %s: %+v", c.port, c.path, x.Misses)
		}
	}
}
