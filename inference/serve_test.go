package inference

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/internal/fakemodel"
	"github.com/creel-run/creel/secret"
	"github.com/google/go-cmp/cmp"
)

const routeKey = "real-route-key-51c9"

func newKey(s string) secret.Value { return secret.New(s) }

// events collects what is recorded, and may refuse to.
type events struct {
	mu   sync.Mutex
	list []audit.Event
	err  error
	more chan struct{}
}

func (e *events) record(ev audit.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	e.list = append(e.list, ev)
	if e.more != nil {
		e.more <- struct{}{}
	}
	return nil
}

func (e *events) all() []audit.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]audit.Event(nil), e.list...)
}

// front serves a route as egress does, over a real socket.
func front(t *testing.T, r *Route, ev *events) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.Serve(w, req, ev.record)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func route(t *testing.T, c Config) *Route {
	t.Helper()
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// backend is the fake model behind real TLS.
func backend(t *testing.T, c fakemodel.Config) (*fakemodel.Server, *httptest.Server, *x509.CertPool) {
	t.Helper()
	m := fakemodel.New(c)
	srv := httptest.NewTLSServer(m)
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return m, srv, pool
}

func post(t *testing.T, url, body string, header map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestPassThrough(t *testing.T) {
	script := fakemodel.Script{{Say: "hello from the model"}}
	caller := map[string]string{"Authorization": "Bearer caller", "X-Api-Key": "caller", "X-Goog-Api-Key": "caller", "Cookie": "caller=1",
		"OpenAI-Organization": "caller", "OpenAI-Project": "caller", "X-Forwarded-For": "caller", "X-Unknown": "caller",
		"Anthropic-Version": "2023-06-01", "User-Agent": "agent/1"}
	tests := []struct {
		name, path, body, keyHeader, key string
		wantPath, wantQuery, wantModel   string
		protocol                         string
	}{
		{"chat", "/v1/chat/completions", `{"model":"asked","messages":[]}`, "Authorization", "Bearer " + routeKey, "/v1/chat/completions", "", "forced", "openai"},
		{"chat stream", "/v1/chat/completions", `{"model":"asked","stream":true,"messages":[]}`, "Authorization", "Bearer " + routeKey, "/v1/chat/completions", "", "forced", "openai"},
		{"responses", "/v1/responses?key=caller", `{"model":"asked","input":"x"}`, "Authorization", "Bearer " + routeKey, "/v1/responses", "", "forced", "openai"},
		{"responses stream", "/v1/responses", `{"model":"asked","stream":true,"input":[]}`, "Authorization", "Bearer " + routeKey, "/v1/responses", "", "forced", "openai"},
		{"messages", "/v1/messages?beta=true&x=caller", `{"model":"asked","messages":[]}`, "X-Api-Key", routeKey, "/v1/messages", "beta=true", "forced", "anthropic"},
		{"messages stream", "/v1/messages", `{"model":"asked","stream":true,"messages":[]}`, "X-Api-Key", routeKey, "/v1/messages", "", "forced", "anthropic"},
		{"gemini", "/v1beta/models/asked:generateContent?key=caller", `{"contents":[]}`, "X-Goog-Api-Key", routeKey, "/v1beta/models/forced:generateContent", "", "forced", "gemini"},
		{"gemini stream", "/v1beta/models/asked:streamGenerateContent?alt=sse&key=caller", `{"contents":[]}`, "X-Goog-Api-Key", routeKey, "/v1beta/models/forced:streamGenerateContent", "alt=sse", "forced", "gemini"},
		{"gemini v1", "/v1/models/asked:generateContent", `{"model":"models/asked","contents":[]}`, "X-Goog-Api-Key", routeKey, "/v1/models/forced:generateContent", "", "forced", "gemini"},
		{"dot segments", "/v1/../v1/messages", `{"model":"asked","messages":[]}`, "X-Api-Key", routeKey, "/v1/messages", "", "forced", "anthropic"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			model, srv, pool := backend(t, fakemodel.Config{Script: script, Key: routeKey})
			ev := &events{}
			agent := front(t, route(t, Config{URL: srv.URL, Key: newKey(routeKey), Model: "forced", RootCAs: pool}), ev)
			resp, body := post(t, agent.URL+tt.path, tt.body, caller)
			if resp.StatusCode != 200 || !strings.Contains(body, "hello") || !strings.Contains(body, "model") {
				t.Fatalf("status %d: %s", resp.StatusCode, body)
			}
			if strings.Contains(tt.name, "stream") != strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
				t.Errorf("content type %q", resp.Header.Get("Content-Type"))
			}
			got := model.Requests()
			if len(got) != 1 {
				t.Fatalf("%d requests", len(got))
			}
			q := got[0]
			if q.Path != tt.wantPath || q.RawQuery != tt.wantQuery || q.Model != tt.wantModel || q.Header.Get(tt.keyHeader) != tt.key {
				t.Errorf("the backend got path %q, query %q, model %q, %s %q", q.Path, q.RawQuery, q.Model, tt.keyHeader, q.Header.Get(tt.keyHeader))
			}
			all := fmt.Sprintf("%v %s %s", q.Header, q.RawQuery, q.Path)
			if strings.Contains(strings.ToLower(all), "caller") {
				t.Errorf("something of the caller's was passed on: %s", all)
			}
			if q.Header.Get("User-Agent") != "agent/1" || q.Header.Get("Anthropic-Version") != "2023-06-01" {
				t.Errorf("listed headers are missing: %v", q.Header)
			}
			agent.Close() // the outcome is recorded after the agent has its answer
			list := ev.all()
			if len(list) != 2 {
				t.Fatalf("events: %+v", list)
			}
			first, done := list[0], list[1]
			if first.Kind != audit.Inference || first.Verdict != "reroute" || first.Method != "POST" || first.Model != "forced" ||
				first.Detail["asked_model"] != "asked" || first.Detail["protocol"] != tt.protocol {
				t.Errorf("event %+v", first)
			}
			if done.Kind != audit.InferenceDone || done.Status != 200 || done.BytesIn != int64(len(body)) || done.BytesOut != int64(len(q.Body)) || done.Reason != "" {
				t.Errorf("event %+v, body %d", done, len(body))
			}
			noSecrets(t, list)
		})
	}
}

func noSecrets(t *testing.T, list []audit.Event) {
	t.Helper()
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{routeKey, "caller", "beta=true", "contents", "input", "?"} {
		if strings.Contains(string(text), bad) {
			t.Errorf("the events hold %q: %s", bad, text)
		}
	}
}

func TestModelMapAndLists(t *testing.T) {
	model, srv, pool := backend(t, fakemodel.Config{})
	ev := &events{}
	agent := front(t, route(t, Config{URL: srv.URL + "/v1", RootCAs: pool, Models: map[string]string{"a": "b"}}), ev)
	post(t, agent.URL+"/v1/chat/completions", `{"model":"a"}`, nil)
	post(t, agent.URL+"/v1/chat/completions", `{"model":"other"}`, nil)
	resp, _ := post(t, agent.URL+"/v1/chat/completions", `{"model":"a","Models":["dear"]}`, nil)
	if resp.StatusCode != 400 {
		t.Errorf("a list of models: status %d", resp.StatusCode)
	}
	for _, path := range []string{"/v1/models", "/v1/models?limit=3&key=x"} {
		req, err := http.NewRequest("GET", agent.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, body := do(t, req); resp.StatusCode != 200 || !strings.Contains(body, "fake-model") {
			t.Errorf("GET %s: %d %s", path, resp.StatusCode, body)
		}
	}
	var got []string
	for _, q := range model.Requests() {
		if q.Header.Get("Authorization") != "" {
			t.Errorf("a route without key sent one: %v", q.Header)
		}
		got = append(got, q.Path+" "+q.Model+" "+q.RawQuery)
	}
	want := []string{"/v1/chat/completions b ", "/v1/chat/completions other ", "/v1/models  ", "/v1/models  limit=3"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		header                   map[string]string
		status                   int
	}{
		{name: "files", method: "POST", path: "/v1/files", body: "{}", status: 403},
		{name: "batches", method: "POST", path: "/v1/messages/batches", body: "{}", status: 403},
		{name: "fine-tuning", method: "GET", path: "/v1/fine_tuning/jobs", status: 403},
		{name: "telemetry", method: "POST", path: "/api/event_logging/v2/batch", body: "{}", status: 403},
		{name: "root", method: "HEAD", path: "/", status: 403},
		{name: "wrong method", method: "GET", path: "/v1/messages", status: 403},
		{name: "delete model", method: "DELETE", path: "/v1/models/x", status: 403},
		{name: "trailing slash", method: "POST", path: "/v1/messages/", body: `{"model":"a"}`, status: 403},
		{name: "case", method: "POST", path: "/V1/messages", body: `{"model":"a"}`, status: 403},
		{name: "gemini verb", method: "POST", path: "/v1beta/models/x:predict", body: "{}", status: 403},
		{name: "gemini slash", method: "POST", path: "/v1beta/models/a/b:generateContent", body: "{}", status: 403},
		{name: "tuned", method: "POST", path: "/v1beta/tunedModels/x:generateContent", body: "{}", status: 403},
		{name: "websocket", method: "GET", path: "/v1/responses", header: map[string]string{"Connection": "Upgrade", "Upgrade": "websocket"}, status: 426},
		{name: "form", method: "POST", path: "/v1/messages", body: "a=b", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, status: 415},
		{name: "zstd", method: "POST", path: "/v1/responses", body: "x", header: map[string]string{"Content-Encoding": "zstd"}, status: 415},
		{name: "not gzip", method: "POST", path: "/v1/responses", body: "x", header: map[string]string{"Content-Encoding": "gzip"}, status: 400},
		{name: "duplicate model", method: "POST", path: "/v1/messages", body: `{"model":"a","model":"b"}`, status: 400},
		{name: "no model", method: "POST", path: "/v1/messages", body: `{}`, status: 400},
		{name: "two models", method: "POST", path: "/v1beta/models/a:generateContent", body: `{"model":"models/b"}`, status: 400},
		{name: "list with body", method: "GET", path: "/v1/models", body: "{}", status: 400},
		{name: "too large", method: "POST", path: "/v1/messages", body: `{"model":"a","x":"` + strings.Repeat("x", bodyBytes) + `"}`, status: 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			model, srv, pool := backend(t, fakemodel.Config{})
			ev := &events{}
			agent := front(t, route(t, Config{URL: srv.URL, Key: newKey(routeKey), RootCAs: pool}), ev)
			var body io.Reader
			if tt.body != "" {
				body = strings.NewReader(tt.body)
			}
			req, err := http.NewRequest(tt.method, agent.URL+tt.path, body)
			if err != nil {
				t.Fatal(err)
			}
			if tt.body != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			for k, v := range tt.header {
				req.Header.Set(k, v)
			}
			resp, text := do(t, req)
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tt.status, text)
			}
			if tt.method != "HEAD" && !strings.Contains(text, `"message":"creel: `) {
				t.Errorf("the answer has no message: %s", text)
			}
			if n := len(model.Requests()); n != 0 {
				t.Errorf("the backend got %d requests", n)
			}
			list := ev.all()
			if len(list) != 1 || list[0].Kind != audit.Inference || list[0].Verdict != "deny" || list[0].Reason == "" ||
				list[0].Status != tt.status || list[0].Method != tt.method {
				t.Errorf("events: %+v", list)
			}
			noSecrets(t, list)
		})
	}
}

func TestErrorShapes(t *testing.T) {
	agent := front(t, nil, &events{})
	for path, want := range map[string]string{
		"/v1/messages":                    `{"error":{"message":`,
		"/v1/responses":                   `"code":"creel_refused"`,
		"/v1beta/models/x:streamGenerate": `"status":"UNAVAILABLE"`,
	} {
		resp, body := post(t, agent.URL+path, `{"model":"a"}`, nil)
		if resp.StatusCode != 503 || !strings.Contains(body, want) || !strings.Contains(body, "--inference") {
			t.Errorf("%s without a route: %d %s", path, resp.StatusCode, body)
		}
		if (path == "/v1/messages") != strings.Contains(body, `"type":"error"`) {
			t.Errorf("%s: wrong shape: %s", path, body)
		}
	}
}

func TestGzipBody(t *testing.T) {
	model, srv, pool := backend(t, fakemodel.Config{})
	ev := &events{}
	agent := front(t, route(t, Config{URL: srv.URL, RootCAs: pool}), ev)
	zip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(text))
		_ = z.Close()
		return b.String()
	}
	gz := map[string]string{"Content-Encoding": "gzip"}
	if resp, body := post(t, agent.URL+"/v1/messages", zip(`{"model":"a"}`), gz); resp.StatusCode != 200 {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
	if resp, _ := post(t, agent.URL+"/v1/messages", zip(strings.Repeat(" ", bodyBytes+1)), gz); resp.StatusCode != 413 {
		t.Errorf("a bomb: status %d", resp.StatusCode)
	}
	q := model.Requests()
	if len(q) != 1 || string(q[0].Body) != `{"model":"a"}` || q[0].Header.Get("Content-Encoding") != "" {
		t.Errorf("the backend got %+v", q)
	}
}

// Each piece reaches the agent before the backend goes on: the backend waits
// for the test, the test for the piece.
func TestStreamingIsUnbuffered(t *testing.T) {
	step := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-step
		}
	}))
	defer srv.Close()
	agent := front(t, route(t, Config{URL: srv.URL, Key: newKey(routeKey)}), &events{})
	resp, err := http.Post(agent.URL+"/v1/messages", "application/json", strings.NewReader(`{"model":"a","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) {
			t.Fatalf("piece %d: %q, %v", i, lines.Text(), lines.Err())
		}
		lines.Scan() // the empty line
		step <- struct{}{}
	}
	if lines.Scan() {
		t.Errorf("more than was sent: %q", lines.Text())
	}
}

func TestAbortCancelsBackend(t *testing.T) {
	gone := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "data: 0\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer srv.Close()
	ev := &events{more: make(chan struct{}, 2)}
	agent := front(t, route(t, Config{URL: srv.URL}), ev)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", agent.URL+"/v1/messages", strings.NewReader(`{"model":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = resp.Body.Read(make([]byte, 1))
	cancel()
	resp.Body.Close()
	<-gone
	<-ev.more
	<-ev.more
	if done := ev.all()[1]; done.Kind != audit.InferenceDone || done.Reason != "the agent went away" || done.BytesIn == 0 {
		t.Errorf("event %+v", done)
	}
}

func TestBackendFaults(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	deadURL := "http://" + dead.Addr().String() + "/v1/private" // a path stays out of the log
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if status == 302 {
				w.Header().Set("Location", "http://127.0.0.1/elsewhere")
			}
			w.Header().Set("X-Request-Id", "id "+r.Header.Get("X-Api-Key"))
			w.Header().Set("Set-Cookie", "a=b")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "wrong key: "+r.Header.Get("X-Api-Key"))
		}
	}
	denied, moved := httptest.NewServer(echo(401)), httptest.NewServer(echo(302))
	packed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("asked for %q", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, r.Header.Get("X-Api-Key"))
		_ = z.Close()
	}))
	defer packed.Close()
	untrusted := httptest.NewTLSServer(echo(200))
	defer denied.Close()
	defer moved.Close()
	defer untrusted.Close()
	for _, tt := range []struct {
		url    string
		status int
		say    string
	}{
		{deadURL, 502, "connection refused"},
		{untrusted.URL, 502, "certificate"},
		{moved.URL, 502, "redirect"},
		{packed.URL, 502, "encoded its answer"},
		{denied.URL, 401, "wrong key: ***"},
	} {
		ev := &events{}
		agent := front(t, route(t, Config{URL: tt.url, Key: newKey(routeKey)}), ev)
		resp, body := post(t, agent.URL+"/v1/messages", `{"model":"a"}`, nil)
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.say) {
			t.Errorf("%s: %d %s", tt.url, resp.StatusCode, body)
		}
		agent.Close()
		if all := fmt.Sprint(resp.Header, body, ev.all()); strings.Contains(all, routeKey) || strings.Contains(all, "Set-Cookie") {
			t.Errorf("%s: the key or a cookie came back: %s", tt.url, all)
		}
		if list := ev.all(); tt.url == deadURL &&
			(list[1].Reason != "connection refused" || !maps.Equal(list[1].Detail, map[string]string{"error": audit.UpstreamFailed, "backend": strings.TrimSuffix(tt.url, "/v1/private")})) {
			t.Errorf("a dead backend ends with %+v", list[1])
		}
		if list := ev.all(); len(list) != 2 || list[1].Status != tt.status || (list[1].Reason == "") != (tt.status == 401) {
			t.Errorf("%s: events %+v", tt.url, list)
		}
	}
}

// A stream that breaks off must not look complete to the agent.
func TestBrokenStreamIsNotEnded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "data: 0\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	ev := &events{more: make(chan struct{}, 2)}
	agent := front(t, route(t, Config{URL: srv.URL}), ev)
	resp, err := http.Post(agent.URL+"/v1/messages", "application/json", strings.NewReader(`{"model":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the stream ended well: %q", b)
	}
	<-ev.more
	<-ev.more
	if done := ev.all()[1]; !strings.HasPrefix(done.Reason, "the backend broke off") {
		t.Errorf("event %+v", done)
	}
}

func TestUnwritableAuditSendsNothing(t *testing.T) {
	model, srv, pool := backend(t, fakemodel.Config{})
	agent := front(t, route(t, Config{URL: srv.URL, RootCAs: pool}), &events{err: errors.New("disk full")})
	for _, path := range []string{"/v1/messages", "/v1/files"} {
		if resp, body := post(t, agent.URL+path, `{"model":"a"}`, nil); resp.StatusCode != 503 || !strings.Contains(body, "audit log") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if n := len(model.Requests()); n != 0 {
		t.Errorf("the backend got %d requests", n)
	}
}

func TestBodiesInMemoryAreBounded(t *testing.T) {
	r := route(t, Config{URL: "http://127.0.0.1:1"})
	r.held.Store(heldBytes - 10)
	agent := front(t, r, &events{})
	if resp, _ := post(t, agent.URL+"/v1/messages", `{"model":"abcdef"}`, nil); resp.StatusCode != 503 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if got := r.held.Load(); got != heldBytes-10 {
		t.Errorf("a refused request keeps %d bytes", got-(heldBytes-10))
	}
	r.held.Store(0)
	post(t, agent.URL+"/v1/messages", `{"model":"abcdef"}`, nil)
	agent.Close()
	if got := r.held.Load(); got != 0 {
		t.Errorf("a finished request keeps %d bytes", got)
	}
}
