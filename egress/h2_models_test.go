package egress

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// modelPaths are calls of every shape that is known.
var modelPaths = []string{
	"/v1/chat/completions", "/x/api/v1/chat/completions", "/v1/completions", "/openai/deployments/gpt/completions", "/fim/completions",
	"/v1/responses", "/openai/responses", "/v1/embeddings", "/api/embeddings",
	"/v1/messages", "/V1/Messages", "/v1//messages;x=y", "/v1/%6dessages", "/v1/messages/count_tokens", "/v1/messages/batches",
	"/api/chat", "/api/generate", "/api/embed",
	"/model/claude/invoke", "/model/claude/invoke-with-response-stream", "/model/claude/converse", "/model/claude/converse-stream",
	"/v1beta/models/gemini:generateContent", "/v1beta/models/gemini%3AstreamGenerateContent", "/v1beta/models/gemini:countTokens",
	"/v1/projects/p/locations/l/publishers/google/models/gemini:rawPredict", "/v1beta/models/gemini:embedContent",
	"/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent",
	"/google.cloud.aiplatform.v1.PredictionService/StreamGenerateContent",
}

// TestHTTP2ModelCalls: over HTTP/2, too, a request with the shape of a model
// protocol leaves by no inspected connection, with a body or without, and several of
// them on one connection do not mix.
func TestHTTP2ModelCalls(t *testing.T) {
	for _, routed := range []bool{false, true} {
		t.Run(fmt.Sprint("route ", routed), func(t *testing.T) {
			route := &fakeRoute{serves: map[string]bool{}}
			canonical, served := make([]string, len(modelPaths)), make([]string, len(modelPaths))
			for i, path := range modelPaths {
				to, err := target.Parse(path, false)
				if err != nil {
					t.Fatal(path, err)
				}
				call, shaped := policy.ModelShape("POST", to.Path, false)
				if !shaped {
					t.Fatalf("%s has no shape", path)
				}
				canonical[i], served[i] = to.Path, call.Served
				route.serves[call.Served] = call.Served != ""
			}
			r := newRig(t, modelPolicy, func(_ *rig, c *Config) {
				if routed {
					c.Inference = func() Inference { return route }
				}
			})
			r.web("ok.test", 443, func(_ http.ResponseWriter, q *http.Request) { t.Errorf("%s arrived", q.URL) })
			f := r.framed("ok.test:443")
			for i, path := range modelPaths {
				id := uint32(2*i + 1)
				kind := "application/json"
				called := strings.Contains(path, "Service/")
				if called {
					kind = "application/grpc"
				}
				f.open(id, false, post(path, "content-type: "+kind)...)
				f.ok(f.fr.WriteData(id, false, []byte("{")))
				f.ok(f.fr.WriteData(id, true, []byte("}")))
				o := f.result(id)
				if routed && served[i] != "" {
					if o.end != "200" || !strings.HasPrefix(o.body, served[i]+" ") {
						t.Errorf("%s: %+v", path, o)
					}
					r.event("rerouted", func(ev audit.Event) bool {
						return ev.Kind == audit.Inference && ev.Verdict == "reroute" && ev.Host == "ok.test" && ev.Path == canonical[i]
					})
					continue
				}
				if called {
					if o.end != "200" || o.headers.Get("Grpc-Status") != "7" || !strings.Contains(o.headers.Get("Grpc-Message"), "model") {
						t.Errorf("%s: %+v", path, o)
					}
				} else {
					var d denialBody
					if json.Unmarshal([]byte(o.body), &d) != nil || o.end != "403" || d.Error != codeModel || d.Layer != layerRequest {
						t.Errorf("%s: %+v", path, o)
					}
				}
				r.event("refused "+path, func(ev audit.Event) bool {
					return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Path == canonical[i] && ev.Detail["error"] == codeModel
				})
			}
			if r.dialed() > 0 {
				t.Errorf("%d connections to servers", r.dialed())
			}
		})
	}
}

// TestHTTP2ModelsAreJudgedAgain: a stream that goes elsewhere by a new revision
// ends, and the others of its connection do not.
func TestHTTP2ModelsAreJudgedAgain(t *testing.T) {
	r := newRig(t, modelPolicy)
	arrived, gone := make(chan string, 2), make(chan string, 2)
	r.web("raw.test", 443, func(w http.ResponseWriter, q *http.Request) {
		_ = http.NewResponseController(w).Flush()
		arrived <- q.URL.Path
		_, _ = io.Copy(io.Discard, q.Body)
		gone <- q.URL.Path
	})
	f := r.framed("raw.test:443")
	for i, path := range []string{"/v1/messages", "/other"} {
		f.open(uint32(2*i+1), false, ":method: POST", ":scheme: https", ":authority: raw.test", ":path: "+path)
		<-arrived
	}
	r.swap(strings.Replace(modelPolicy, ", models: allow", "", 1))
	if path := <-gone; path != "/v1/messages" {
		t.Errorf("%s ended", path)
	}
	r.event("cut", func(ev audit.Event) bool {
		return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Path == "/v1/messages" && strings.Contains(ev.Reason, "otherwise now")
	})
	f.ok(f.fr.WriteData(3, true, []byte("end")))
	if o := f.result(3); o.end != "200" {
		t.Errorf("%+v", o)
	}
}
