package analyse

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

// A host with an endpoint that cannot be judged is in the answer, and never with
// "nothing" as what can leave.
func TestReachOfWhatCannotBeTold(t *testing.T) {
	doc, _, err := policy.Parse("p.yaml", []byte(`version: 2
network_policies:
  api:
    endpoints: [{host: api.test, port: 443, protocol: rest, path: "/v1/**", rules: [{allow: {method: POST, path: /v1/items}}]}]
    binaries: [/usr/bin/curl]
  gql:
    endpoints: [{host: api.test, port: 443, protocol: graphql, path: /graphql, access: read-only}]
    binaries: any
  brief:
    endpoints: [{host: brief.test, ports: [80, 443], expires_at: 2030-01-01T00:00:00Z}]
    binaries: any
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReachOf(doc)
	if err != nil {
		t.Fatal(err)
	}
	told := ""
	for _, u := range r.Unknown {
		told += u.Error() + "\n"
	}
	for _, want := range []string{"requests under protocol graphql for api.test:443", "the key expires_at of an endpoint for brief.test:80,443"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not in %s", want, told)
		}
	}
	if len(r.Network) == 0 {
		t.Error("no way at all")
	}
	for _, a := range r.Network {
		if a.Out == OutNothing {
			t.Errorf("nothing leaves through %+v", a)
		}
	}
}
