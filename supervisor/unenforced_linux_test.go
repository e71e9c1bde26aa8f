package supervisor

import (
	"errors"
	"strings"
	"testing"

	"github.com/creel-run/creel/api"
)

// TestUnenforcedIsRefused: what egress does not enforce is no policy of a run,
// when it starts and when it is reloaded, which go through the same compile.
func TestUnenforcedIsRefused(t *testing.T) {
	const head = "version: 2\nnetwork_policies:\n  k:\n    binaries: any\n    endpoints:\n      - {host: a.test, port: 443, "
	for _, c := range []struct{ text, want string }{
		{head + "protocol: rest, access: full}\n", ""},
		{head + "protocol: websocket, access: full}\n", ""},
		{head + "protocol: graphql, access: full}\n", ""},
		{head + "protocol: mcp, rules: [{allow: {method: initialize}}]}\n", ""},
		{head + "protocol: json-rpc, rules: [{allow: {method: a}}]}\n", ""},
		{head + "protocol: sql, enforcement: audit, access: full}\n", "protocol: sql"},
		{head + "protocol: rest, access: full, credential_binding: {provider: p}}\n", "credential_binding"},
	} {
		s := &source{name: "test.yaml", data: []byte(c.text)}
		rev, _, err := s.compile(1)
		if c.want == "" {
			if err != nil || rev == nil {
				t.Errorf("%s: %v", c.text, err)
			}
			continue
		}
		var faulty *api.FaultyPolicy
		if !errors.As(err, &faulty) || rev != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if f := faulty.Faults[0]; !strings.Contains(f.Message, c.want) || !strings.Contains(f.Message, "not yet") || f.Line == 0 {
			t.Errorf("%s: %+v", c.text, f)
		}
	}
}
