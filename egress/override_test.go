package egress

import (
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

func TestOverrides(t *testing.T) {
	for _, tt := range []struct {
		query string
		want  []string
		many  bool
	}{
		{"", nil, false},
		{"a=b&method=DELETE", nil, false},
		{"_method=DELETE", []string{"DELETE"}, false},
		{"a=1&_METHOD=delete", []string{"DELETE"}, false},
		{"a;_method=delete", []string{"DELETE"}, false},
		{"%5Fm%65thod=%64elete", []string{"DELETE"}, false},
		{".method=delete&+_method=put", []string{"DELETE", "PUT"}, false},
		{"_method[]=delete&[method=put&_method%00x=patch", []string{"DELETE", "PUT", "PATCH"}, false},
		{"$httpMethod=DELETE&x-http-method-override=PUT", []string{"DELETE", "PUT"}, false},
		{"_method=get&_method=&_method", nil, false},
		{"_method=%zz", []string{"%ZZ"}, false},
		{"_method=a&_method=b&_method=c&_method=d&_method=e", nil, true},
	} {
		got, ok := overrides("GET", tt.query)
		if !slices.Equal(got, tt.want) || ok == tt.many {
			t.Errorf("overrides(%q) = %q, %v", tt.query, got, ok)
		}
	}
}

// TestMethodInQuery: a request that a framework would turn into another must be
// allowed as that one, too.
func TestMethodInQuery(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, echo)
	ask := func(query string) string {
		return "POST /public/a?" + query + " HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0\r\n\r\n"
	}
	if resp, body := r.https(viaRedirect, "ok.test:443", ask("_method=get")); resp.StatusCode != 200 || body != "POST /public/a?_method=get ok.test 0" {
		t.Errorf("both methods are allowed: %d %s", resp.StatusCode, body)
	}
	n := r.dialed()
	for _, query := range []string{"_method=DELETE", "x=1&_Method=delete", "%5fmethod=PATCH", "_method=GET&_method=DELETE", "_method=%0d%0ax"} {
		resp, body := r.https(viaRedirect, "ok.test:443", ask(query))
		if d := wantDenial(t, resp, body, 403, codePolicy); !strings.Contains(d.Reason, "names another method") {
			t.Errorf("%s: reason %q", query, d.Reason)
		}
	}
	if r.dialed() != n {
		t.Error("a denied request reached an upstream")
	}
	r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, "DELETE") })
}
