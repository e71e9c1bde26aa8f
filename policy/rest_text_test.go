package policy_test

import (
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// An endpoint with protocol: rest opens no WebSocket, whatever its methods are, so that
// it says nothing of a message.
func TestRestTakesNoMessages(t *testing.T) {
	for _, ep := range []string{"protocol: rest, access: full", "protocol: rest, access: full, enforcement: audit", "protocol: websocket, access: full"} {
		doc, _, err := policy.Parse("p.yaml", []byte("version: 2\nnetwork_policies: {a: {binaries: any, endpoints: [{host: a.test, port: 443, "+ep+"}]}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		e, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		host, err := netname.ParseHost("a.test")
		if err != nil {
			t.Fatal(err)
		}
		r := policy.Request{Connection: policy.Connection{Host: host, Port: 443}, Text: true}
		if r.Target, err = target.Parse("/feed", false); err != nil {
			t.Fatal(err)
		}
		want := policy.Deny
		if doc.Networks[0].Endpoints[0].Protocol == policy.WebSocket {
			want = policy.Allow
		}
		if d := e.Request(r); d.Verdict != want {
			t.Errorf("%s: %s: %s", ep, d.Verdict, d.Reason)
		}
	}
}
