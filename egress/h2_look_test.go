package egress

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// Requests of one HTTP/2 connection are looked at each for itself: one is denied,
// one redacted, one passes.
func TestMiddlewareStreams(t *testing.T) {
	r, _ := chained(t, basePolicy, `  target: {middleware: creel/secrets, order: 1, config: {parts: [target, headers]}, endpoints: {include: [ok.test]}}
  body: {middleware: creel/secrets, order: 2, config: {mode: redact, parts: [body]}, endpoints: {include: [ok.test]}}
`, nil)
	got := make(chan string, 8)
	r.web("ok.test", 443, func(_ http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		got <- q.URL.RequestURI() + " " + string(b)
	})
	f := r.framed("ok.test:443")
	f.open(1, false, post("/public/a")...)
	f.open(3, true, get("/public/b?"+held)...)
	if o := f.result(3); o.end != "403" || !strings.Contains(o.body, codeMiddleware) {
		t.Errorf("stream 3: %+v", o)
	}
	f.ok(f.fr.WriteData(1, false, []byte("a "+held[:5])))
	f.ok(f.fr.WriteData(1, true, []byte(held[5:])))
	if o := f.result(1); o.end != "200" {
		t.Errorf("stream 1: %+v", o)
	}
	f.open(5, true, get("/public/c")...)
	if o := f.result(5); o.end != "200" {
		t.Errorf("stream 5: %+v", o)
	}
	if a, b := <-got, <-got; a != "/public/a a [redacted:secrets/known/HELD]" || b != "/public/c " || len(got) > 0 {
		t.Errorf("the server got %q and %q", a, b)
	}
	r.event("denial", func(ev audit.Event) bool {
		return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Detail["middleware"] == "target"
	})
	r.keepsQuiet()
}
