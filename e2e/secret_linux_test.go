package e2e

import (
	"path/filepath"
	"testing"
)

// canary is a value that must be seen at one place only.
func canary(name string) string { return "canary-" + name + "-4f1d7a90c2" }

// secretBox is a sandbox with TOKEN for ok.test (header X-Token) and KEY for
// other.test (Authorization), and a policy that allows both and third.test.
func secretBox(t *testing.T, s *sink) box {
	return box{
		policy: twoHosts(restFull, "ok.test", "other.test", "third.test"),
		flags: join(s.upstreams("ok.test", "other.test", "third.test"), []string{"--trust-ca", caFile(t),
			"--secret", "TOKEN=env:E2E_TOKEN@ok.test:X-Token", "--secret", "KEY=env:E2E_KEY@other.test:Authorization"}),
		env: []string{"E2E_TOKEN=" + canary("token"), "E2E_KEY=" + canary("key")},
	}
}

// TestSecretFromFile reads the value from a file, and nested placeholders stay text.
func TestSecretFromFile(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		file := filepath.Join(t.TempDir(), "token")
		write(t, file, "creel:cred:KEY\n") // escape_CRED-07: the value is A's placeholder
		box{policy: twoHosts(restFull, "ok.test"), flags: join(s.upstreams("ok.test"), []string{"--trust-ca", caFile(t),
			"--secret", "TOKEN=file:" + file + "@ok.test:X-Token", "--secret", "KEY=env:E2E_KEY@other.test"}),
			env: []string{"E2E_KEY=" + canary("key")}}.run(t, "curl", "-sS", "https://ok.test/nested")
		for _, r := range s.requests() {
			if v := r.Header.Get("X-Token"); v != "creel:cred:KEY" {
				t.Errorf("arrived as %q", v)
			}
		}
		if s.holds(canary("key")) {
			t.Error("a placeholder in a value was filled in")
		}
	})
}
