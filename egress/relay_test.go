package egress

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// teeConn keeps what is read.
type teeConn struct {
	net.Conn
	all *bytes.Buffer
}

func (c *teeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.all.Write(p[:n])
	return n, err
}

// TestPlaceholderOnRelay: bytes that nobody reads carry no placeholder out.
func TestPlaceholderOnRelay(t *testing.T) {
	for _, w := range bothWays {
		for name, sent := range map[string][]string{
			"first bytes": {"forbidden\n"},
			"later":       {"ping\n", "pong\n", "a forbidden\n"},
		} {
			for _, to := range []string{"raw.test:5432", "opaque.test:443"} {
				t.Run(fmt.Sprint(w, name, to), func(t *testing.T) {
					r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Secrets = &fakeSecrets{} })
					host, port, _ := net.SplitHostPort(to)
					number := map[string]uint16{"5432": 5432, "443": 443}[port]
					got := make(chan string, 1)
					r.raw(host, number, func(c net.Conn) {
						var all bytes.Buffer
						chat(&teeConn{c, &all})
						got <- all.String()
					})
					c, _ := r.open(w, to)
					in := bufio.NewReader(c)
					for _, line := range sent[:len(sent)-1] {
						fmt.Fprint(c, line)
						if back, err := in.ReadString('\n'); err != nil || back != line {
							t.Fatalf("%q %v", back, err)
						}
					}
					fmt.Fprint(c, sent[len(sent)-1])
					if rest, err := io.ReadAll(in); len(rest) > 0 || err == nil {
						t.Errorf("want a reset, got %q %v", rest, err)
					}
					if all := <-got; strings.Contains(all, "forb") {
						t.Errorf("the server got %q", all)
					}
					ev := r.event("refused", is(audit.Connect, "deny", host))
					if !strings.Contains(ev.Reason, "placeholder") || ev.Detail["error"] != codeCredential {
						t.Errorf("event %+v", ev)
					}
				})
			}
		}
	}
}

// TestRelayWithSecrets: what holds no placeholder passes as before, to its end.
func TestRelayWithSecrets(t *testing.T) {
	r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Secrets = &fakeSecrets{} })
	r.raw("raw.test", 5432, func(c net.Conn) {
		fmt.Fprint(c, "hello\n")
		b, _ := io.ReadAll(c)
		fmt.Fprintf(c, "got %d", len(b))
	})
	c, _ := r.open(viaRedirect, "raw.test:5432")
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("%q %v", line, err)
	}
	_, _ = c.Write(make([]byte, 1<<20))
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(in); err != nil || string(b) != "got 1048576" {
		t.Errorf("%q %v", b, err)
	}
	_ = c.Close()
	if end := r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close }); end.BytesOut < 1<<20 || end.Reason != "done" && end.Reason != "" {
		t.Errorf("closing event %+v", end)
	}
}
