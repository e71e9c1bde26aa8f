package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/internal/fakemodel"
)

// modelBox is a sandbox with a route to a model, and a policy that allows what
// a careless operator would: hosts of models, too.
func modelBox(t *testing.T, s *sink, backend string, more string) box {
	names := []string{"api.openai.com", "inference.local", "api.anthropic.com", "generativelanguage.googleapis.com", "no.test", "ok.test", "models.test"}
	return box{policy: twoHosts(restFull, "ok.test") + "  wide:\n    endpoints:\n      - {host: api.openai.com, ports: [80, 443], protocol: rest, access: full}\n" +
		"      - {host: \"*.googleapis.com\", ports: [80, 443], protocol: rest, access: full}\n      - {host: api.anthropic.com, ports: [80, 443]}\n    binaries: any\n" + more,
		env:   []string{"E2E_MODEL_KEY=" + canary("model")},
		flags: join(s.upstreams(names...), []string{"--trust-ca", caFile(t), "--inference", backend, "--inference-key", "env:E2E_MODEL_KEY"})}
}

const chatBody = `-H 'Content-Type: application/json' -d '{"model":"asked","messages":[{"role":"user","content":"hi"}]}'`

// TestEscapeModels: INF and EXF-08.
func TestEscapeModels(t *testing.T) {
	t.Parallel()
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		model := fakemodel.New(fakemodel.Config{Key: canary("model"), Script: fakemodel.Script{}})
		backend := httptest.NewServer(model)
		defer backend.Close()
		b := modelBox(t, s, backend.URL, "")
		b.flags = append(b.flags, "--model", "forced")
		l := b.start(t)
		works := func(x *line) string {
			n := len(model.Requests())
			got := x.sh("curl -sS https://api.openai.com/v1/chat/completions " + chatBody)
			if all := model.Requests(); len(all) != n+1 || all[n].Key != canary("model") || all[n].Model != "forced" {
				return "the route does not work: " + got
			}
			return ""
		}
		// refused tries requests that must not reach the backend, on every way in.
		refused := func(id, body string, requests ...string) {
			l.end()
			l = b.start(t)
			l.escape(t, s, id, works, func(x *line) {
				for _, r := range requests {
					for _, at := range everyWay("curl -sS --path-as-is -w ' status %{http_code}' " + body + " " + r) {
						if strings.Contains(at.what, "-x") && strings.Contains(r, "http://") && strings.Contains(r, "inference.local") {
							continue // the forward proxy of the sandbox serves the same
						}
						n := len(model.Requests())
						x.try(at.way, at.what, func(mark string) string {
							got := x.sh(strings.ReplaceAll(at.what, "MARK", mark))
							if strings.Contains(got, "status 200") {
								x.Errorf("%s: %s", at.what, got)
							}
							return got
						})
						if all := model.Requests(); len(all) != n {
							x.Errorf("%s reached the backend: %s %s", at.what, all[n].Method, all[n].Path)
						}
					}
				}
				if n := s.connections(); n != 0 {
					x.Errorf("%d connections went past the route", n)
				}
			})
		}
		const openai = "https://api.openai.com"
		refused("INF-01", chatBody, openai+"/v1/../v1/files/MARK", openai+"/v1/chat/completions/", openai+"/V1/chat/completions", openai+"/v1/chat/completions/../../files", openai+"/v1/%63hat/completions/..",
			openai+"/v1/chat/completions%2f..%2ffiles", openai+"/v1/chat/completions%00", openai+"/v1/chat\\\\completions")
		l.escape(t, s, "INF-01-spelling", works, func(x *line) {
			// What is the same path in another spelling is sent as it was judged; absolute-form and all.
			for _, at := range everyWay("curl -sS --path-as-is "+chatBody+" "+openai+"/v1//chat/completions", "curl -sS --path-as-is "+chatBody+" "+openai+"/v1/x/../chat/completions", "curl -sS --path-as-is "+chatBody+" "+openai+"/v1/%63hat/completions",
				"curl -sS --path-as-is "+chatBody+" http://inference.local/v1/./chat/completions") {
				x.way(at.way)
				x.sh(at.what)
			}
			for _, r := range model.Requests() {
				if r.Path != "/v1/chat/completions" || r.RawQuery != "" {
					x.Errorf("the backend got %s?%s", r.Path, r.RawQuery)
				}
			}
		})
		l.escape(t, s, "INF-02", works, func(x *line) {
			// The policy allows model hosts outright, also by wildcard, inspected and not: the route has them all.
			n := len(model.Requests())
			all := everyWay("curl -sS -H 'Authorization: Bearer mine' "+chatBody+" https://api.openai.com/v1/chat/completions", "curl -sS -H 'X-Api-Key: mine' -H 'Anthropic-Version: 2023-06-01' "+chatBody+" https://api.anthropic.com/v1/messages",
				"curl -sS -H 'X-Goog-Api-Key: mine' -H 'Content-Type: application/json' -d '{\"contents\":[]}' https://generativelanguage.googleapis.com/v1beta/models/gemini-x:generateContent")
			for _, at := range all {
				x.way(at.way)
				x.sh(at.what)
			}
			if got := len(model.Requests()) - n; got < len(all)/2 {
				x.Errorf("%d of %d arrived at the backend", got, len(all))
			}
			if s.connections() != 0 {
				x.Error("a model host was reached past the route")
			}
			r := creelCmd(x.T, "policy", "check", x.policy)
			if !strings.Contains(r.stdout, "api.openai.com is a model host") || !strings.Contains(r.stdout, "generativelanguage.googleapis.com is a model host") {
				x.Errorf("policy check does not warn: %s", r.stdout)
			}
		})
		// A model under another name: what has the shape of a model protocol goes to no host by itself.
		refused("INF-02-shape", chatBody, "https://ok.test/api/generate?MARK", "http://ok.test/MARK/api/chat", "https://ok.test/model/MARK/invoke", "https://ok.test/v1/messages/batches;MARK", "https://ok.test/MARK/v1//fim/%63ompletions")
		l.escape(t, s, "INF-02-shape-routed", works, func(x *line) {
			n, seen := len(model.Requests()), s.connections()
			all := everyWay("curl -sS --path-as-is -H 'Authorization: Bearer mine' "+chatBody+" https://ok.test/gateway/v1/chat/completions", "curl -sS --path-as-is -H 'X-Api-Key: mine' "+chatBody+" http://ok.test/x//v1/./messages",
				"curl -sS "+chatBody+" https://ok.test/V1/Chat/Completions/")
			for _, at := range all {
				x.way(at.way)
				if got := x.sh(at.what); !strings.Contains(got, "forced") {
					x.Errorf("%s: %s", at.what, got)
				}
			}
			for _, r := range model.Requests()[n:] {
				if r.Key != canary("model") || r.Model != "forced" || r.Path != "/v1/chat/completions" && r.Path != "/v1/messages" {
					x.Errorf("the backend got %+v", r)
				}
			}
			if got := len(model.Requests()) - n; got != len(all) || s.connections() != seen {
				x.Errorf("%d of %d arrived at the backend, %d connections went past the route", got, len(all), s.connections()-seen)
			}
		})
		refused("INF-03", chatBody, "https://no.test/v1/MARK", "https://models.test/v1/chat/completions?MARK", "http://no.test/v1/chat/completions/MARK")
		l.escape(t, s, "INF-03-key", works, func(x *line) {
			// Wherever a base URL points, the key does not follow; it is not inside either.
			for _, at := range everyWay(`curl -sS -H "X-Api-Key: $ANTHROPIC_API_KEY" -H "Authorization: Bearer $OPENAI_API_KEY" ` + chatBody + ` https://ok.test/v1/messages`) {
				x.way(at.way)
				x.sh(at.what)
			}
			if s.holds("canary-") || s.holds("creel:cred") {
				x.Error("the key, or its placeholder, went elsewhere")
			}
			if got := x.sh("env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'"); strings.Contains(got, "canary-") {
				x.Error("the key is inside")
			}
		})
		s = newSink(t)
		b = modelBox(t, s, backend.URL, "")
		b.flags = append(b.flags, "--model", "forced")
		refused("INF-04", chatBody, openai+"/v1/files/MARK", openai+"/v1/batches", openai+"/v1/fine_tuning/jobs", openai+"/v1/organization/api_keys", openai+"/", "-X DELETE "+openai+"/v1/models/x",
			"https://inference.local/v1/files", "https://api.anthropic.com/v1/files", "https://api.anthropic.com/v1/messages/batches", "https://generativelanguage.googleapis.com/upload/v1beta/files")
		refused("INF-05", "-H 'Content-Type: application/json'", `-d '{"models":["a","b"],"model":"x","messages":[]}' `+openai+"/v1/chat/completions", `-d '{"model":"x","Model":"gpt-costly","messages":[]}' `+openai+"/v1/chat/completions",
			`-d '{"model":"x","model":"gpt-costly","messages":[]}' `+openai+"/v1/chat/completions", `-d '{"fallbacks":["y"],"model":"x"}' `+openai+"/v1/chat/completions", `-d '{"model":["x"]}' `+openai+"/v1/chat/completions")
		l.escape(t, s, "INF-05-head", works, func(x *line) {
			n := len(model.Requests())
			for _, at := range everyWay("curl -sS -H 'Authorization: Bearer mine' -H 'X-Api-Key: mine' -H 'OpenAI-Organization: mine' -H 'OpenAI-Project: mine' -H 'Cookie: a=mine' -H 'X-Forwarded-For: mine' -H 'HTTP-Referer: mine' " + chatBody + " '" + openai + "/v1/chat/completions?api-version=mine&key=mine'") {
				x.way(at.way)
				x.sh(at.what)
			}
			all := model.Requests()[n:]
			if len(all) == 0 {
				x.Error("none arrived")
			}
			for _, r := range all {
				if r.Model != "forced" || strings.Contains(r.RawQuery, "mine") {
					x.Errorf("model %s, query %s", r.Model, r.RawQuery)
				}
				for k, v := range r.Header {
					if strings.Contains(strings.Join(v, " "), "mine") || strings.Contains(strings.Join(v, " "), "creel:cred") {
						x.Errorf("the backend got %s: %q", k, v)
					}
				}
			}
		})
		// EXF-08: what the service would fetch or run by itself.
		const json = "-H 'Content-Type: application/json' "
		refused("EXF-08", json, `-d '{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://no.test/?d=MARK"}}]}]}' http://api.openai.com/v1/chat/completions`, `-d '{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://no.test/?d=MARK"}}]}]}' `+openai+"/v1/chat/completions",
			`-d '{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_url":"https://no.test/MARK"}]}]}' `+openai+"/v1/responses",
			`-d '{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://no.test/MARK"}}]}]}' https://api.anthropic.com/v1/messages`,
			`-d '{"model":"m","tools":[{"type":"web_fetch_20250910","name":"web_fetch"}],"messages":[]}' https://api.anthropic.com/v1/messages`,
			`-d '{"model":"m","mcp_servers":[{"type":"url","url":"https://no.test/MARK"}],"messages":[]}' https://api.anthropic.com/v1/messages`,
			`-d '{"model":"m","tools":[{"type":"mcp","server_url":"https://no.test/MARK"}],"input":"x"}' `+openai+"/v1/responses",
			`-d '{"model":"m","web_search_options":{},"messages":[]}' `+openai+"/v1/chat/completions",
			`-d '{"contents":[],"tools":[{"urlContext":{}}]}' https://generativelanguage.googleapis.com/v1beta/models/gemini-x:generateContent`,
			`-d '{"contents":[{"parts":[{"fileData":{"fileUri":"https://no.test/MARK"}}]}]}' https://generativelanguage.googleapis.com/v1beta/models/gemini-x:generateContent`)
		l.escape(t, s, "EXF-08-tools", works, func(x *line) {
			seq, n := len(x.events()), len(model.Requests())
			x.way(transparent)
			x.sh(`curl -sS ` + json + `-d '{"model":"m","tools":[{"type":"function","name":"f"},{"type":"web_search"}],"input":"x"}' ` + openai + `/v1/responses`)
			if all := model.Requests(); len(all) != n+1 || strings.Contains(string(all[n].Body), "web_search") || !strings.Contains(string(all[n].Body), `"f"`) {
				x.Error("the tool of the service was not taken out, or the agent's own was")
			}
			x.event(seq, "what was taken out", func(e event) bool { return e.Detail["removed_tools"] == "web_search" })
		})
	})
}

// TestEscapeStreams: INF-06: a long silence is not an end; who goes away ends
// the backend's request; what breaks off never looks complete; all is recorded.
func TestEscapeStreams(t *testing.T) {
	t.Parallel()
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		gone := make(chan struct{}, 16)
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			flow := http.NewResponseController(w)
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\"first\":1}\n\n")
			_ = flow.Flush()
			switch r.Header.Get("User-Agent") {
			case "broken":
				panic(http.ErrAbortHandler)
			case "silent":
				select {
				case <-r.Context().Done():
					gone <- struct{}{}
				case <-time.After(patience):
				}
			default:
				time.Sleep(300 * time.Millisecond)
				fmt.Fprint(w, "data: [DONE]\n\n")
			}
		}))
		defer backend.Close()
		l := modelBox(t, s, backend.URL, "").start(t)
		const ask = "curl -sSN -m 20 https://api.openai.com/v1/chat/completions " + chatBody + " -A "
		l.escape(t, s, "INF-06", func(x *line) string {
			if got := x.sh(ask + "fine"); !strings.Contains(got, "[DONE]") {
				return got
			}
			return ""
		}, func(x *line) {
			for _, at := range everyWay(ask + "broken") {
				x.way(at.way)
				seq := len(x.events())
				if got := x.do("sh", "-c", at.what); got.Code == 0 {
					x.Errorf("a broken stream looks complete: %s", got.Stdout)
				}
				x.event(seq, "the break", func(e event) bool { return e.Kind == "inference.done" && e.Reason != "" && e.BytesIn > 0 })
			}
			seq := len(x.events())
			x.sh(strings.ReplaceAll(ask, "-m 20", "-m 1") + "silent")
			select {
			case <-gone:
			case <-time.After(patience):
				x.Error("the backend still answers one who went away")
			}
			x.event(seq, "the end", func(e event) bool {
				return e.Kind == "inference.done" && strings.Contains(e.Reason, "went away")
			})
		})
	})
}

// TestEscapeTenants: INF-07: two sandboxes with one backend whose answers are out of
// step: no byte of one is given to the other.
func TestEscapeTenants(t *testing.T) {
	t.Parallel()
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		// A backend that sends more than it announces, on kept connections: the
		// rest would be the next answer.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					buf := make([]byte, 64<<10)
					for {
						n, err := c.Read(buf)
						if err != nil {
							return
						}
						who := "none"
						for _, w := range []string{"tenantA", "tenantB"} {
							if strings.Contains(string(buf[:n]), w) {
								who = w
							}
						}
						body := `{"answer-for":"` + who + `"}`
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), strings.ReplaceAll(body, "answer", "stale"))
					}
				}()
			}
		}()
		b := modelBox(t, s, "http://"+l.Addr().String(), "")
		first, second := b.start(t), b.start(t)
		ask := func(l *live, who string) string {
			return l.sh(`curl -sS -m 10 -H 'Content-Type: application/json' -d '{"model":"m","messages":[{"role":"user","content":"` + who + `"}]}' https://api.openai.com/v1/chat/completions`)
		}
		first.escape(t, s, "INF-07", func(x *line) string {
			if got := ask(second, "tenantB"); !strings.Contains(got, `"answer-for":"tenantB"`) {
				return got
			}
			return ""
		}, func(x *line) {
			for range 10 {
				for _, c := range []struct {
					l        *live
					own, his string
				}{{first, "tenantA", "tenantB"}, {second, "tenantB", "tenantA"}} {
					if got := ask(c.l, c.own); strings.Contains(got, c.his) || strings.Contains(got, "stale") {
						x.Errorf("%s got %s", c.own, got)
					}
				}
			}
			x.way(transparent)
			for _, at := range everyWay(`curl -sS -m 10 -H 'Content-Type: application/json' -d '{"model":"m","messages":[{"role":"user","content":"tenantA"}]}' https://api.openai.com/v1/chat/completions`)[1:] {
				x.way(at.way)
				if got := x.sh(at.what); !strings.Contains(got, `"answer-for":"tenantA"`) {
					x.Errorf("%s: %s", at.what, got)
				}
			}
		})
	})
}
