package parent

import (
	"strings"
	"testing"
)

// FuzzScriptAnswer: whatever a script answers, it is understood as few ways, each of
// which is a proxy without user and path, or it is refused.
func FuzzScriptAnswer(f *testing.F) {
	for _, s := range []string{"DIRECT", "PROXY a.test:3128; SOCKS5 [::1]:1080;DIRECT", "HTTPS a.test", "PROXY user@a.test:1", "SOCKS4 a.test:1", " ; ", "PROXY a.test:1/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ways, err := readAnswer(s, Config{})
		if (err == nil) == (ways == nil) || len(ways) > maxWays {
			t.Fatalf("%q: %v, %v", s, ways, err)
		}
		for _, w := range ways {
			if p := w.Proxy; p != nil && (p.auth || p.user != "" || p.host == "" || p.port == "" || strings.ContainsAny(p.host+p.port, "@/?#; \t\r\n")) {
				t.Fatalf("%q: %s %q %q, user %q", s, p.scheme, p.host, p.port, p.user)
			}
		}
	})
}
