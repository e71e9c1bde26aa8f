package egress

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/credential"
)

// TestRealCredential joins the two parts as the supervisor does.
func TestRealCredential(t *testing.T) {
	set, err := credential.Parse([]string{"TKN=env:TKN@bound.test"}, func(string) (string, bool) { return canary, true })
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Secrets = set })
	r.web("bound.test", 443, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Echo", q.Header.Get("Authorization"))
		fmt.Fprintf(w, "%v\n", q.Header)
	})
	marked := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:creel:cred:TKN/key"))
	for field, want := range map[string]string{
		"": "Bearer creel:cred:TKN/key",
		"Authorization: token creel:cred:TKN/key\r\n": "token creel:cred:TKN/key",
		"Authorization: " + marked + "\r\n":           marked,
	} {
		resp, body := r.https(viaRedirect, "bound.test:443", "GET / HTTP/1.1\r\nHost: bound.test\r\nConnection: close\r\n"+field+"\r\n")
		if resp.StatusCode != 200 || resp.Header.Get("X-Echo") != want || !strings.Contains(body, want) || strings.Contains(body, "Canary") {
			t.Errorf("%q: %d %v %s", field, resp.StatusCode, resp.Header, body)
		}
	}
}

// TestRealPlaceholderOnRelay: also without any --secret (a nil Set), so that the
// placeholder of an inference route stays inside.
func TestRealPlaceholderOnRelay(t *testing.T) {
	r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Secrets = (*credential.Set)(nil) })
	got := make(chan string, 1)
	r.raw("raw.test", 5432, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	c, _ := r.open(viaConnect, "raw.test:5432")
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nX-Api-Key: creel:cr")
	_, _ = io.WriteString(c, "ed:inference/key\r\n\r\n")
	if b, err := io.ReadAll(c); len(b) > 0 || err == nil {
		t.Errorf("want a reset, got %q %v", b, err)
	}
	if all := <-got; strings.Contains(all, "creel:") {
		t.Errorf("the server got %q", all)
	}
	r.event("refused", func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, "placeholder") })
}
