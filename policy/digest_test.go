package policy_test

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

// TestDigest: a program that is named with its content matches with that content
// alone, and any other rule as before.
func TestDigest(t *testing.T) {
	one, two := strings.Repeat("1a", 32), strings.Repeat("2b", 32)
	e := compile(t, `version: 2
network_policies:
  a:
    endpoints: [{host: a.test, port: 443, protocol: tcp}]
    binaries:
      - {path: /usr/bin/curl, sha256: `+strings.ToUpper(one)+`}
      - {path: /opt/*/tool, sha256: `+two+`}
      - /usr/bin/git
`)
	for _, tt := range []struct {
		binary, sum string
		want        policy.Verdict
	}{
		{"/usr/bin/curl", one, policy.Allow},
		{"/usr/bin/curl", two, policy.Deny},
		{"/usr/bin/curl", "", policy.Deny},
		{"/usr/bin/wget", one, policy.Deny},
		{"/opt/x/tool", two, policy.Allow},
		{"/opt/x/tool", one, policy.Deny},
		{"/usr/bin/git", "", policy.Allow},
		{"/usr/bin/git", one, policy.Allow},
	} {
		c := policy.Connection{Host: host(t, "a.test"), Port: 443, Binary: tt.binary, KnownCaller: true, SHA256: tt.sum}
		if got := e.Connect(c).Verdict; got != tt.want {
			t.Errorf("%s %.4s: %s, want %s", tt.binary, tt.sum, got, tt.want)
		}
		c.KnownCaller = false
		if got := e.Connect(c).Verdict; got != policy.Deny {
			t.Errorf("unknown %s: %s", tt.binary, got)
		}
	}
	// A digest is taken of what a rule may match with it, and of nothing else.
	for path, want := range map[string]bool{"/usr/bin/curl": true, "/opt/x/tool": true, "/usr/bin/wget": false, "/usr/bin/git": false} {
		if ancestors, digest := e.Wants(path); ancestors || digest != want {
			t.Errorf("%s: wants %t, %t", path, ancestors, digest)
		}
	}
	x := e.Explain(policy.Connection{Host: host(t, "a.test"), Port: 443, Binary: "/usr/bin/curl", KnownCaller: true}, nil)
	found := false
	for _, m := range x.Misses {
		found = found || strings.Contains(m.Want, "with sha256 "+one)
	}
	if !found {
		t.Errorf("explain does not name the digest: %+v", x)
	}
}
