package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// enforcedKeys are the keys of an endpoint that the egress path enforces.
// A word of the language is here, or Unenforced names it.
var enforcedKeys = []string{
	"host", "port", "ports", "protocol", "path", "tls", "enforcement", "access", "rules", "deny_rules", "allowed_ips", "allow_encoded_slash",
	"persisted_queries", "graphql_persisted_queries", "graphql_max_body_bytes", "json_rpc", "mcp", "registry", "registry_path",
}

// Every key of an endpoint that is built is enforced, or named where it stands.
func TestUnenforcedKeys(t *testing.T) {
	values := map[string]string{
		"websocket_credential_rewrite":    "protocol: websocket, access: full, websocket_credential_rewrite: true",
		"request_body_credential_rewrite": "protocol: rest, access: full, request_body_credential_rewrite: true",
		"allow_uninspected_credentials":   "allow_uninspected_credentials: true",
		"credential_signing":              "credential_signing: sigv4, signing_service: s3",
		"signing_service":                 "credential_signing: sigv4, signing_service: s3",
		"signing_region":                  "credential_signing: sigv4, signing_service: s3, signing_region: eu",
		"credential_binding":              "protocol: rest, access: full, credential_binding: {provider: p}",
	}
	named := make([]string, 0, len(unenforcedKeys))
	for _, k := range unenforcedKeys {
		named = append(named, k.key)
	}
	for _, w := range endpointWords {
		if w.since > 1 {
			continue
		}
		if slices.Contains(enforcedKeys, w.name) == slices.Contains(named, w.name) {
			t.Errorf("%s: either enforced or not", w.name)
			continue
		}
		if slices.Contains(enforcedKeys, w.name) {
			continue
		}
		fields := values[w.name]
		text := fmt.Sprintf("version: 1\nnetwork_policies:\n  k:\n    endpoints: [{host: a.test, port: 443, %s}]\n    binaries: [{path: /x}]\n", fields)
		doc, _, err := Parse("p.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", w.name, err)
			continue
		}
		line := strings.Split(text, "\n")[3]
		at := Position{"p.yaml", 4, strings.Index(line, " "+w.name+":") + 2}
		path := "network_policies.k.endpoints[0]." + w.name
		for _, parsed := range []bool{true, false} {
			if !parsed { // a document that was made by hand has no positions of keys
				e := &doc.Networks[0].Endpoints[0]
				e.KeyAt, at = nil, e.At
			}
			found := slices.ContainsFunc(Unenforced(doc), func(f Fault) bool { return f.Kind == NotYet && f.Path == path && f.At == at })
			if !found {
				t.Errorf("%s (parsed %v): not at %v in %v", w.name, parsed, at, Unenforced(doc))
			}
		}
	}
}

// Every protocol is enforced, or named.
func TestUnenforcedProtocols(t *testing.T) {
	for _, p := range append(slices.Clone(protocolWords), "") {
		doc := &Document{Version: 1, Networks: []Network{{Key: "k", Endpoints: []Endpoint{{Host: "a.test", Ports: []uint16{1}, Protocol: Protocol(p)}}}}}
		want := !slices.Contains([]string{"", "rest", "tcp", "websocket", "graphql", "json-rpc", "mcp", "git", "package", "grpc"}, p)
		if got := len(Unenforced(doc)) > 0; got != want {
			t.Errorf("%q: %v", p, Unenforced(doc))
		}
	}
	doc, _, err := Parse("p.yaml", []byte("version: 1\nnetwork_middlewares: {m: {middleware: x, endpoints: {include: [a.test]}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if f := Unenforced(doc); f != nil {
		t.Errorf("middlewares: %v", f)
	}
	if f := Unenforced(nil); f != nil {
		t.Errorf("nil: %v", f)
	}
	// The words of a document and of its rules that have no section of their own here.
	for _, w := range documentWords {
		known := []string{"version", "filesystem_policy", "landlock", "process", "network_policies", "network_middlewares"}
		if w.since == 1 && !slices.Contains(known, w.name) {
			t.Errorf("%s: is it enforced?", w.name)
		}
	}
}

// Names under a prefix of Creel's or OpenShell's are those that there are.
func TestMiddlewareNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"creel/secrets": true, "creel/pii": true, "openshell/regex": true, "mine": true, "creel": true, "my/creel/x": true,
		"creel/secret": false, "creel/": false, "openshell/": false, "openshell/pii": false, " ": false,
	} {
		_, _, err := Parse("p.yaml", []byte(fmt.Sprintf("version: 2\nnetwork_middlewares: {m: {middleware: %q, endpoints: {include: [a.test]}}}\n", name)))
		if (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestLabelsOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a.test", "a.test", true},
		{"a.test", "b.test", false},
		{"**", "a.b.c", true},
		{"*", "a.b", false},
		{"**.test", "test", false},
		{"**.test", "a.test", true},
		{"**.test", "*.b.test", true},
		{"*.b.test", "a*.b.test", true},
		{"x*.b.test", "a*.b.test", false},
		{"a.**.test", "**.b.test", true},
		{"a.**.test", "a.test", false},
		{"**.x.**", "**.y.test", true}, // x.y.test is no match of the first, w.x.y.test is
		{"**.x", "**.y", false},
	} {
		a, b := strings.Split(c.a, "."), strings.Split(c.b, ".")
		if labelsOverlap(a, b) != c.want || labelsOverlap(b, a) != c.want {
			t.Errorf("%s and %s: want %v", c.a, c.b, c.want)
		}
	}
}

// A key of another protocol has no effect, also not on the limit of this one.
func TestKeysOfOtherProtocols(t *testing.T) {
	doc, warns, err := Parse("p.yaml", []byte(`version: 1
network_policies:
  k:
    endpoints:
      - {host: a.test, port: 443, protocol: graphql, access: full, json_rpc: {max_body_bytes: 9}}
      - {host: b.test, port: 443, protocol: json-rpc, rules: [{allow: {method: a}}], graphql_max_body_bytes: 9}
      - {host: c.test, port: 443, protocol: mcp, rules: [{allow: {method: a}}], json_rpc: {max_body_bytes: 9}}
    binaries: [{path: /x}]
`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{DefaultMaxBody, DefaultMaxBody, 9} {
		if got := doc.Networks[0].Endpoints[i].BodyLimit(); got != want {
			t.Errorf("endpoint %d: %d", i, got)
		}
	}
	if !strings.Contains(warns.String(), "json_rpc has no effect here") || !strings.Contains(warns.String(), "graphql_max_body_bytes has no effect here") {
		t.Error(warns)
	}
}
