package egress

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// limitedPolicy has limits at one endpoint for connections, one for bytes, and
// a network policy for requests.
const limitedPolicy = `version: 2
network_policies:
  tunnel:
    endpoints:
      - {host: raw.test, port: 443, limits: {connections: 1}}
      - {host: raw.test, port: 5432, limits: {bytes_out: 1000, bytes_in: {size: 2000, per: 1h}}}
    binaries: any
  web:
    limits: {requests: {count: 2, per: 1m}, response_types: [text/plain, "image/*"]}
    endpoints:
      - {host: ok.test, port: 80, protocol: rest, access: full}
    binaries: any
`

func (r *rig) limitEvent(what string) {
	r.t.Helper()
	r.event(what, func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, what) })
}

func TestPolicyLimitOfConnections(t *testing.T) {
	text := strings.Replace(limitedPolicy, "port: 443, limits", "ports: [443, 80], limits", 1)
	r := newRig(t, text)
	r.raw("raw.test", 443, chat)
	one, _ := r.open(viaRedirect, "raw.test:443")
	in := bufio.NewReader(one)
	alive(t, one, in)
	two, _ := r.open(viaRedirect, "raw.test:443")
	fmt.Fprint(two, "GET / HTTP/1.1\r\nHost: raw.test\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(two), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 403 || !bytes.Contains(body, []byte(codeLimit)) || !bytes.Contains(body, []byte("limits.connections")) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	r.limitEvent("limits.connections of the endpoint")
	r.swap(text) // the open one still counts, once
	alive(t, one, in)
	_ = one.Close()
	r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close && ev.Host == "raw.test" })
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		three, _ := r.open(viaRedirect, "raw.test:443")
		fmt.Fprint(three, "ping\n")
		if line, err := bufio.NewReader(three).ReadString('\n'); err == nil && line == "ping\n" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("a connection that ended still counts")
		}
	}
}

func TestLimitOfBytes(t *testing.T) {
	for _, out := range []bool{true, false} {
		t.Run(fmt.Sprint("out ", out), func(t *testing.T) {
			r := newRig(t, limitedPolicy)
			got := make(chan int, 1)
			r.raw("raw.test", 5432, func(c net.Conn) {
				if out {
					n, _ := io.Copy(io.Discard, c)
					got <- int(n)
					return
				}
				for range 100 {
					if _, err := c.Write(make([]byte, 100)); err != nil {
						return
					}
				}
				_, _ = io.Copy(io.Discard, c) // until it is cut
			})
			c, _ := r.open(viaRedirect, "raw.test:5432")
			if out {
				for range 100 {
					if _, err := c.Write(make([]byte, 100)); err != nil {
						break
					}
				}
				if n := <-got; n > 1000 {
					t.Errorf("%d bytes went out", n)
				}
				r.limitEvent("limits.bytes_out of the endpoint")
			} else {
				if n, _ := io.Copy(io.Discard, c); n > 2000 {
					t.Errorf("%d bytes came in", n)
				}
				r.limitEvent("limits.bytes_in of the endpoint")
			}
		})
	}
}

// What was used up stays so, also for the next connection and after a reload.
func TestLimitOfBytesIsKept(t *testing.T) {
	now := &clock{at: time.Now()}
	text := strings.Replace(limitedPolicy, "bytes_out: 1000", "bytes_out: {size: 10, per: 1h}", 1)
	r := newRig(t, text, func(_ *rig, c *Config) { c.Now = now.now })
	r.raw("raw.test", 5432, chat)
	use := func() error {
		c, _ := r.open(viaRedirect, "raw.test:5432")
		defer c.Close()
		fmt.Fprint(c, "123456789\n")
		_, err := bufio.NewReader(c).ReadString('\n')
		return err
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	if use() == nil {
		t.Error("more bytes pass")
	}
	r.swap(text)
	if use() == nil {
		t.Error("a reload gives new bytes")
	}
	r.limitEvent("10 in 1h are reached")
	now.set(now.now().Add(time.Hour))
	if err := use(); err != nil {
		t.Errorf("an hour later: %v", err)
	}
}

func TestLimitOfRequestsAndTypes(t *testing.T) {
	now := &clock{at: time.Now()}
	r := newRig(t, limitedPolicy, func(_ *rig, c *Config) { c.Now = now.now })
	kinds := map[string]string{"/text": "text/plain; charset=utf-8", "/image": "image/png", "/html": "text/html", "/none": ""}
	r.web("ok.test", 80, func(w http.ResponseWriter, q *http.Request) {
		w.Header()["Content-Type"] = nil
		if k := kinds[q.URL.Path]; k != "" {
			w.Header().Set("Content-Type", k)
		}
		if q.URL.Path == "/empty" {
			w.WriteHeader(204)
			return
		}
		fmt.Fprint(w, "content")
	})
	get := func(path string) (int, string) {
		c, _ := r.open(viaRedirect, "ok.test:80")
		defer c.Close()
		resp, body := talk(t, c, "GET", "GET "+path+" HTTP/1.1\r\nHost: ok.test\r\n\r\n")
		return resp.StatusCode, string(body)
	}
	for path, want := range map[string]int{"/text": 200, "/image": 200, "/html": 403, "/none": 403, "/empty": 204} {
		now.set(now.now().Add(time.Minute))
		code, body := get(path)
		if code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if want == 403 && (!strings.Contains(body, codeLimit) || strings.Contains(body, "content\"")) {
			t.Errorf("%s: %s", path, body)
		}
	}
	r.limitEvent("limits.response_types of network policy \"web\" do not list")
	now.set(now.now().Add(time.Minute))
	for i, want := range []int{200, 200, 403, 403} {
		code, body := get("/text")
		if code != want || want == 403 && !strings.Contains(body, "limits.requests of network policy \\\"web\\\": 2 in 1m are reached") {
			t.Errorf("request %d: %d %s", i+1, code, body)
		}
	}
	r.limitEvent("limits.requests of network policy")
	now.set(now.now().Add(time.Minute))
	if code, body := get("/text"); code != 200 {
		t.Errorf("a minute later: %d %s", code, body)
	}
}

// A body that is longer than the limit never arrives as a whole.
func TestLimitOfBytesOnRequests(t *testing.T) {
	text := "version: 2\nlimits: {bytes_out: 4K}\n" + strings.TrimPrefix(limitedPolicy, "version: 2\n")
	r := newRig(t, text)
	whole := make(chan error, 1)
	r.web("ok.test", 80, func(w http.ResponseWriter, q *http.Request) {
		_, err := io.Copy(io.Discard, q.Body)
		whole <- err
	})
	c, _ := r.open(viaRedirect, "ok.test:80")
	fmt.Fprintf(c, "POST /text HTTP/1.1\r\nHost: ok.test\r\nContent-Length: %d\r\n\r\n", 100<<10)
	_, _ = c.Write(make([]byte, 100<<10))
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && resp.StatusCode < 400 {
		t.Errorf("answered with %d", resp.StatusCode)
	}
	r.limitEvent("limits.bytes_out of the policy: 4096 are reached")
	r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close })
	select {
	case err := <-whole:
		if err == nil {
			t.Error("the whole body arrived")
		}
	default: // it was cut before the head went on
	}
}

// A limit that a reload brings closes connections whose bytes nobody counted.
func TestLimitThatIsNew(t *testing.T) {
	r := newRig(t, basePolicy)
	r.raw("raw.test", 5432, chat)
	c, _ := r.open(viaRedirect, "raw.test:5432")
	in := bufio.NewReader(c)
	alive(t, c, in)
	r.swap("version: 2\nlimits: {connections: 5}\n" + strings.TrimPrefix(basePolicy, "version: 2\n"))
	alive(t, c, in)
	r.swap("version: 2\nlimits: {bytes_out: 1M}\n" + strings.TrimPrefix(basePolicy, "version: 2\n"))
	if line, err := in.ReadString('\n'); err == nil {
		t.Errorf("the connection lives: %q", line)
	}
	r.limitEvent("its bytes would be counted now")
}
