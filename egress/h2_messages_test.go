package egress

import (
	"io"
	"net/http"
	"testing"

	"github.com/creel-run/creel/audit"
)

// TestHTTP2Messages: what is judged of a body is read on its stream, and sent as it was read.
func TestHTTP2Messages(t *testing.T) {
	r := newRig(t, `version: 2
network_policies:
  hub:
    endpoints:
      - host: ok.test
        port: 443
        protocol: graphql
        rules:
          - allow: {operation_type: query, fields: [viewer]}
    binaries: any
`)
	got := make(chan string, 1)
	r.web("ok.test", 443, func(_ http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		got <- string(body)
	})
	f := r.framed("ok.test:443")
	for i, tt := range []struct{ body, want string }{
		{`{"query":"{viewer{login}}"}`, "200"},
		{`{"query":"mutation{drop}"}`, "403"},
		{`{"query":`, "403"},
	} {
		id := uint32(2*i + 1)
		f.open(id, false, post("/graphql", "content-type: application/json")...)
		half := len(tt.body) / 2
		f.ok(f.fr.WriteData(id, false, []byte(tt.body[:half])))
		f.ok(f.fr.WriteData(id, true, []byte(tt.body[half:])))
		if o := f.result(id); o.end != tt.want {
			t.Errorf("%s: %+v", tt.body, o)
		}
		if tt.want == "200" {
			if body := <-got; body != tt.body {
				t.Errorf("the upstream got %s", body)
			}
		}
	}
	r.event("denial", is(audit.Request, "deny", "ok.test"))
	if r.dialed() != 1 {
		t.Errorf("%d dials", r.dialed())
	}
}
