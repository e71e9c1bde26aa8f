package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/credential"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/middleware/builtin"
	"github.com/creel-run/creel/middleware/secrets"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/secret"
)

// held is a secret that Creel keeps, and that nobody is to be sent.
const held = "zr7wq-held-by-creel-91xk"

// checks is a middleware of a test's own.
type checks struct {
	on    middleware.Direction
	check func(*middleware.Message) (middleware.Answer, error)
}

func (c checks) Takes() middleware.Direction { return c.on }
func (c checks) MaxBody() int                { return 1 << 10 }
func (c checks) Check(_ context.Context, m *middleware.Message) (middleware.Answer, error) {
	return c.check(m)
}

// chain makes what a policy with these lines in network_middlewares has.
func chain(t testing.TB, lines string, own map[string]checks) *middleware.Chain {
	t.Helper()
	doc, _, err := policy.Parse("test.yaml", []byte("version: 2\nnetwork_middlewares:\n"+lines))
	if err != nil {
		t.Fatal(err)
	}
	known, err := builtin.Factories([]secrets.Known{{Name: "HELD", Value: secret.New(held)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range own {
		known[name] = func(map[string]any) (middleware.Middleware, error) { return c, nil }
	}
	c, err := middleware.New(doc.Middlewares, known)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// chained is a rig with middlewares, which a test may swap.
func chained(t *testing.T, text, lines string, own map[string]checks, opts ...rigOption) (*rig, *atomic.Pointer[middleware.Chain]) {
	t.Helper()
	var p atomic.Pointer[middleware.Chain]
	p.Store(chain(t, lines, own))
	return newRig(t, text, append(opts, func(_ *rig, c *Config) { c.Chain = p.Load })...), &p
}

// keepsQuiet checks that no event holds the secret.
func (r *rig) keepsQuiet() {
	r.t.Helper()
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	b, err := json.Marshal(r.book.events)
	if err != nil || bytes.Contains(b, []byte(held)) {
		r.t.Errorf("the record has the secret: %s %v", b, err)
	}
}

func (r *rig) count(match func(audit.Event) bool) int {
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	n := 0
	for _, ev := range r.book.events {
		if match(ev) {
			n++
		}
	}
	return n
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func posted(path, more, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", path, more, len(body), body)
}

func inChunks(path, more, body string) string {
	text := "POST " + path + " HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n" + more + "Transfer-Encoding: chunked\r\n\r\n"
	for len(body) > 0 {
		n := min(len(body), 7)
		text += fmt.Sprintf("%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return text + "0\r\n\r\n"
}

var bothInspected = []struct {
	w  way
	to string
}{{viaRedirect, "ok.test:443"}, {viaConnect, "ok.test:443"}, {viaRedirect, "ok.test:80"}, {viaConnect, "ok.test:80"}}

// exchange does one exchange on a fresh connection.
func (r *rig) exchange(w way, to, raw string) (*http.Response, string) {
	r.t.Helper()
	if strings.HasSuffix(to, ":443") {
		return r.https(w, to, raw)
	}
	c, refused := r.open(w, to)
	if refused != nil {
		r.t.Fatal(refused.Status)
	}
	method, _, _ := strings.Cut(raw, " ")
	return talk(r.t, c, method, raw)
}

// A secret leaves in no part of a request, in no framing and on no way in; the
// denial and its event name the middleware and the place, and not the secret.
func TestMiddlewareDenies(t *testing.T) {
	get := func(path, more string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n" + more + "\r\n"
	}
	for _, way := range bothInspected {
		t.Run(fmt.Sprint(way), func(t *testing.T) {
			r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, endpoints: {include: [ok.test]}}\n", nil)
			h, arrived := arrivals()
			_, port, _ := net.SplitHostPort(way.to)
			r.web("ok.test", map[string]uint16{"80": 80, "443": 443}[port], h)
			for _, tt := range []struct{ name, raw, code, place string }{
				{"in the body", posted("/public/a", "", "a "+held+" b"), codeMiddleware, "body"},
				{"in chunks", inChunks("/public/a", "", "a "+held+" b"), codeMiddleware, "body"},
				{"in JSON with escapes", posted("/public/a", "", `{"k":"\u007ar7wq-held-by-creel-91xk"}`), codeMiddleware, "body"},
				{"behind gzip", posted("/public/a", "Content-Encoding: gzip\r\n", gzipped("a "+held)), codeMiddleware, "body"},
				{"behind a coding that is not known", posted("/public/a", "Content-Encoding: br\r\n", "x"), codeMiddlewareFailed, ""},
				{"behind a coding that it has not", posted("/public/a", "Content-Encoding: gzip\r\n", held), codeMiddlewareFailed, ""},
				{"in the query", get("/public/a?q="+held, ""), codeMiddleware, "target"},
				{"in the path", get("/public/"+held, ""), codeMiddleware, "target"},
				{"in a header", get("/public/a", "X-Note: "+held+"\r\n"), codeMiddleware, "header X-Note"},
				{"in a cookie", get("/public/a", "Cookie: a=b; c="+held+"\r\n"), codeMiddleware, "header Cookie"},
				{"in the name of a header", get("/public/a", held+": x\r\n"), codeMiddleware, "header"},
				{"in two headers", get("/public/a", "X-A: "+held[:12]+"\r\nX-A: "+held[12:]+"\r\n"), "", ""},
			} {
				before := r.count(func(ev audit.Event) bool { return ev.Kind == audit.Request && ev.Verdict == "allow" })
				resp, body := r.exchange(way.w, way.to, tt.raw)
				if tt.code == "" {
					if resp.StatusCode != 200 {
						t.Errorf("%s: %d %s", tt.name, resp.StatusCode, body)
					}
					arrived()
					continue
				}
				d := wantDenial(t, resp, body, 403, tt.code)
				if d.Middleware != "guard" || d.Layer != layerMiddleware || d.RuleAt != "test.yaml:3:3" || d.RuleMissing != nil || d.Policy != "" {
					t.Errorf("%s: %+v", tt.name, d)
				}
				if tt.name != "in the path" && strings.Contains(body, held) || strings.Contains(d.Reason, held) {
					t.Errorf("%s: the answer has the secret: %s", tt.name, body)
				}
				if got := arrived(); len(got) > 0 {
					t.Errorf("%s: the server got %q", tt.name, got)
				}
				if n := r.count(func(ev audit.Event) bool { return ev.Kind == audit.Request && ev.Verdict == "allow" }); n != before {
					t.Errorf("%s: recorded as allowed", tt.name)
				}
				if tt.place != "" {
					r.event(tt.name, func(ev audit.Event) bool {
						return ev.Kind == audit.Middleware && ev.Verdict == "deny" && ev.Detail["middleware"] == "guard" && ev.Detail["implementation"] == "creel/secrets" &&
							strings.HasPrefix(ev.Detail["findings"], "secrets/known/HELD "+tt.place)
					})
				}
			}
			r.event("denial", func(ev audit.Event) bool {
				return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Detail["error"] == codeMiddleware && ev.Detail["middleware"] == "guard" && ev.RuleAt == "test.yaml:3:3"
			})
			r.keepsQuiet()
			if resp, body := r.exchange(way.w, way.to, posted("/public/a", "", "harmless")); resp.StatusCode != 200 {
				t.Errorf("harmless: %d %s", resp.StatusCode, body)
			}
			if got := arrived(); len(got) != 1 || got[0] != "POST /public/a harmless" {
				t.Errorf("harmless: %q", got)
			}
		})
	}
}

// A client of the forward proxy is looked at as all others are.
func TestMiddlewareDeniesForward(t *testing.T) {
	r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, endpoints: {include: [\"**\"]}}\n", nil)
	h, arrived := arrivals()
	r.web("ok.test", 80, h)
	c := r.client()
	resp, body := send(t, c, "POST", "http://ok.test/public/a", "x "+held)
	if d := wantDenial(t, resp, body, 403, codeMiddleware); d.Middleware != "guard" || len(arrived()) > 0 {
		t.Errorf("%+v", d)
	}
	if resp, _ := send(t, c, "POST", "http://ok.test/public/a", "fine"); resp.StatusCode != 200 || len(arrived()) != 1 {
		t.Error(resp.Status)
	}
	r.keepsQuiet()
}

// A redacted body is sent with its own framing, and without what told of the old one.
func TestMiddlewareRedacts(t *testing.T) {
	r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, config: {mode: redact}, endpoints: {include: [ok.test]}}\n", nil)
	type arrival struct {
		head http.Header
		long int64
		body string
	}
	got := make(chan arrival, 1)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		got <- arrival{q.Header, q.ContentLength, string(b)}
	})
	const want = `{"k":"[redacted:secrets/known/HELD]","n":1}`
	text := `{"k":"` + held + `","n":1}`
	about := "Content-Type: application/json\r\nContent-Digest: sha-256=:AAAA:\r\nRepr-Digest: sha-256=:AAAA:\r\nX-Other: stays\r\n"
	for name, raw := range map[string]string{
		"plain":    posted("/public/a", about, text),
		"chunked":  inChunks("/public/a", about, text),
		"gzip":     posted("/public/a", about+"Content-Encoding: gzip\r\n", gzipped(text)),
		"expected": posted("/public/a", about+"Expect: 100-continue\r\n", text),
	} {
		c, _ := r.open(viaRedirect, "ok.test:443")
		tc, err := r.startTLS(c, "ok.test")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(tc, raw)
		answer, err := io.ReadAll(tc)
		if err != nil || !bytes.Contains(answer, []byte("HTTP/1.1 200 OK")) {
			t.Fatalf("%s: %s %v", name, answer, err)
		}
		a := <-got
		if a.body != want || a.long != int64(len(want)) || a.head.Get("Content-Encoding") != "" || a.head.Get("Content-Digest") != "" ||
			a.head.Get("Repr-Digest") != "" || a.head.Get("X-Other") != "stays" || a.head.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %+v", name, a)
		}
	}
	resp, body := r.https(viaRedirect, "ok.test:443", posted("/public/a", "Content-Type: application/grpc+proto\r\n", "\x00\x00\x00\x00\x1a"+held))
	if d := wantDenial(t, resp, body, 403, codeMiddleware); !strings.Contains(d.Reason, "gRPC") || len(got) > 0 {
		t.Errorf("%+v", d)
	}
	r.event("change", func(ev audit.Event) bool {
		return ev.Kind == audit.Middleware && ev.Verdict == "allow" && ev.Detail["action"] == "change" && ev.Detail["found"] == "1" && strings.HasPrefix(ev.Detail["findings"], "secrets/known/HELD body 6-")
	})
	r.keepsQuiet()
}

// What nobody takes streams as it did; what is reported only passes untouched.
func TestMiddlewareLetsPass(t *testing.T) {
	r, _ := chained(t, basePolicy, `  report: {middleware: creel/secrets, config: {mode: report}, order: 1, endpoints: {include: [ok.test], exclude: [no.test]}}
  open: {middleware: fails, order: 2, on_error: fail_open, endpoints: {include: [ok.test]}}
`, map[string]checks{"fails": {middleware.Request, func(*middleware.Message) (middleware.Answer, error) {
		return middleware.Answer{}, errors.New("it is gone")
	}}})
	h, arrived := arrivals()
	r.web("ok.test", 443, h)
	for name, raw := range map[string]string{
		"plain": posted("/public/a", "", "a "+held),
		"gzip":  posted("/public/a", "Content-Encoding: gzip\r\n", gzipped("a "+held)),
	} {
		resp, body := r.https(viaRedirect, "ok.test:443", raw)
		_, sent, _ := strings.Cut(raw, "\r\n\r\n")
		if got := arrived(); resp.StatusCode != 200 || len(got) != 1 || got[0] != "POST /public/a "+sent {
			t.Errorf("%s: %d %s %q", name, resp.StatusCode, body, got)
		}
	}
	r.event("report", func(ev audit.Event) bool {
		return ev.Kind == audit.Middleware && ev.Verdict == "allow" && ev.Detail["middleware"] == "report" && ev.Detail["action"] == "pass"
	})
	r.event("failure", func(ev audit.Event) bool {
		return ev.Kind == audit.Middleware && ev.Verdict == "allow" && ev.Detail["middleware"] == "open" && strings.Contains(ev.Reason, "it is gone")
	})
	r.keepsQuiet()
}

// A body that is too long for who looks at it is not sent.
func TestMiddlewareTooLong(t *testing.T) {
	r, _ := chained(t, basePolicy, "  own: {middleware: own, endpoints: {include: [ok.test]}}\n", map[string]checks{
		"own": {middleware.Request, func(*middleware.Message) (middleware.Answer, error) {
			return middleware.Answer{Action: middleware.Pass}, nil
		}}})
	h, arrived := arrivals()
	r.web("ok.test", 443, h)
	long := strings.Repeat("x", 1<<10)
	for name, raw := range map[string]string{"length": posted("/public/a", "", long+"y"), "chunks": inChunks("/public/a", "", long+"yy"), "gzip": posted("/public/a", "Content-Encoding: gzip\r\n", gzipped(long+"y"))} {
		resp, body := r.https(viaRedirect, "ok.test:443", raw)
		if d := wantDenial(t, resp, body, 403, codeMiddlewareFailed); d.Middleware != "own" || len(arrived()) > 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if resp, _ := r.https(viaRedirect, "ok.test:443", inChunks("/public/a", "", long)); resp.StatusCode != 200 || len(arrived()) != 1 {
		t.Error(resp.Status)
	}
}

// fail_open lets a body pass that is too long to be looked at, whole.
func TestMiddlewareFailsOpen(t *testing.T) {
	r, _ := chained(t, basePolicy, "  open: {middleware: creel/secrets, on_error: fail_open, endpoints: {include: [ok.test]}}\n", nil)
	got := make(chan int, 1)
	r.web("ok.test", 443, func(_ http.ResponseWriter, q *http.Request) {
		n, _ := io.Copy(io.Discard, q.Body)
		got <- int(n)
	})
	long := strings.Repeat("x", middleware.MaxBody+70000)
	for name, raw := range map[string]string{
		"length": posted("/public/a", "", long),
		"chunks": fmt.Sprintf("POST /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(long), long),
	} {
		resp, body := r.https(viaRedirect, "ok.test:443", raw)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s", name, resp.StatusCode, body)
		}
		if n := <-got; n != len(long) {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
	r.event("failure", func(ev audit.Event) bool {
		return ev.Kind == audit.Middleware && ev.Detail["middleware"] == "open" && strings.Contains(ev.Reason, "longer than")
	})
}

// What a middleware writes is judged as what the agent wrote.
func TestMiddlewareChangeIsJudged(t *testing.T) {
	becomes := func(text string) map[string]checks {
		return map[string]checks{"writes": {middleware.Request, func(m *middleware.Message) (middleware.Answer, error) {
			return middleware.Answer{Action: middleware.Change, Body: []byte(text)}, nil
		}}}
	}
	for _, tt := range []struct{ name, text, why string }{
		{"allowed", `{"query":"{ viewer { id } }"}`, ""},
		{"a mutation", `{"query":"mutation { drop }"}`, "no rule"},
		{"a denied field", `{"query":"{ a: secrets }"}`, "denies"},
		{"no GraphQL", `hello`, "JSON"},
		{"nothing", ``, "empty"},
		{"too long for it", `{"query":"{ a }"}` + strings.Repeat(" ", 1000), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := chained(t, graphqlPolicy, "  w: {middleware: writes, endpoints: {include: [ok.test]}}\n", becomes(tt.text))
			h, arrived := arrivals()
			r.web("ok.test", 443, h)
			resp, body := send(t, r.client(), "POST", "https://ok.test/graphql", `{"query":"{ viewer { login } }"}`, "Content-Type", asJSON)
			if tt.why == "" {
				if got := arrived(); resp.StatusCode != 200 || len(got) != 1 || got[0] != "POST /graphql "+tt.text {
					t.Errorf("%d %s %q", resp.StatusCode, body, got)
				}
				return
			}
			d := wantDenial(t, resp, body, 403, codeMiddleware)
			if !strings.Contains(d.Reason, tt.why) || len(arrived()) > 0 {
				t.Errorf("%+v, want %q", d, tt.why)
			}
		})
	}
	t.Run("a form that names a method", func(t *testing.T) {
		r, _ := chained(t, basePolicy, "  w: {middleware: writes, endpoints: {include: [ok.test]}}\n", becomes("_method=DELETE"))
		h, arrived := arrivals()
		r.web("ok.test", 443, h)
		resp, body := send(t, r.client(), "POST", "https://ok.test/public/a", "a=b", "Content-Type", "application/x-www-form-urlencoded")
		wantDenial(t, resp, body, 403, codePolicy)
		for _, a := range arrived() {
			if strings.Contains(a, "DELETE") {
				t.Error(a)
			}
		}
	})
	t.Run("a body where there is none", func(t *testing.T) {
		r, _ := chained(t, basePolicy, "  w: {middleware: writes, endpoints: {include: [ok.test]}}\n", becomes("x"))
		h, arrived := arrivals()
		r.web("ok.test", 443, h)
		resp, body := send(t, r.client(), "GET", "https://ok.test/public/a", "")
		if wantDenial(t, resp, body, 403, codeMiddleware); len(arrived()) > 0 {
			t.Error("it was sent")
		}
	})
	t.Run("a denied call is answered in its protocol", func(t *testing.T) {
		r, _ := chained(t, `version: 2
network_policies:
  k:
    endpoints:
      - {host: ok.test, port: 443, protocol: json-rpc, rules: [{allow: {method: add}}]}
    binaries: any
`, "  guard: {middleware: creel/secrets, config: {mode: redact}, endpoints: {include: [ok.test]}}\n", nil)
		h, arrived := arrivals()
		r.web("ok.test", 443, h)
		resp, body := send(t, r.client(), "POST", "https://ok.test/", `{"jsonrpc":"2.0","id":1,"method":"add","params":["`+held+`"]}`, "Content-Type", asJSON)
		if got := arrived(); resp.StatusCode != 200 || len(got) != 1 || !strings.Contains(got[0], `"params":["[redacted:`) {
			t.Errorf("%s %s %q", resp.Status, body, got)
		}
		resp, body = send(t, r.client(), "POST", "https://ok.test/", `{"jsonrpc":"2.0","id":1,"method":"add"}`, "Content-Type", asJSON, "X-A", held)
		if len(arrived()) > 0 || resp.StatusCode != 200 || !strings.Contains(body, `"id":1`) || !strings.Contains(body, codeMiddleware) {
			t.Errorf("%s %s", resp.Status, body)
		}
	})
}

// Credentials that Creel puts in are not what a middleware sees, and placeholders
// are no secrets.
func TestMiddlewareSeesPlaceholders(t *testing.T) {
	set, err := credential.Parse([]string{"TKN=env:TKN@bound.test"}, func(string) (string, bool) { return held, true })
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan *middleware.Message, 2)
	r, _ := chained(t, basePolicy, `  secrets: {middleware: creel/secrets, order: 1, config: {on: [request, response]}, endpoints: {include: [bound.test]}}
  own: {middleware: own, order: 2, endpoints: {include: [bound.test]}}
`, map[string]checks{"own": {middleware.Request | middleware.Response, func(m *middleware.Message) (middleware.Answer, error) {
		copied := *m
		seen <- &copied
		return middleware.Answer{Action: middleware.Pass}, nil
	}}}, func(_ *rig, c *Config) { c.Secrets = set })
	r.web("bound.test", 443, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Echo", q.Header.Get("Authorization"))
		fmt.Fprint(w, q.Header.Get("Authorization"))
	})
	resp, body := r.https(viaRedirect, "bound.test:443", "GET /p?q HTTP/1.1\r\nHost: bound.test\r\nConnection: close\r\nAuthorization: Bearer creel:cred:TKN/key\r\n\r\n")
	if resp.StatusCode != 200 || body != "Bearer creel:cred:TKN/key" {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	q, a := <-seen, <-seen
	if q.Direction != middleware.Request || q.Header.Get("Authorization") != "Bearer creel:cred:TKN/key" || q.Target() != "/p?q" || q.Method != "GET" ||
		q.Scheme != "https" || q.Host.String() != "bound.test" || q.Port != 443 {
		t.Errorf("request: %+v", q)
	}
	if a.Direction != middleware.Response || a.Status != 200 || string(a.Body) != "Bearer creel:cred:TKN/key" || a.Header.Get("X-Echo") != "Bearer creel:cred:TKN/key" {
		t.Errorf("answer: %+v %s", a, a.Body)
	}
}

func TestMiddlewareAnswers(t *testing.T) {
	long := strings.Repeat("x", middleware.MaxBody+1)
	answers := map[string]http.HandlerFunc{
		"/public/plain":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") },
		"/public/secret": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a "+held) },
		"/public/flushed": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, held[:5])
			w.(http.Flusher).Flush()
			fmt.Fprint(w, held[5:])
		},
		"/public/header": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", held); fmt.Fprint(w, "fine") },
		"/public/gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			fmt.Fprint(w, gzipped(held))
		},
		"/public/long": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, long) },
		"/public/events": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: x\n\n")
		},
		"/public/trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-T")
			fmt.Fprint(w, "fine")
			w.Header().Set("X-T", held)
		},
		"/public/missing": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); fmt.Fprint(w, "a "+held) },
		"/public/empty":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"/public/hint": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</"+held+">")
			w.WriteHeader(103)
			w.Header().Del("Link")
			fmt.Fprint(w, "fine")
		},
	}
	serve := func(w http.ResponseWriter, q *http.Request) { answers[q.URL.Path](w, q) }
	const lines = "  guard: {middleware: creel/secrets, config: {mode: %s, on: [response]}, on_error: %s, endpoints: {include: [ok.test]}}\n"
	for _, tt := range []struct {
		mode, onError, path string
		want                string // a code, or the answer
	}{
		{"deny", "fail_closed", "/public/plain", "fine"},
		{"deny", "fail_closed", "/public/empty", ""},
		{"deny", "fail_closed", "/public/hint", "fine"},
		{"deny", "fail_closed", "/public/secret", codeMiddleware},
		{"deny", "fail_closed", "/public/flushed", codeMiddleware},
		{"deny", "fail_closed", "/public/header", codeMiddleware},
		{"deny", "fail_closed", "/public/missing", codeMiddleware},
		{"deny", "fail_closed", "/public/gzip", codeMiddleware},
		{"deny", "fail_closed", "/public/long", codeMiddlewareFailed},
		{"deny", "fail_closed", "/public/events", codeMiddlewareFailed},
		{"deny", "fail_open", "/public/long", long},
		{"deny", "fail_open", "/public/events", "data: x\n\n"},
		{"redact", "fail_closed", "/public/secret", "a [redacted:secrets/known/HELD]"},
		{"redact", "fail_closed", "/public/gzip", "[redacted:secrets/known/HELD]"},
		{"redact", "fail_closed", "/public/flushed", "[redacted:secrets/known/HELD]"},
		{"redact", "fail_closed", "/public/header", codeMiddleware},
	} {
		t.Run(tt.mode+" "+tt.onError+" "+tt.path, func(t *testing.T) {
			r, _ := chained(t, basePolicy, fmt.Sprintf(lines, tt.mode, tt.onError), nil)
			r.web("ok.test", 443, serve)
			c, _ := r.open(viaRedirect, "ok.test:443")
			tc, err := r.startTLS(c, "ok.test")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(tc, "GET "+tt.path+" HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nAccept-Encoding: gzip, br\r\nTE: trailers\r\n\r\n")
			all, err := io.ReadAll(tc)
			if err != nil || bytes.Contains(all, []byte(held)) {
				t.Fatalf("%.300s %v", all, err)
			}
			if strings.HasPrefix(tt.want, "middleware_") {
				if !bytes.Contains(all, []byte("403 Forbidden")) || !bytes.Contains(all, []byte(`"error": "`+tt.want+`"`)) {
					t.Errorf("%.300s", all)
				}
			} else if _, body, _ := bytes.Cut(all, []byte("\r\n\r\n")); bytes.Count(body, []byte("x")) < len(tt.want) && !strings.Contains(string(body), tt.want) || bytes.Contains(all, []byte("Content-Encoding")) {
				t.Errorf("%.300s", all)
			}
			r.keepsQuiet()
		})
	}
	t.Run("nothing is waited for without one", func(t *testing.T) {
		r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, endpoints: {include: [ok.test]}}\n", nil)
		more := make(chan struct{})
		r.web("ok.test", 443, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "first")
			w.(http.Flusher).Flush()
			<-more
		})
		c, _ := r.open(viaRedirect, "ok.test:443")
		tc, err := r.startTLS(c, "ok.test")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(tc, "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
		var got []byte
		for buf := make([]byte, 512); !bytes.Contains(got, []byte("first")); {
			n, err := tc.Read(buf)
			if got = append(got, buf[:n]...); err != nil {
				t.Fatal(err)
			}
		}
		close(more)
		_, _ = io.ReadAll(tc)
	})
}

// What is not HTTP cannot be looked at: it is refused, or passes where every
// middleware lets it, and is recorded.
func TestMiddlewareOpaque(t *testing.T) {
	raw := func(r *rig, to string, port uint16) chan string {
		got := make(chan string, 4)
		r.raw(to, port, func(c net.Conn) {
			b := make([]byte, 64)
			n, _ := c.Read(b)
			got <- string(b[:n])
			_, _ = io.WriteString(c, "from the server")
		})
		return got
	}
	for _, w := range bothWays {
		t.Run("closed "+string(w), func(t *testing.T) {
			r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, endpoints: {include: [\"**\"]}}\n", nil)
			got := raw(r, "raw.test", 5432)
			c, _ := r.open(w, "raw.test:5432")
			_, _ = io.WriteString(c, "\x00\x00\x00\x08hello")
			b, _ := io.ReadAll(c)
			if len(got) > 0 || bytes.Contains(b, []byte("from the server")) {
				t.Errorf("it passed: %q", b)
			}
			// One that speaks HTTP is looked at, on every port.
			c, _ = r.open(w, "raw.test:5432")
			resp, body := talk(t, c, "POST", "POST / HTTP/1.1\r\nHost: raw.test:5432\r\nContent-Length: 24\r\n\r\n"+held)
			if wantDenial(t, resp, body, 403, codeMiddleware); len(got) > 0 {
				t.Error("it passed")
			}
			// The engine is not that of a policy that was loaded with these middlewares.
			if c, refused := r.open(w, "opaque.test:443"); refused == nil {
				_, _ = io.WriteString(c, "\x00")
				_, _ = io.ReadAll(c)
			}
			r.event("tls: skip", func(ev audit.Event) bool {
				return ev.Verdict == "deny" && ev.Host == "opaque.test" && strings.Contains(ev.Reason, "tls: skip")
			})
		})
		t.Run("open "+string(w), func(t *testing.T) {
			r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, on_error: fail_open, endpoints: {include: [\"**\"]}}\n", nil)
			got := raw(r, "raw.test", 5432)
			c, _ := r.open(w, "raw.test:5432")
			_, _ = io.WriteString(c, "\x00\x00\x00\x08hello")
			if b, _ := io.ReadAll(c); <-got != "\x00\x00\x00\x08hello" || string(b) != "from the server" {
				t.Errorf("%q", b)
			}
			r.event("unseen", func(ev audit.Event) bool {
				return ev.Kind == audit.Middleware && ev.Verdict == "allow" && ev.Host == "raw.test" && ev.Detail["middleware"] == "guard" && strings.Contains(ev.Reason, "not HTTP")
			})
			skipped := raw(r, "opaque.test", 443)
			c, _ = r.open(w, "opaque.test:443")
			_, _ = io.WriteString(c, "whatever")
			if b, _ := io.ReadAll(c); <-skipped != "whatever" || string(b) != "from the server" {
				t.Errorf("%q", b)
			}
			r.event("unseen", func(ev audit.Event) bool {
				return ev.Kind == audit.Middleware && ev.Host == "opaque.test" && strings.Contains(ev.Reason, "tls: skip")
			})
			c, _ = r.open(w, "raw.test:5432")
			resp, body := talk(t, c, "POST", "POST / HTTP/1.1\r\nHost: raw.test:5432\r\nContent-Length: 24\r\n\r\n"+held)
			wantDenial(t, resp, body, 403, codeMiddleware)
		})
	}
}

// A new chain holds for what is open, too.
func TestMiddlewareReload(t *testing.T) {
	r, p := chained(t, basePolicy, "  guard: {middleware: creel/secrets, on_error: fail_open, endpoints: {include: [raw.test]}}\n", nil)
	old := p.Load()
	p.Store(nil)
	r.raw("raw.test", 5432, func(c net.Conn) {
		_, _ = io.WriteString(c, "hello")
		_, _ = io.Copy(io.Discard, c)
	})
	relayed := func() net.Conn {
		c, _ := r.open(viaRedirect, "raw.test:5432")
		_, _ = io.WriteString(c, "\x00\x01")
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := relayed()
	p.Store(old)
	if n := r.s.Recheck(); n != 1 {
		t.Errorf("%d closed, want the one that nobody looks at", n)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("it is open")
	}
	c = relayed() // one that the chain lets pass unseen stays
	if n := r.s.Recheck(); n != 0 {
		t.Errorf("%d closed", n)
	}
	p.Store(chain(t, "  guard: {middleware: creel/secrets, endpoints: {include: [raw.test]}}\n", nil))
	if n := r.s.Recheck(); n != 1 {
		t.Errorf("%d closed, want the one that is to be looked at now", n)
	}
	_, _ = c.Read(make([]byte, 1))
}

// A request that is being sent and that nobody looked at ends when somebody has to;
// one of another host goes on.
func TestMiddlewareReloadInFlight(t *testing.T) {
	const guard = "  guard: {middleware: creel/secrets, endpoints: {include: [%s]}}\n"
	r, p := chained(t, basePolicy, fmt.Sprintf(guard, "no.test"), nil)
	got := make(chan string, 4)
	r.web("ok.test", 443, func(_ http.ResponseWriter, q *http.Request) {
		b := make([]byte, 5)
		_, _ = io.ReadFull(q.Body, b)
		got <- string(b)
		rest, err := io.ReadAll(q.Body)
		got <- fmt.Sprint(string(rest), err == nil)
	})
	c, _ := r.open(viaRedirect, "ok.test:443")
	tc, err := r.startTLS(c, "ok.test")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(tc, "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
	if b := <-got; b != "first" {
		t.Fatal(b)
	}
	p.Store(chain(t, fmt.Sprintf(guard, "raw.test"), nil))
	if n := r.s.Recheck(); n != 0 {
		t.Errorf("%d closed for another host", n)
	}
	p.Store(chain(t, fmt.Sprintf(guard, "ok.test"), nil))
	if n := r.s.Recheck(); n != 1 {
		t.Errorf("%d closed", n)
	}
	_, _ = io.WriteString(tc, "18\r\n"+held+"\r\n0\r\n\r\n")
	if b := <-got; b != "false" {
		t.Errorf("the server got %q", b)
	}
	r.event("cut", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && strings.Contains(ev.Reason, "look at this request")
	})
}

// What goes to a model is looked at before the route has it.
func TestMiddlewareReroute(t *testing.T) {
	for _, tt := range []struct{ config, code string }{
		{"{}", codeMiddleware},
		{"{mode: redact}", ""},
		{"{on: [response]}", codeMiddlewareFailed},
	} {
		route := &bodyRoute{fakeRoute: fakeRoute{host: "model.test"}, got: make(chan string, 1)}
		r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, config: "+tt.config+", endpoints: {include: [\"**\"]}}\n", nil,
			func(_ *rig, c *Config) { c.Inference = func() Inference { return route } })
		resp, body := r.https(viaRedirect, "model.test:443", strings.Replace(posted("/v1/messages", "", `{"a":"`+held+`"}`), "ok.test", "model.test", 1))
		if tt.code == "" {
			if got := <-route.got; resp.StatusCode != 200 || got != `{"a":"[redacted:secrets/known/HELD]"}` {
				t.Errorf("%s: %d %s %s", tt.config, resp.StatusCode, body, got)
			}
			continue
		}
		if wantDenial(t, resp, body, 403, tt.code); len(route.got) > 0 {
			t.Errorf("%s: the route was asked", tt.config)
		}
		r.keepsQuiet()
	}
}

type bodyRoute struct {
	fakeRoute
	got chan string
}

func (f *bodyRoute) Serve(w http.ResponseWriter, q *http.Request, record func(audit.Event) error) {
	b, _ := io.ReadAll(q.Body)
	if int64(len(b)) != q.ContentLength {
		b = append(b, " of another length"...)
	}
	f.got <- string(b)
	fmt.Fprint(w, "ok")
}

// What cannot be recorded is not done.
func TestMiddlewareUnrecorded(t *testing.T) {
	r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, config: {mode: report}, endpoints: {include: [ok.test]}}\n", nil)
	h, arrived := arrivals()
	r.web("ok.test", 443, h)
	r.book.mu.Lock()
	r.book.refuse = func(ev audit.Event) bool { return ev.Kind == audit.Middleware }
	r.book.mu.Unlock()
	resp, body := r.https(viaRedirect, "ok.test:443", posted("/public/a", "", held))
	if wantDenial(t, resp, body, 503, codeAudit); len(arrived()) > 0 {
		t.Error("it was sent")
	}
}

// A body that breaks off is not looked at, and not sent.
func TestMiddlewareTornBody(t *testing.T) {
	r, _ := chained(t, basePolicy, "  guard: {middleware: creel/secrets, on_error: fail_open, endpoints: {include: [ok.test]}}\n", nil)
	h, arrived := arrivals()
	r.web("ok.test", 443, h)
	resp, body := r.https(viaRedirect, "ok.test:443", "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
	if wantDenial(t, resp, body, 400, codeRequest); len(arrived()) > 0 {
		t.Error("it was sent")
	}
}

// What was read of a path in which something was found is not recorded, either: the
// name of a repository, a package, or a method.
func TestMiddlewareInPathIsUnsaid(t *testing.T) {
	for _, tt := range []struct{ name, rest, path string }{
		{"git", "protocol: git, rules: [{allow: {operation: fetch, repository: '**'}}]", "/team/" + held + "/info/refs?service=git-upload-pack"},
		{"package", "protocol: package, registry: npm, rules: [{allow: {package: '**'}}]", "/" + held},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := chained(t, "version: 2\nnetwork_policies: {a: {binaries: any, endpoints: [{host: ok.test, port: 443, "+tt.rest+"}]}}\n",
				"  guard: {middleware: creel/secrets, endpoints: {include: [ok.test]}}\n", nil)
			h, arrived := arrivals()
			r.web("ok.test", 443, h)
			resp, body := r.exchange(viaRedirect, "ok.test:443", "GET "+tt.path+" HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != 403 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if got := arrived(); len(got) > 0 {
				t.Errorf("the server got %q", got)
			}
			r.event("denial", func(ev audit.Event) bool { return ev.Kind == audit.Request && ev.Verdict == "deny" })
			r.keepsQuiet()
		})
	}
}
