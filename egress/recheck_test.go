package egress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// chat echoes lines, so that a test can see that a connection lives.
func chat(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, line); err != nil {
			return
		}
	}
}

func alive(t *testing.T, c net.Conn, in *bufio.Reader) {
	t.Helper()
	fmt.Fprint(c, "ping\n")
	if line, err := in.ReadString('\n'); err != nil || line != "ping\n" {
		t.Fatalf("the connection does not live: %q %v", line, err)
	}
}

func (r *rig) swap(text string) {
	r.engine.Store(compile(r.t, text))
	r.s.Recheck()
}

func TestRecheckClosesOnlyWhatIsDenied(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.raw("raw.test", 5432, chat)
			r.web("ok.test", 443, echo)
			gone, _ := r.open(w, "raw.test:5432")
			goneIn := bufio.NewReader(gone)
			alive(t, gone, goneIn)
			kept, _ := r.open(w, "ok.test:443")
			tc, err := r.startTLS(kept, "ok.test")
			if err != nil {
				t.Fatal(err)
			}
			if resp, body := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n"); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}

			r.swap(basePolicy) // the same rules: nothing happens
			alive(t, gone, goneIn)

			r.swap(strings.NewReplacer("5432", "5433", "{method: POST,", "{method: PUT,").Replace(basePolicy))
			if line, err := goneIn.ReadString('\n'); err == nil {
				t.Errorf("a denied connection lives: %q", line)
			}
			r.event("cut", func(ev audit.Event) bool {
				return ev.Kind == audit.Connect && ev.Verdict == "deny" && ev.Host == "raw.test" && strings.Contains(ev.Reason, "changed policy")
			})
			end := r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close && ev.Host == "raw.test" })
			if end.Reason != "the policy changed" {
				t.Errorf("closing event %+v", end)
			}
			// The inspected one lives, its next request is judged by the new rules.
			if resp, body := talk(t, tc, "GET", "GET /public/b HTTP/1.1\r\nHost: ok.test\r\n\r\n"); resp.StatusCode != 200 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if n := r.dialed(); n != 3 {
				t.Errorf("%d connections, want a new one to the upstream after the change", n)
			}
			resp, body := talk(t, tc, "POST", "POST /public/b HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0\r\n\r\n")
			wantDenial(t, resp, body, 403, codePolicy)
		})
	}
}

func TestRecheckCutsRequestInFlight(t *testing.T) {
	r := newRig(t, basePolicy)
	begun, over := make(chan struct{}), make(chan struct{})
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, "part")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-q.Context().Done()
		close(over)
	})
	c, _ := r.open(viaRedirect, "ok.test:443")
	tc, err := r.startTLS(c, "ok.test")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(tc, "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	<-begun
	r.swap(strings.Replace(basePolicy, "{method: GET, path: \"/public/**\"}", "{method: GET, path: \"/other/**\"}", 1))
	resp, err := http.ReadResponse(bufio.NewReader(tc), nil)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
	}
	if err == nil {
		t.Error("a cut answer looks complete")
	}
	<-over // the upstream's end as well
	ev := r.event("cut", func(ev audit.Event) bool { return ev.Kind == audit.Request && ev.Verdict == "deny" })
	if ev.Path != "/public/a" || !strings.Contains(ev.Reason, "changed policy") {
		t.Errorf("event %+v", ev)
	}
}

func TestRecheckAddressAndTreatment(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"the address": func(p string) string {
			return strings.Replace(p, "{host: raw.test, ports: [443, 5432]}", "{host: raw.test, ports: [443, 5432], allowed_ips: [10.0.0.0/8]}", 1)
		},
		"inspected now": func(p string) string {
			return strings.Replace(p, "{host: raw.test, ports: [443, 5432]}", "{host: raw.test, ports: [443, 5432], protocol: rest, access: full}", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.raw("raw.test", 5432, chat)
			c, _ := r.open(viaRedirect, "raw.test:5432")
			in := bufio.NewReader(c)
			alive(t, c, in)
			r.swap(change(basePolicy))
			if line, err := in.ReadString('\n'); err == nil {
				t.Errorf("the connection lives: %q", line)
			}
		})
	}
	t.Run("claimed now", func(t *testing.T) {
		route := &fakeRoute{}
		r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Inference = func() Inference { return route } })
		r.raw("raw.test", 5432, chat)
		c, _ := r.open(viaRedirect, "raw.test:5432")
		in := bufio.NewReader(c)
		alive(t, c, in)
		route.mu.Lock()
		route.host = "raw.test"
		route.mu.Unlock()
		r.s.Recheck()
		if line, err := in.ReadString('\n'); err == nil {
			t.Errorf("the connection lives: %q", line)
		}
	})
}

func TestAbort(t *testing.T) {
	r := newRig(t, basePolicy)
	ended := make(chan error, 2)
	r.raw("raw.test", 5432, func(c net.Conn) {
		fmt.Fprint(c, "ready\n")
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	c, _ := r.open(viaRedirect, "raw.test:5432")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	r.s.Abort()
	if err := <-ended; err == nil {
		t.Error("the upstream saw an orderly end, want a reset")
	}
	if _, err := io.ReadAll(c); err == nil {
		// A clean end is fine for the agent's side; it must only be over.
		t.Log("the agent saw an orderly end")
	}
	r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close && ev.Reason == "aborted" })
	// What comes later is judged as before.
	c, _ = r.open(viaRedirect, "raw.test:5432")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
}
