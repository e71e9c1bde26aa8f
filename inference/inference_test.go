package inference

import (
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
)

func TestClaims(t *testing.T) {
	builtin := route(t, Config{URL: "http://127.0.0.1:1"})
	own := route(t, Config{URL: "http://127.0.0.1:1", Hosts: []string{"llm.corp.test", "*.models.test"}})
	none := route(t, Config{URL: "http://127.0.0.1:1", Hosts: []string{}})
	var missing *Route
	tests := []struct {
		host string
		port uint16
		want [4]bool // builtin, own, none, missing
	}{
		{"inference.local", 443, [4]bool{true, true, true, true}},
		{"inference.local", 80, [4]bool{true, true, true, true}},
		{"inference.local", 22, [4]bool{}},
		{"x.inference.local", 443, [4]bool{}},
		{"api.anthropic.com", 443, [4]bool{true, false, false, false}},
		{"api.anthropic.com", 8443, [4]bool{true, false, false, false}},
		{"api.openai.com", 443, [4]bool{true, false, false, false}},
		{"evil-api.openai.com", 443, [4]bool{}},
		{"llm.corp.test", 443, [4]bool{false, true, false, false}},
		{"a.models.test", 443, [4]bool{false, true, false, false}},
		{"models.test", 443, [4]bool{}},
	}
	for _, tt := range tests {
		h, err := netname.ParseHost(tt.host)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range []*Route{builtin, own, none, missing} {
			if got := r.Claims(h, tt.port); got != tt.want[i] {
				t.Errorf("route %d claims %s:%d = %v", i, tt.host, tt.port, got)
			}
		}
	}
	if builtin.Claims(netname.Host{}, 443) {
		t.Error("the zero host is claimed")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{
		{}, {URL: "api.test"}, {URL: "ftp://x.test"}, {URL: "https://"}, {URL: "https://u:hunter2@x.test"}, {URL: "https://x.test?key=hunter2"},
		{URL: "https://x.test/a/../b"}, {URL: "https://x.test/%2e"}, {URL: "https://hunter2\x7f"},
		{URL: "https://x.test", Model: "a", Models: map[string]string{"b": "c"}},
		{URL: "https://x.test", Models: map[string]string{"b": ""}},
		{URL: "https://x.test", Hosts: []string{"not a host"}},
	} {
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%+v): %v", c.URL, err)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, p := range []string{"/v1/messages", "/v1beta/models/a:generateContent", "/v1/models/a:b:c", "//models/:", "/v1/models/"} {
		f.Add("POST", p)
		f.Add("GET", p)
	}
	r, err := New(Config{URL: "https://x.test/base"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		e, ok := match(method, path, http.Header{})
		if !ok {
			return
		}
		if e.protocol == noProtocol || method != "GET" && method != "POST" {
			t.Fatalf("%s %q: %+v", method, path, e)
		}
		if u := r.join(e.protocol, path, ""); u.Host != "x.test" || !strings.HasPrefix(u.EscapedPath(), "/base/v1") || strings.Contains(u.EscapedPath(), "%") {
			t.Fatalf("%s %q goes to %s", method, path, u)
		}
	})
}
