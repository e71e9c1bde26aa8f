package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/creel-run/creel/audit"
)

// guard is a middleware of an operator's: it takes "internal-term" out of bodies
// and denies "forbidden-term".
type guard struct {
	srv *http.Server
	mu  sync.Mutex
	got []string // calls, as they came
}

func startGuard(t *testing.T, socket string) *guard {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{}
	g.srv = &http.Server{Handler: g}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.srv.Serve(l) }()
	t.Cleanup(func() { _ = g.srv.Close(); <-done })
	return g
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Config  string
		Body    []byte
		Headers []struct{ Name, Value string }
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		w.WriteHeader(400)
		return
	}
	text, _ := json.Marshal(call)
	g.mu.Lock()
	g.got = append(g.got, string(text)+string(call.Body))
	g.mu.Unlock()
	answer := map[string]any{"verdict": "VERDICT_PASS"}
	switch body := string(call.Body); {
	case strings.Contains(body, "forbidden-term"):
		answer = map[string]any{"verdict": "VERDICT_DENY", "reason": "that is not for outside"}
	case strings.Contains(body, "internal-term"):
		answer = map[string]any{"verdict": "VERDICT_CHANGE", "body": []byte(strings.ReplaceAll(body, "internal-term", "[gone]"))}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (g *guard) saw(text string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Contains(strings.Join(g.got, "\n"), text)
}

// TestMiddlewares: a sandbox whose policy names middlewares starts, and they look at
// what real clients send; an operator's own one that is gone denies.
func TestMiddlewares(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		socket := filepath.Join(t.TempDir(), "guard.sock")
		g := startGuard(t, socket)
		const lines = `network_middlewares:
  deny: {middleware: creel/secrets, order: 1, endpoints: {include: [ok.test]}}
  redact: {middleware: creel/secrets, order: 2, config: {mode: redact}, endpoints: {include: [other.test]}}
  guard: {middleware: guard, order: 3, config: {level: 7}, endpoints: {include: [third.test]}}
  loose: {middleware: guard, order: 4, on_error: fail_open, endpoints: {include: [fourth.test]}}
`
		b := box{
			policy: twoHosts(restFull, "ok.test", "other.test", "third.test", "fourth.test") + lines, name: "looked-" + strings.ToLower(filepath.Base(filepath.Dir(socket))),
			flags: join(s.upstreams("ok.test", "other.test", "third.test", "fourth.test"), []string{"--trust-ca", caFile(t),
				"--secret", "TOKEN=env:E2E_TOKEN@third.test:X-Token", "--middleware", "guard=unix://" + socket}),
			env: []string{"E2E_TOKEN=" + canary("token")},
		}
		l := b.start(t)
		post := func(host, path, body string, more ...string) string {
			return string(l.do(join([]string{"curl", "-sS", "-d", body, "https://" + host + path}, more)...).Stdout)
		}
		for _, c := range []struct{ host, path, body, answer, arrives string }{
			{"ok.test", "/x/plain", "harmless", "", "harmless"},
			{"ok.test", "/x/known", "my " + canary("token"), `"error": "middleware_denied"`, ""},
			{"ok.test", "/x/rule", "AWS_ACCESS_KEY_ID=AKIA" + "Q3EGRIUY6H2TZ5KD", `"middleware": "deny"`, ""},
			{"ok.test", "/x/query?k=" + canary("token"), "x", `"error": "middleware_denied"`, ""},
			{"other.test", "/x/redacted", "my " + canary("token") + "!", "", "my [redacted:secrets/known/TOKEN]!"},
			{"third.test", "/x/changed", "an internal-term here", "", "an [gone] here"},
			{"third.test", "/x/denied", "a forbidden-term here", "that is not for outside", ""},
			{"fourth.test", "/x/changed4", "an internal-term here", "", "an [gone] here"},
		} {
			got := post(c.host, c.path, c.body)
			if !strings.Contains(got, c.answer) || c.arrives == "" != strings.Contains(got, "middleware_denied") {
				t.Errorf("%s: %s", c.path, got)
			}
			path, _, _ := strings.Cut(c.path, "?")
			if s.got(path) != (c.arrives != "") || c.arrives != "" && !s.has(func(r seen) bool { return r.URI == path && string(r.Body) == c.arrives }) {
				t.Errorf("%s: arrived as %+v", c.path, s.requests())
			}
		}
		post("third.test", "/x/token", "x", "-H", "X-Token: creel:cred:TOKEN/key")
		if !s.has(func(r seen) bool { return r.URI == "/x/token" && r.Header.Get("X-Token") == canary("token") }) || g.saw(canary("token")) ||
			!g.saw("creel:cred:TOKEN/key") || !g.saw("level") {
			t.Errorf("the guard saw %q", g.got)
		}
		l.event(0, "the finding", func(e audit.Event) bool {
			return e.Kind == audit.Middleware && e.Verdict == "deny" && e.Detail["middleware"] == "deny" && strings.HasPrefix(e.Detail["findings"], "secrets/known/TOKEN body")
		})
		row := ""
		for _, r := range posture(t, b.name) {
			if r.Name == "middlewares" {
				row = r.State + " " + r.Detail + " " + r.Want
			}
		}
		if row != "degraded # in this order: deny (creel/secrets), redact (creel/secrets), guard, loose (guard) fail_open fail_closed for loose" {
			t.Errorf("posture: %s", row)
		}

		// A faulty revision changes nothing, and says where.
		write(t, l.policy, b.policy+"  last: {middleware: gaurd, order: 5, endpoints: {include: [ok.test]}}\n")
		creelCmd(t, "reload", b.name).want(t, 2).err(t, "policy.yaml:", "gaurd", "--middleware")
		if got := post("ok.test", "/x/again", canary("token")); !strings.Contains(got, "middleware_denied") {
			t.Error(got)
		}
		// A good one holds for the next request.
		write(t, l.policy, strings.Replace(b.policy, "include: [ok.test]", "include: [none.test]", 1))
		creelCmd(t, "reload", b.name).want(t, 0)
		if post("ok.test", "/x/free", canary("token")); !s.got("/x/free") {
			t.Error("the old chain holds")
		}

		_ = g.srv.Close()
		_ = os.Remove(socket)
		if got := post("third.test", "/x/gone", "harmless"); !strings.Contains(got, `"error": "middleware_failed"`) || s.got("/x/gone") {
			t.Errorf("without the guard: %s", got)
		}
		if post("fourth.test", "/x/open", "harmless"); !s.got("/x/open") {
			t.Error("fail_open: it did not pass")
		}
		l.event(0, "the failure", func(e audit.Event) bool {
			return e.Kind == audit.Middleware && e.Verdict == "deny" && e.Detail["middleware"] == "guard" && strings.Contains(e.Reason, "cannot be reached")
		})
		if b, err := os.ReadFile(l.audit); err != nil || strings.Contains(string(b), canary("token")) {
			t.Errorf("the log has the secret (%v)", err)
		}
	})
}

// A socket that the agent could make is not taken for the operator's.
func TestMiddlewareSocketInWorkspace(t *testing.T) {
	ws := t.TempDir()
	box{policy: twoHosts(restFull, "ok.test"), workspace: ws, flags: []string{"--middleware", "guard=unix://" + ws + "/guard.sock"}}.run(t, "true").want(t, 2).err(t, "the agent can write", "guard")
	box{policy: twoHosts(restFull, "ok.test"), workspace: ws, flags: []string{"--middleware", "guard"}}.run(t, "true").want(t, 2).err(t, "NAME=ENDPOINT")
}
