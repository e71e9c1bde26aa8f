package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/internal/fakemodel"
)

// TestInference: model hosts and inference.local are answered by the backend,
// with the key from outside and no other.
func TestInference(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		key := canary("model")
		model := fakemodel.New(fakemodel.Config{Key: key, Script: fakemodel.Script{}})
		backend := httptest.NewServer(model)
		defer backend.Close()
		l := box{policy: policyHead() + "network_policies: {}\n", env: []string{"E2E_MODEL_KEY=" + key},
			flags: []string{"--trust-ca", caFile(t), "--inference", backend.URL, "--inference-key", "env:E2E_MODEL_KEY", "--model", "forced"}}.start(t)
		for i, url := range []string{"https://api.openai.com/v1/chat/completions", "https://inference.local/v1/chat/completions", "http://inference.local/v1/chat/completions",
			"-x http://127.0.0.1:3128 https://api.openai.com/v1/chat/completions"} {
			got := l.sh(`curl -sS --path-as-is -w ' status %{http_code}' -H "Authorization: Bearer $OPENAI_API_KEY" ` + chatBody + " " + url)
			if all := model.Requests(); len(all) != i+1 || all[i].Key != key || all[i].Model != "forced" || !strings.Contains(got, "status 200") {
				t.Fatalf("%s: %d requests, answer %s", url, len(all), got)
			}
		}
		l.event(0, "the reroute", func(e audit.Event) bool {
			return e.Kind == audit.Inference && e.Verdict == "reroute" && e.Model == "forced" && e.Host == "api.openai.com"
		})
		if n := s.connections(); n != 0 {
			t.Errorf("%d connections went past the route", n)
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
		r.out(t, "upstream_unreachable", "refused").err(t, "allowed, but not reached", "a.test:443",
			"rerouted, but not reached\n      1× http://"+addr+" — connection refused\n")
		// A server that nobody vouches for.
		s := newSink(t)
		r = box{policy: twoHosts(restFull, "a.test"), flags: s.upstreams("a.test")}.run(t, "curl", "-sS", "-w", "status %{http_code}", "https://a.test/").want(t, 0)
		r.out(t, "status 502", "certificate")
		if s.got("/") {
			t.Error("a request went to a server without a valid certificate")
		}
	})
}
