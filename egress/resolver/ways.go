package resolver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is what is taken over UDP, in bytes (DNS flag day 2020).
	udpSize = 1232

	// idleTime is how long a connection to the server is kept for the next name,
	// and maxIdle how many: a name is two questions.
	idleTime = 30 * time.Second
	maxIdle  = 2
)

// plain asks over UDP, and over TCP what was too long for it.
func plain(to netip.AddrPort) func(context.Context, *dns.Msg) (*dns.Msg, error) {
	return func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		m, _, err := (&dns.Client{Net: "udp", UDPSize: udpSize, Timeout: exchangeTimeout}).ExchangeContext(ctx, q, to.String())
		if err == nil && m.Truncated {
			m, _, err = (&dns.Client{Net: "tcp", Timeout: exchangeTimeout}).ExchangeContext(ctx, q, to.String())
		}
		return m, err
	}
}

// secured asks over TLS, one question at a time on a connection.
type secured struct {
	addr string
	conf *tls.Config
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu     sync.Mutex
	idle   []resting
	closed bool // what comes back is not kept
}

type resting struct {
	c     net.Conn
	since time.Time
}

func (s *secured) ask(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	if c := s.take(); c != nil {
		if m, err := s.exchange(ctx, c, q); err == nil {
			return m, nil
		} // the server had closed it, as it may
	}
	nc, err := s.dial(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	c := tls.Client(nc, s.conf)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return s.exchange(ctx, c, q)
}

func (s *secured) exchange(ctx context.Context, c net.Conn, q *dns.Msg) (*dns.Msg, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	m, err := stream(c, q)
	if !stop() || err != nil {
		_ = c.Close()
		return m, errors.Join(err, ctx.Err())
	}
	s.give(c)
	return m, nil
}

// stream writes a question and reads its answer, each with its length before it.
func stream(c net.Conn, q *dns.Msg) (*dns.Msg, error) {
	b, err := q.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil, err
	}
	b = make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		return nil, err
	}
	return m, fits(q, m) // else what comes next on it would be of another question, too
}

func (s *secured) take() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.idle) > 0 {
		last := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		if time.Since(last.since) < idleTime {
			return last.c
		}
		_ = last.c.Close()
	}
	return nil
}

func (s *secured) give(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) >= maxIdle {
		_ = c.Close()
		return
	}
	s.idle = append(s.idle, resting{c, time.Now()})
}

func (s *secured) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.idle {
		_ = r.c.Close()
	}
	s.idle, s.closed = nil, true
}

// overHTTPS asks by POST, which no cache on the way keeps.
func overHTTPS(url string, t http.RoundTripper) func(context.Context, *dns.Msg) (*dns.Msg, error) {
	const kind = "application/dns-message"
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		q.Id = 0 // RFC 8484 §4.1
		b, err := q.Pack()
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Accept", kind)
		req.Header["User-Agent"] = nil
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if got, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode != http.StatusOK || got != kind {
			return nil, fmt.Errorf("ask dns over https: status %d", resp.StatusCode)
		}
		if b, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
			return nil, err
		}
		m := new(dns.Msg)
		return m, m.Unpack(b)
	}
}
