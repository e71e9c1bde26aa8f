package policy

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/target"
)

const ofTools = `version: 2
network_policies:
  tools:
    endpoints:
      - host: mcp.test
        port: 443
        protocol: mcp
        mcp:
          pins:
            search: 00000000000000000000000000000000000000000000000000000000000000aa
            date: any
        rules:
          - allow: {method: tools/call, tool: "read_*", arguments: {path: "/work/**", mode: {any: [r, rb]}}}
          - allow: {method: tools/call, tool: fetch, arguments: {url: "https://docs.test/**"}}
          - allow: {method: tools/call, tool: say, arguments: {text: "**"}}
    binaries: any
`

func mcpRequest(t *testing.T, call jsonrpc.Call) Request {
	t.Helper()
	host, err := netname.ParseHost("mcp.test")
	if err != nil {
		t.Fatal(err)
	}
	to, err := target.Parse("/", false)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Connection: Connection{Host: host, Port: 443}, Method: "POST", Target: to, RPC: &jsonrpc.Request{Calls: []jsonrpc.Call{call}}}
}

// read parses a call with arguments, as they come.
func read(t *testing.T, tool, arguments string) jsonrpc.Call {
	t.Helper()
	r, err := jsonrpc.ParseBody([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`"`+arguments+`}}`), jsonrpc.Options{MCP: true})
	if err != nil {
		t.Fatal(err)
	}
	return r.Calls[0]
}

func TestToolArguments(t *testing.T) {
	e := compiled(t, ofTools)
	for _, c := range []struct {
		tool, arguments string
		allowed         bool
	}{
		{"read_file", `,"arguments":{"path":"/work/a/b","mode":"r"}`, true},
		{"read_file", `,"arguments":{"path":"/work/a","mode":"rb","more":[1,{"x":null}]}`, true},
		{"read_file", `,"arguments":{"path":"/work","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/workshop/a","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/a","mode":"w"}`, false},
		{"read_file", `,"arguments":{"path":"/work/a"}`, false},
		{"read_file", `,"arguments":{"path":["/work/a"],"mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":null,"mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":7,"mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/a","mode":"r","PATH":"/etc/shadow"}`, false},
		{"read_file", `,"arguments":["/work/a","r"]`, false},
		{"read_file", `,"arguments":null`, false},
		{"read_file", ``, false},
		{"read_file", `,"arguments":{"path":"/work/../etc/shadow","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/./a","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/a/..","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/..\\etc","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/%2e%2e/etc","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/%252e%252e%252fetc","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/%25252525252e","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/a\u0000.txt","mode":"r"}`, false},
		{"read_file", `,"arguments":{"path":"/work/100%","mode":"r"}`, true},
		{"read_file", `,"arguments":{"path":"/work/a..b/...","mode":"r"}`, true},
		{"write_file", `,"arguments":{"path":"/work/a","mode":"r"}`, false},
		{"fetch", `,"arguments":{"url":"https://docs.test/a?b=c"}`, true},
		{"fetch", `,"arguments":{"url":"https://docs.test.evil.test/a"}`, false},
		{"fetch", `,"arguments":{"url":"https://docs.test@evil.test/"}`, false},
		{"say", `,"arguments":{"text":"two\nlines"}`, true},
		{"say", `,"arguments":{"text":""}`, true},
	} {
		d := e.Request(mcpRequest(t, read(t, c.tool, c.arguments)))
		if (d.Verdict == Allow) != c.allowed {
			t.Errorf("%s%s: %+v", c.tool, c.arguments, d)
		}
		if !c.allowed && c.tool != "write_file" && d.Reason != reasonArgument {
			t.Errorf("%s%s: %s", c.tool, c.arguments, d.Reason)
		}
	}
	// A list shows what may be called with some arguments.
	if d := e.Request(mcpRequest(t, jsonrpc.Call{Method: "tools/call", Tool: "read_file", Arguments: jsonrpc.AnyArguments()})); d.Verdict != Allow {
		t.Errorf("%+v", d)
	}
	asked := mcpRequest(t, read(t, "read_file", `,"arguments":{"path":"/etc/shadow"}`))
	x := e.Explain(asked.Connection, &asked)
	if len(x.Misses) != 2 || x.Misses[0] != (Miss{"argument mode", "none, or not text", "r, rb"}) || x.Misses[1] != (Miss{"argument path", "/etc/shadow", "/work/**"}) {
		t.Errorf("%+v", x.Misses)
	}
	ep := e.Governing(mcpRequest(t, jsonrpc.Call{}).Connection, "/")
	if pin, ok := ep.PinOf("search"); !ok || !strings.HasSuffix(pin.SHA256, "aa") {
		t.Error(pin, ok)
	}
	if pin, ok := ep.PinOf("date"); !ok || pin.SHA256 != "" {
		t.Error(pin, ok)
	}
	if _, ok := ep.PinOf("other"); ok {
		t.Error("a pin of nothing")
	}
}

func TestToolArgumentFaults(t *testing.T) {
	for old, c := range map[string]struct{ with, want string }{
		`arguments: {path: "/work/**", mode: {any: [r, rb]}}`: {`arguments: {}`, "at least one argument"},
		`tool: fetch, `:                 {``, "arguments without a tool"},
		`{url: "https://docs.test/**"}`: {`{url: ["a"]}`, "want a glob"},
		`{text: "**"}`:                  {`{text: "[a"}`, "rules[2].allow.arguments.text"},
		"date: any":                     {"date: some", "64 hexadecimal digits"},
		"protocol: mcp\n":               {"protocol: json-rpc\n", "mcp on an endpoint of another protocol"},
		"    binaries: any":             {"        deny_rules: [{method: tools/call, tool: say, arguments: {text: a}}]\n    binaries: any", "arguments in a deny rule"},
		"version: 2":                    {"version: 1", "version: 2"},
	} {
		text := strings.Replace(ofTools, old, c.with, 1)
		if text == ofTools {
			t.Fatalf("%q is not there", old)
		}
		if _, _, err := Parse("p.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.with, err, c.want)
		}
	}
}
