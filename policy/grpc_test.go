package policy

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/grpc"
	"github.com/creel-run/creel/policy/target"
)

const ofServices = `version: 2
network_policies:
  services:
    endpoints:
      - host: api.test
        port: 443
        protocol: grpc
        rules:
          - allow: {service: acme.v1.Greeter, method: "Say*"}
          - allow: {service: "acme.*.Store", method: "*"}
          - allow: {service: "open.**", method: Get}
        deny_rules:
          - {service: acme.v1.Store, method: Delete}
          - {service: open.secret.Box}
    binaries: any
`

func TestGRPC(t *testing.T) {
	e := compiled(t, ofServices)
	host, err := netname.ParseHost("api.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, service, call string
		want                  bool
		why                   string
	}{
		{"POST", "acme.v1.Greeter", "SayHello", true, ""},
		{"POST", "acme.v1.Greeter", "Say", true, ""},
		{"POST", "acme.v1.Greeter", "sayHello", false, reasonGRPC},
		{"POST", "acme.v1.Greeter", "Forget", false, reasonGRPC},
		{"POST", "acme.v1.Greeters", "SayHello", false, reasonGRPC},
		{"POST", "acme.v1.Store", "Put", true, ""},
		{"POST", "acme.v1.beta.Store", "Put", false, reasonGRPC},
		{"POST", "acme.Store", "Put", false, reasonGRPC},
		{"POST", "acme.v1.Store", "Delete", false, "denies"},
		{"POST", "acme.v2.Store", "Delete", true, ""},
		{"POST", "open.a.b.C", "Get", true, ""},
		{"POST", "open.secret.Box", "Get", false, "denies"},
		{"POST", "grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", false, reasonGRPC},
		{"GET", "acme.v1.Greeter", "SayHello", false, reasonNoGRPC},
		{"POST", "", "SayHello", false, reasonNoGRPC},
		{"POST", "acme.v1.Greeter", "", false, reasonNoGRPC},
	} {
		r := Request{Connection: Connection{Host: host, Port: 443}, Method: tt.method, Target: target.Target{Path: "/x"},
			GRPC: &grpc.Request{Service: tt.service, Method: tt.call}}
		d := e.Request(r)
		if (d.Verdict == Allow) != tt.want || !strings.Contains(d.Reason, tt.why) {
			t.Errorf("%s %s/%s: %v %s", tt.method, tt.service, tt.call, d.Verdict, d.Reason)
		}
	}
	// What was not read is denied, whatever its path.
	if d := e.Request(Request{Connection: Connection{Host: host, Port: 443}, Method: "POST", Target: target.Target{Path: "/acme.v1.Greeter/SayHello"}}); d.Verdict != Deny || d.Reason != reasonNoGRPC {
		t.Errorf("unread: %v %s", d.Verdict, d.Reason)
	}
	x := e.Explain(Connection{Host: host, Port: 443}, &Request{Connection: Connection{Host: host, Port: 443}, Method: "POST", Target: target.Target{Path: "/acme.v1.Greeter/Forget"},
		GRPC: &grpc.Request{Service: "acme.v1.Greeter", Method: "Forget"}})
	if len(x.Misses) != 1 || x.Misses[0].What != "method" || !strings.Contains(x.Suggestion, "service: acme.v1.Greeter, method: Forget") {
		t.Errorf("%+v", x)
	}
}

func TestGRPCFaults(t *testing.T) {
	for _, tt := range []struct{ endpoint, want string }{
		{"protocol: grpc", "rules: missing"},
		{"protocol: grpc, access: full", "access with protocol: grpc"},
		{"protocol: grpc, rules: [{allow: {service: a.B}}]", "method: missing"},
		{"protocol: grpc, rules: [{allow: {method: B}}]", "service: missing"},
		{"protocol: grpc, rules: [{allow: {service: '', method: ''}}]", "missing"},
		{"protocol: grpc, rules: [{allow: {service: a.B, method: null}}]", "want a value"},
		{"protocol: grpc, rules: [{allow: {service: a.B, method: C, path: /x}}]", "path in a rule of protocol: grpc"},
		{"protocol: rest, rules: [{allow: {service: a.B, method: GET, path: /x}}]", "service belongs to rules of protocol: grpc"},
		{"protocol: grpc, tls: skip, rules: [{allow: {service: a.B, method: C}}]", "tls: skip with protocol: grpc"},
	} {
		_, _, err := Parse("p.yaml", []byte("version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 443, "+tt.endpoint+"}]}}\n"))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.endpoint, err, tt.want)
		}
	}
	_, _, err := Parse("p.yaml", []byte("version: 1\nnetwork_policies: {k: {endpoints: [{host: a.test, port: 443, protocol: grpc, rules: [{allow: {service: a.B, method: C}}]}]}}\n"))
	if err == nil || !strings.Contains(err.Error(), "protocol: grpc is of version: 2") {
		t.Error(err)
	}
}
