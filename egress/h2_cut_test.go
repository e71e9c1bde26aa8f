package egress

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// slowServer is a server of HTTP/2 without TLS that takes no byte of a body before
// it is told to.
type slowServer struct {
	heads chan string // paths, as they come
	read  chan struct{}
	ends  chan error // how each connection ended

	mu     sync.Mutex
	resets []uint32 // streams that were taken back
}

func (r *rig) slow(host string) *slowServer {
	s := &slowServer{heads: make(chan string, 64), read: make(chan struct{}), ends: make(chan error, 64)}
	r.raw(host, 80, s.serve)
	return s
}

func (s *slowServer) serve(c net.Conn) {
	_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		s.ends <- err
		return
	}
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = fr.WriteWindowUpdate(0, 1<<30)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			s.ends <- err
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = fr.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			s.heads <- f.PseudoValue("path")
		case *http2.DataFrame:
			<-s.read
		case *http2.RSTStreamFrame:
			s.mu.Lock()
			s.resets = append(s.resets, f.StreamID)
			s.mu.Unlock()
		}
	}
}

const cutPolicy = `version: 2
network_policies:
  web:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: rest
        rules:
          - allow: {method: "*", path: "/keep/**"}
          - allow: {method: "*", path: "/lose/**"}
    binaries: any
`

// without is a policy of which a rule was taken back.
func without(rule string) string {
	return strings.Replace(cutPolicy, rule, "/none/**", 1)
}

// fill sends a body on stream id until neither the kernel nor anybody on the way takes more.
func (f *h2agent) fill(id uint32) {
	go func() { // what comes is read, so that windows open
		for {
			if _, err := f.fr.ReadFrame(); err != nil {
				return
			}
		}
	}()
	for sent := 0; sent < agentStreamWindow; sent += maxFrame {
		f.ok(f.fr.WriteData(id, false, make([]byte, maxFrame)))
	}
}

// TestHTTP2CutIsHard: of a stream whose rule was taken back, nothing that waits on
// the way to the server gets there any more, whatever protocol the server speaks.
func TestHTTP2CutIsHard(t *testing.T) {
	t.Run("HTTP/2", func(t *testing.T) {
		r := newRig(t, cutPolicy)
		s := r.slow("ok.test")
		f := r.framed("ok.test:80")
		f.open(1, false, ":method: POST", ":scheme: http", ":authority: ok.test", ":path: /lose/a")
		<-s.heads
		f.fill(1)
		r.swap(without("/lose/**"))
		close(s.read)
		if err := <-s.ends; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection ended with %v, want a reset", err)
		}
	})
	t.Run("HTTP/1", func(t *testing.T) {
		r := newRig(t, cutPolicy)
		head, read, end := make(chan struct{}), make(chan struct{}), make(chan error, 8)
		r.raw("ok.test", 443, func(c net.Conn) {
			_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
			conf := r.serverTLS("ok.test")
			conf.NextProtos = []string{"http/1.1"}
			tc := tls.Server(c, conf)
			if _, _, f := readHead(tc); f != nil {
				return
			}
			close(head)
			<-read
			_, err := io.Copy(io.Discard, tc)
			end <- err
		})
		f := r.framed("ok.test:443")
		f.open(1, false, post("/lose/a")...)
		<-head
		f.fill(1)
		r.swap(without("/lose/**"))
		close(read)
		if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection ended with %v, want a reset", err)
		}
	})
}

// TestHTTP2CutSpares: a connection to a server that carries what is allowed still
// stays, and is reset when the last of its streams is cut.
func TestHTTP2CutSpares(t *testing.T) {
	r := newRig(t, cutPolicy)
	s := r.slow("ok.test")
	f := r.framed("ok.test:80")
	g := r.framed("ok.test:80") // another connection of the agent, on the same one to the server
	f.open(1, false, ":method: POST", ":scheme: http", ":authority: ok.test", ":path: /lose/a")
	<-s.heads
	g.open(1, false, ":method: POST", ":scheme: http", ":authority: ok.test", ":path: /keep/a")
	<-s.heads
	if n := r.dialed(); n != 1 {
		t.Fatalf("%d connections to the server, want one", n)
	}
	close(s.read)
	r.swap(without("/lose/**"))
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := len(s.resets)
		s.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d streams were taken back, want one", n)
		}
	}
	select {
	case err := <-s.ends:
		t.Fatalf("the connection of an allowed stream ended: %v", err)
	default:
	}
	r.swap(strings.Replace(without("/lose/**"), "/keep/**", "/gone/**", 1))
	if err := <-s.ends; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
}
