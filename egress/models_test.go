package egress

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// modelPolicy allows everything, and models at raw.test alone. Requests to
// no.test and bound.test are read, but judged by no rule.
const modelPolicy = `version: 2
network_policies:
  web:
    endpoints:
      - {host: ok.test, ports: [80, 443], protocol: rest, access: full}
      - {host: raw.test, ports: [80, 443], protocol: rest, access: full, models: allow}
      - {host: no.test, ports: [80]}
      - {host: bound.test, port: 443}
    binaries: any
`

func modelCall(host, path string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
}

// TestModelCalls: a request with the shape of a model protocol leaves by no
// inspected connection, on any way in.
func TestModelCalls(t *testing.T) {
	for _, routed := range []bool{false, true} {
		t.Run(fmt.Sprint("route ", routed), func(t *testing.T) {
			r := newRig(t, modelPolicy, func(_ *rig, c *Config) {
				c.Secrets = &fakeSecrets{apply: func(*http.Request) ([]string, error) { return nil, nil }}
				if routed {
					route := &fakeRoute{serves: map[string]bool{"/v1/chat/completions": true}}
					c.Inference = func() Inference { return route }
				}
			})
			for _, to := range []string{"ok.test", "raw.test", "bound.test"} {
				r.web(to, 443, echo)
			}
			r.web("ok.test", 80, echo)
			r.web("no.test", 80, echo)
			refused := func(what string, resp *http.Response, body, host, path string) {
				t.Helper()
				d := wantDenial(t, resp, body, 403, codeModel)
				if d.Layer != layerRequest || d.Policy != "web" || !strings.Contains(strings.Join(d.NextSteps, " "), "models: allow") {
					t.Errorf("%s: %+v", what, d)
				}
				r.event(what, func(ev audit.Event) bool {
					return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Host == host && ev.Path == path && ev.Detail["error"] == codeModel
				})
			}
			for _, w := range bothWays {
				for _, host := range []string{"ok.test", "bound.test"} {
					resp, body := r.https(w, host+":443", modelCall(host, "/api/generate?x=1"))
					refused(string(w)+" "+host, resp, body, host, "/api/generate")
					resp, body = r.https(w, host+":443", modelCall(host, "/x/v1/chat/completions"))
					if !routed {
						refused(string(w)+" "+host, resp, body, host, "/x/v1/chat/completions")
						continue
					}
					if resp.StatusCode != 200 || body != "/v1/chat/completions /v1/chat/completions "+host {
						t.Errorf("%s %s: %d %s", w, host, resp.StatusCode, body)
					}
					r.event("rerouted", func(ev audit.Event) bool {
						return ev.Kind == audit.Inference && ev.Verdict == "reroute" && ev.Host == host && ev.Path == "/x/v1/chat/completions"
					})
				}
				resp, body := r.https(w, "raw.test:443", modelCall("raw.test", "/v1/messages"))
				if resp.StatusCode != 200 || !strings.HasPrefix(body, "POST /v1/messages") {
					t.Errorf("accepted: %d %s", resp.StatusCode, body)
				}
				// A list of models and a message of somebody else are none.
				resp, body = r.https(w, "ok.test:443", "GET /v1/models HTTP/1.1\r\nHost: ok.test\r\n\r\n")
				if resp.StatusCode != 200 {
					t.Errorf("no model call: %d %s", resp.StatusCode, body)
				}
				// The query makes it one.
				resp, body = r.https(w, "ok.test:443", "GET /v1/chat/completions?_method=POST HTTP/1.1\r\nHost: ok.test\r\n\r\n")
				refused("method in the query", resp, body, "ok.test", "/v1/chat/completions")
				resp, body = r.https(w, "ok.test:443", "GET /v1/realtime HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				refused("websocket", resp, body, "ok.test", "/v1/realtime")
			}
			// The third way in: the forward proxy, on endpoints of both kinds.
			for _, host := range []string{"ok.test", "no.test"} {
				c, err := net.Dial("tcp", r.proxy)
				if err != nil {
					t.Fatal(err)
				}
				resp, body := talk(t, c, "POST", modelCall(host, "http://"+host+"/v1/messages"))
				_ = c.Close()
				refused("absolute "+host, resp, body, host, "/v1/messages")
			}
		})
	}
}

// TestModelCallsAreJudgedAgain: a new revision ends what goes elsewhere by it.
func TestModelCallsAreJudgedAgain(t *testing.T) {
	r := newRig(t, modelPolicy)
	arrived := make(chan struct{})
	gone := make(chan struct{})
	r.web("raw.test", 443, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		close(arrived)
		<-q.Context().Done()
		close(gone)
	})
	c, _ := r.inspected(viaRedirect, "raw.test")
	fmt.Fprint(c, modelCall("raw.test", "/v1/messages"))
	<-arrived
	r.swap(modelPolicy + "# the same\n")
	select {
	case <-gone:
		t.Fatal("a request that is allowed still was cut")
	default:
	}
	r.swap(strings.Replace(modelPolicy, ", models: allow", "", 1))
	<-gone
	r.event("cut", func(ev audit.Event) bool {
		return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Host == "raw.test" && strings.Contains(ev.Reason, "otherwise now")
	})
}
