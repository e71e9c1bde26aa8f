package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/internal/fakemodel"
)

// TestInference: model hosts and inference.local are answered by the backend,
// with the key from outside and no other, and no other path.
func TestInference(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		key := canary("model")
		model := fakemodel.New(fakemodel.Config{Key: key, Script: fakemodel.Script{}})
		backend := httptest.NewServer(model)
		defer backend.Close()
		hosts := []string{"api.openai.com", "inference.local", "api.anthropic.com", "no.test"}
		l := box{policy: policyHead() + "network_policies: {}\n", env: []string{"E2E_MODEL_KEY=" + key},
			flags: join(s.upstreams(hosts...), []string{"--trust-ca", caFile(t), "--inference", backend.URL, "--inference-key", "env:E2E_MODEL_KEY", "--model", "forced"})}.start(t)
		const chat = `-d '{"model":"asked","messages":[{"role":"user","content":"hi"}]}' -H 'Content-Type: application/json'`
		ask := func(url string, more string) string {
			return l.sh("curl -sS --path-as-is -w ' status %{http_code}' " + more + " " + chat + " " + url)
		}
		for i, url := range []string{"https://api.openai.com/v1/chat/completions", "https://inference.local/v1/chat/completions", "http://inference.local/v1/chat/completions",
			"-x http://127.0.0.1:3128 https://api.openai.com/v1/chat/completions"} {
			got := ask(url, `-H "Authorization: Bearer $OPENAI_API_KEY"`)
			if all := model.Requests(); len(all) != i+1 || all[i].Key != key || all[i].Model != "forced" || !strings.Contains(got, "status 200") {
				t.Fatalf("%s: %d requests, answer %s", url, len(all), got)
			}
		}
		l.event(0, "the reroute", func(e audit.Event) bool {
			return e.Kind == audit.Inference && e.Verdict == "reroute" && e.Model == "forced" && e.Host == "api.openai.com"
		})
		refused := func(id string, urls ...string) {
			t.Run("escape_"+id, func(t *testing.T) {
				for _, url := range urls {
					mark, count := len(l.events()), len(model.Requests())
					got := ask(url, "")
					if len(model.Requests()) != count {
						t.Fatalf("%s reached the backend: %+v", url, model.Requests()[count])
					}
					if strings.Contains(got, "status 200") {
						t.Errorf("%s: %s", url, got)
					}
					l.denied(mark)
				}
			})
		}
		const openai = "https://api.openai.com"
		refused("INF-01", openai+"/v1/../v1/files", openai+"/v1/chat/completions/", openai+"/V1/chat/completions",
			openai+"/v1/chat/completions/../../files", openai+"/v1/%63hat/completions/..", openai+"/v1/chat/completions%2f..%2ffiles")
		// What is the same path in another spelling is sent as it was judged.
		for _, url := range []string{openai + "/v1//chat/completions", openai + "/v1/x/../chat/completions", openai + "/v1/%63hat/completions", openai + "/v1/chat/completions;x"} {
			ask(url, "")
		}
		for _, r := range model.Requests() {
			if r.Path != "/v1/chat/completions" {
				t.Errorf("the backend got %s", r.Path)
			}
		}
		refused("INF-03", "https://no.test/v1/chat/completions", "-x http://127.0.0.1:3128 https://no.test/v1/chat/completions")
		refused("INF-04", openai+"/v1/files", openai+"/v1/batches", openai+"/v1/fine_tuning/jobs", openai+"/v1/organization/api_keys", openai+"/",
			"-X DELETE "+openai+"/v1/models/x", "https://inference.local/v1/files", "https://api.anthropic.com/v1/files")
		// A key of the caller's own goes nowhere.
		ask(openai+"/v1/chat/completions", "-H 'Authorization: Bearer mine' -H 'X-Api-Key: mine' -H 'OpenAI-Organization: mine' -H 'Cookie: a=mine'")
		for _, r := range model.Requests() {
			for k, v := range r.Header {
				if strings.Contains(strings.Join(v, " "), "mine") || strings.Contains(strings.Join(v, " "), "creel:cred") {
					t.Errorf("escape_CRED-15: the backend got %s: %q", k, v)
				}
			}
		}
		if n := s.connections(); n != 0 {
			t.Errorf("%d connections went past the route", n)
		}
		all := l.sh("env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'")
		log, _ := os.ReadFile(l.audit)
		if strings.Contains(all, "canary-model") || strings.Contains(string(log), "canary-model") || strings.Contains(l.stderr.String(), "canary-model") {
			t.Error("the key is visible inside or in the audit")
		}
	})
}

// TestInferenceStreaming: the first event arrives while the backend still
// holds the last one back.
func TestInferenceStreaming(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		next := make(chan struct{})
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				fmt.Fprintf(w, "data: {\"n\":%d}\n\n", i)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-next:
				case <-r.Context().Done():
					return
				}
			}
		}))
		defer backend.Close()
		b := box{flags: []string{"--inference", backend.URL, "--quiet"}}
		cmd, _, _ := b.setup(t, "curl", "-sSN", "-H", "Content-Type: application/json", "-d", `{"model":"m","stream":true,"messages":[]}`, "https://api.openai.com/v1/chat/completions")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			want := fmt.Sprintf("data: {\"n\":%d}\n\n", i)
			got := make([]byte, len(want))
			if _, err := readFull(out, got); err != nil || string(got) != want {
				t.Fatalf("event %d: %q %v", i, got, err)
			}
			next <- struct{}{} // the backend goes on only now
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestDeadUpstream: 502 with the reason, for a host and for a model backend.
func TestDeadUpstream(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dead, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := dead.Addr().String()
		_ = dead.Close()
		r := box{policy: twoHosts(restFull, "a.test"), flags: []string{"--upstream", "a.test:443=" + addr, "--inference", "http://" + addr}}.run(t, "sh", "-c",
			`curl -sS -w ' status %{http_code}\n' https://a.test/; curl -sS -w ' status %{http_code}\n' -H 'Content-Type: application/json' -d '{"model":"m","messages":[]}' https://inference.local/v1/chat/completions`).want(t, 0)
		if strings.Count(r.stdout, "status 502") != 2 {
			t.Errorf("want two 502: %s", r.stdout)
		}
		r.out(t, "upstream_unreachable", "refused")
		// A server that nobody vouches for.
		s := newSink(t)
		r = box{policy: twoHosts(restFull, "a.test"), flags: s.upstreams("a.test")}.run(t, "curl", "-sS", "-w", "status %{http_code}", "https://a.test/").want(t, 0)
		r.out(t, "status 502", "certificate")
		if s.got("/") {
			t.Error("a request went to a server without a valid certificate")
		}
	})
}
