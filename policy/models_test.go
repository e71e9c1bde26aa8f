package policy

import (
	"fmt"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/target"
)

func TestModelShape(t *testing.T) {
	const none = "-" // a model call that no route serves
	for path, want := range map[string]string{
		// OpenAI, and who speaks its protocol
		"/v1/chat/completions":                     "/v1/chat/completions",
		"/V1/Chat/Completions/":                    "/v1/chat/completions",
		"/chat/completions":                        "/v1/chat/completions",
		"/api/openai/v1/chat/completions":          "/v1/chat/completions",
		"/api/paas/v4/chat/completions":            "/v1/chat/completions",
		"/x/%63hat/./completions":                  "/v1/chat/completions",
		"/v1//chat//completions":                   "/v1/chat/completions",
		"/v1/chat/completions;jsessionid=1":        "/v1/chat/completions",
		"/v1%2Fchat%2fcompletions":                 "/v1/chat/completions",
		"/openai/deployments/gpt/chat/completions": "/v1/chat/completions",
		"/openai/deployments/gpt/embeddings":       "/v1/embeddings",
		"/v1/completions":                          "/v1/completions",
		"/v1/fim/completions":                      none,
		"/v1/responses":                            "/v1/responses",
		"/openai/responses":                        "/v1/responses",
		"/v1/embeddings":                           "/v1/embeddings",
		// Anthropic
		"/v1/messages":              "/v1/messages",
		"/proxy/v1/messages":        "/v1/messages",
		"/v1/messages/count_tokens": "/v1/messages/count_tokens",
		"/v1/messages/batches":      none,
		// Gemini and Vertex
		"/v1beta/models/gemini-2.5-pro:generateContent":                                "/v1beta/models/gemini-2.5-pro:generateContent",
		"/v1/projects/p/locations/l/publishers/google/models/x:streamGenerateContent":  "/v1beta/models/x:streamGenerateContent",
		"/v1/projects/p/locations/l/publishers/anthropic/models/x:streamRawPredict":    none,
		"/v1internal:streamGenerateContent":                                            none,
		"/v1beta/models/x%3AgenerateContent":                                           "/v1beta/models/x:generateContent",
		"/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent": none,
		// Ollama, Bedrock
		"/api/chat":                                  none,
		"/api/generate":                              none,
		"/api/embed":                                 none,
		"/api/embeddings":                            "/v1/embeddings",
		"/model/anthropic.claude-v2%3A1/invoke":      none,
		"/model/x/converse-stream":                   none,
		"/proxy/model/x/invoke-with-response-stream": none,
		// Others are none.
		"/":                                  "",
		"/completions":                       "",
		"/chat":                              "",
		"/v1/chat":                           "",
		"/v1/chat/completions/x":             "",
		"/surveys/1/responses":               "",
		"/channels/1/messages":               "",
		"/vx/messages":                       "",
		"/v1x/messages":                      "",
		"/v/messages":                        "",
		"/v1/projects/p/messages:send":       "",
		"/model/invoke":                      "",
		"/models/x:predict":                  "",
		"/v1/chat/completionsx":              "",
		"/xchat/completions":                 "",
		"/v1/models":                         "",
		"/repos/o/r/deployments/1/responses": "",
	} {
		parsed, err := target.Parse(path, true)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		call, ok := ModelShape("POST", parsed.Path, false)
		got := call.Served
		if !ok {
			got = ""
		} else if got == "" {
			got = none
		}
		if got != want {
			t.Errorf("%s (%s): %q, want %q", path, parsed.Path, got, want)
		}
		if _, ok := ModelShape("GET", parsed.Path, false); ok {
			t.Errorf("GET %s is a model call", path)
		}
	}
	for path, want := range map[string]bool{"/v1/realtime": true, "/v1/responses": true, "/realtime": false, "/v1/messages": false,
		"/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent": true} {
		if _, ok := ModelShape("GET", path, true); ok != want {
			t.Errorf("a WebSocket at %s: %v", path, ok)
		}
	}
}

// TestModels: what an operator has to write so that models may be used.
func TestModels(t *testing.T) {
	endpoint := func(version int, text, more string) string {
		binaries := "any"
		if version == 1 {
			binaries = "[{path: /**}]"
		}
		return fmt.Sprintf("version: %d\nnetwork_policies:\n  a:\n    endpoints:\n      - {%s, ports: [443], enforcement: enforce}\n    binaries: %s\n%s", version, text, binaries, more)
	}
	const full = "protocol: rest, access: full"
	for _, x := range []struct {
		name, policy, host, path string
		model                    bool
	}{
		{"any host", endpoint(2, "host: a.test, "+full, ""), "a.test", "/v1/messages", true},
		{"without inspection", "version: 2\nnetwork_policies: {a: {endpoints: [{host: a.test, port: 443}], binaries: any}}\n", "a.test", "/v1/messages", true},
		{"accepted", endpoint(2, "host: a.test, models: allow, "+full, ""), "a.test", "/v1/messages", false},
		{"denied by word", endpoint(2, "host: a.test, models: deny, "+full, ""), "a.test", "/v1/messages", true},
		{"accepted elsewhere", endpoint(2, "host: b.test, models: allow, "+full, "  z: {endpoints: [{host: a.test, port: 443, "+full+"}], binaries: any}\n"), "a.test", "/v1/messages", true},
		{"accepted by another endpoint of the place", endpoint(2, `host: "*.x.test", models: allow, `+full, "  z: {endpoints: [{host: a.x.test, port: 443, "+full+"}], binaries: any}\n"), "a.x.test", "/v1/messages", false},
		{"accepted for other paths", endpoint(2, "host: a.test, models: allow, path: /x/**, "+full, "  z: {endpoints: [{host: a.test, port: 443, "+full+"}], binaries: any}\n"), "a.test", "/v1/messages", true},
		{"accepted for another program", endpoint(2, "host: a.test, "+full, "  z: {endpoints: [{host: a.test, port: 443, models: allow, "+full+"}], binaries: [/bin/other]}\n"), "a.test", "/v1/messages", true},
		{"accepted until yesterday", endpoint(2, "host: a.test, "+full, "  z: {endpoints: [{host: a.test, port: 443, models: allow, expires_at: 2020-01-01T00:00:00Z, "+full+"}], binaries: any}\n"), "a.test", "/v1/messages", true},
		{"a literal path of version 2", endpoint(2, "host: a.test, protocol: rest, rules: [{allow: {method: POST, path: /v1/messages}}]", ""), "a.test", "/v1/messages", true},
		{"a known host of version 2", endpoint(2, "host: api.openai.com, "+full, ""), "api.openai.com", "/v1/responses", true},
		{"a host taken off the list", endpoint(2, "host: api.openai.com, "+full, "inference: {backend: \"https://m.test\", remove_hosts: [API.openai.com]}\n"), "api.openai.com", "/v1/responses", false},
		{"version 1", endpoint(1, "host: a.test, "+full, ""), "a.test", "/v1/messages", true},
		{"version 1, a wildcard over a known host", endpoint(1, `host: "*.openai.com", `+full, ""), "api.openai.com", "/v1/responses", true},
		{"version 1, a known host", endpoint(1, "host: api.openai.com, "+full, ""), "api.openai.com", "/v1/responses", false},
		{"version 1, a literal path", endpoint(1, "host: a.test, protocol: rest, rules: [{allow: {method: POST, path: /v1/messages}}]", ""), "a.test", "/v1/messages", false},
		{"version 1, a glob", endpoint(1, "host: a.test, protocol: rest, rules: [{allow: {method: POST, path: /v1/message*}}]", ""), "a.test", "/v1/messages", true},
		{"version 1, another literal path", endpoint(1, `host: a.test, protocol: rest, rules: [{allow: {method: POST, path: /v1/messages}}, {allow: {method: "*", path: /**}}]`, ""), "a.test", "/v1/responses", true},
		{"no model call", endpoint(2, "host: a.test, "+full, ""), "a.test", "/v1/items", false},
	} {
		doc, _, err := Parse("p.yaml", []byte(x.policy))
		if err != nil {
			t.Errorf("%s: %v\n%s", x.name, err, x.policy)
			continue
		}
		e, err := Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		h, err := netname.ParseHost(x.host)
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Connection: Connection{Host: h, Port: 443, KnownCaller: true, Binary: "/bin/agent", Uses: new(Uses)}, Method: "POST", Target: target.Target{Path: x.path}}
		if d := e.Request(*r); d.Verdict != Allow {
			t.Fatalf("%s: %+v", x.name, d)
		}
		if _, model := e.Models(r, false); model != x.model {
			t.Errorf("%s: %v, want %v", x.name, model, x.model)
		}
		got := e.Explain(r.Connection, r)
		if inspect := got.Connection.Inspect; (got.Verdict == Deny) != (x.model && inspect) || (got.Model != nil) != (x.model && inspect) {
			t.Errorf("%s: explained as %+v", x.name, got)
		}
	}
	var none *Engine
	if _, model := none.Models(&Request{Method: "POST", Target: target.Target{Path: "/v1/messages"}}, false); !model {
		t.Error("no policy accepts models")
	}
}
