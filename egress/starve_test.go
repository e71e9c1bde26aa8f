package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// TestSlowBeginnings: who begins and never goes on is cut off, and it is recorded:
// in the head of a CONNECT, in a ClientHello that is answered here, in one that is
// passed through, in the head of a request. The server behind gets nothing of it.
func TestSlowBeginnings(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for real timeouts")
	}
	r := newRig(t, basePolicy)
	var reached atomic.Int64
	r.raw("raw.test", 443, func(c net.Conn) { n, _ := io.Copy(io.Discard, c); reached.Add(n) })
	r.raw("ok.test", 80, func(c net.Conn) { n, _ := io.Copy(io.Discard, c); reached.Add(n) })
	hello := clientHello(t, "raw.test")[:60]
	var wg sync.WaitGroup
	for name, tt := range map[string]struct {
		w      way
		to     string
		send   []byte
		denied func(audit.Event) bool // nil: nothing was asked for that could be denied
	}{
		"CONNECT head":     {"", "", []byte("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok"), func(e audit.Event) bool { return strings.Contains(e.Reason, "head is incomplete") }},
		"hello":            {viaRedirect, "ok.test:443", hello, func(e audit.Event) bool { return e.Host == "ok.test" && e.Protocol == "tls" }},
		"hello, relayed":   {viaConnect, "raw.test:443", hello, func(e audit.Event) bool { return e.Host == "raw.test" && e.Protocol == "tls" }},
		"head, plain":      {viaRedirect, "ok.test:80", []byte("GET /public/a HTTP/1.1\r\nHost: "), nil},
		"nothing at all":   {"", "", nil, nil},
		"first letter":     {"", "", []byte("C"), func(e audit.Event) bool { return strings.Contains(e.Reason, "head is incomplete") }},
		"record head":      {viaRedirect, "raw.test:443", hello[:4], func(e audit.Event) bool { return e.Host == "raw.test" && e.Protocol == "tls" }},
		"hello in CONNECT": {viaConnect, "ok.test:443", hello[:9], func(e audit.Event) bool { return e.Host == "ok.test" && e.Protocol == "tls" }},
	} {
		var c net.Conn
		if tt.w == "" {
			var err error
			if c, err = net.Dial("tcp", r.proxy); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		} else {
			c, _ = r.open(tt.w, tt.to)
		}
		_, _ = c.Write(tt.send)
		wg.Go(func() {
			_ = c.SetDeadline(time.Now().Add(3 * headTimeout))
			if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection is still open", name)
			}
			if tt.denied != nil {
				r.event(name, func(e audit.Event) bool { return e.Verdict == "deny" && tt.denied(e) })
			}
		})
	}
	wg.Wait()
	if n := reached.Load(); n != 0 {
		t.Errorf("%d bytes reached a server", n)
	}
}

// failing is a listener without descriptors for a while.
type failing struct {
	net.Listener
	left atomic.Int64
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return f.Listener.Accept()
}

// TestAcceptOutlivesEMFILE: where descriptors are short for a while connections
// wait; when there are some again they are served.
func TestAcceptOutlivesEMFILE(t *testing.T) {
	r := newRig(t, basePolicy)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failing{Listener: l}
	f.left.Store(5)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		ended <- r.s.accept(ctx, f, audit.Transparent, func(c *conn) { close(served); c.reset() })
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-served
	cancel()
	_ = l.Close()
	if err := <-ended; err != nil {
		t.Errorf("the loop ended with %v", err)
	}
	if f.left.Load() >= 0 {
		t.Error("there was no shortage")
	}
}

// TestUpstreamWithoutDescriptors: a dial that fails for want of descriptors is the
// connection's failure, told and recorded, and no one's else.
func TestUpstreamWithoutDescriptors(t *testing.T) {
	var short atomic.Bool
	short.Store(true)
	r := newRig(t, basePolicy, func(_ *rig, c *Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if short.Load() {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
			}
			return dial(ctx, to)
		}
	})
	r.web("ok.test", 443, echo)
	for _, w := range bothWays {
		const ask = "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"
		short.Store(true)
		r.s.upstreams.renew() // no connection of before
		resp, body := r.https(w, "ok.test:443", ask)
		wantDenial(t, resp, body, 502, codeUpstream)
		short.Store(false)
		if resp, body := r.https(w, "ok.test:443", ask); resp.StatusCode != 200 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	r.event("failure", func(e audit.Event) bool { return e.Kind == audit.Close && e.Detail["error"] == audit.UpstreamFailed })
}
