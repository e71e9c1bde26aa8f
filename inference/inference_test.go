package inference

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
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
		{URL: "https://x.test", Model: strings.Repeat("m", maxModel+1)},
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

func TestModel(t *testing.T) {
	table := map[string]string{"a": "b", "*": "rest"}
	for _, tt := range []struct {
		c    Config
		want string // for a, b
	}{
		{Config{}, "a b"},
		{Config{Model: "m"}, "m m"},
		{Config{Models: map[string]string{"a": "b"}}, "b b"},
		{Config{Models: table}, "b rest"},
		{Config{Model: "m", Models: table}, "m m"},
	} {
		tt.c.URL = "https://x.test"
		r := route(t, tt.c)
		if got := r.model("a") + " " + r.model("b"); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.c, got, tt.want)
		}
	}
}

func TestModelHosts(t *testing.T) {
	if ModelHosts(nil) != nil || ModelHosts(&policy.Inference{Model: "m"}) != nil {
		t.Error("a policy that says nothing keeps the built-in list")
	}
	list := ModelHosts(&policy.Inference{AddHosts: []string{"more.test"}, RemoveHosts: []string{"API.OPENAI.COM"}})
	if slices.Contains(list, "api.openai.com") || !slices.Contains(list, "more.test") || !slices.Contains(list, "api.anthropic.com") {
		t.Errorf("list %v", list)
	}
	list[0] = "changed.test"
	if builtinHosts[0] == "changed.test" {
		t.Error("callers can change the built-in list")
	}
	if only := ModelHosts(&policy.Inference{Hosts: []string{"one.test"}}); !slices.Equal(only, []string{"one.test"}) {
		t.Errorf("replaced list %v", only)
	}
	for _, name := range builtinHosts {
		h, err := netname.ParseHost(name)
		if err != nil || h.String() != name {
			t.Errorf("%q is not canonical: %v", name, err)
		}
	}
}

// An agent must be able to start with what it gets, and the placeholder must be
// of the form that package credential refuses elsewhere.
func TestPlaceholderEnv(t *testing.T) {
	for _, want := range []string{"ANTHROPIC_API_KEY=", "OPENAI_API_KEY=", "CODEX_API_KEY=", "GEMINI_API_KEY="} {
		if !slices.Contains(PlaceholderEnv(), want+"creel:cred:inference/key") {
			t.Errorf("%s is missing", want)
		}
	}
}
