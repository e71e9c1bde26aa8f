package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/creel-run/creel/audit"
)

const (
	// maxConns bounds TCP connections at a time. Resolvers use TCP rarely, and
	// one connection for many queries; one more is closed at once.
	maxConns = 64

	// idleTimeout is how long a TCP connection may take for its next whole query
	// and for taking the answer (RFC 7766 §6.2.3: "of the order of seconds").
	idleTimeout = 10 * time.Second

	// retryAfter is the pause after an error of a socket that may pass, such as
	// no free descriptor.
	retryAfter = 50 * time.Millisecond

	// maxRetries is how many such errors in a row end the server.
	maxRetries = 100
)

// Config is what a Server needs; nil members are an error unless they say otherwise.
type Config struct {
	Pool  *Pool
	Audit audit.Recorder // takes what was refused, at a bounded rate
	Log   *slog.Logger   // nil: nothing is logged
}

// Server answers the queries of one sandbox.
type Server struct {
	pool  *Pool
	audit audit.Recorder
	log   *slog.Logger
	udp   []net.PacketConn
	tcp   []net.Listener
	limit *audit.Limiter
	now   func() time.Time
}

// New makes a Server of sockets; it owns them from here on, and Run closes them.
func New(c Config, udp []net.PacketConn, tcp []net.Listener) (*Server, error) {
	switch {
	case c.Pool == nil:
		return nil, errors.New("make dns server: no pool")
	case c.Audit == nil:
		return nil, errors.New("make dns server: no audit")
	case len(udp)+len(tcp) == 0:
		return nil, errors.New("make dns server: no sockets")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		pool: c.Pool, audit: c.Audit, log: c.Log, udp: udp, tcp: tcp,
		limit: audit.NewLimiter(auditBurst, auditEvery), now: time.Now,
	}, nil
}

// Run serves until ctx ends (nil) or a socket fails (its error), and then closes
// all sockets. Call it once.
func (s *Server) Run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, c := range s.udp {
		wg.Go(func() { cancel(s.serveUDP(ctx, c)) })
	}
	slots := make(chan struct{}, maxConns)
	for _, l := range s.tcp {
		wg.Go(func() { cancel(s.serveTCP(ctx, l, slots, &wg)) })
	}
	<-ctx.Done()
	for _, c := range s.udp {
		c.Close()
	}
	for _, l := range s.tcp {
		l.Close()
	}
	wg.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

func (s *Server) serveUDP(ctx context.Context, c net.PacketConn) error {
	buf := make([]byte, maxQuery+1) // one more byte shows that there was more
	failures := 0
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			if failures++; !retry(ctx, err, failures) {
				return ended(ctx, "read dns queries", err)
			}
			continue
		}
		failures = 0
		out := s.answer(buf[:n])
		if out == nil {
			continue
		}
		if _, err := c.WriteTo(out, from); err != nil {
			s.log.Debug("write dns answer", "error", err)
		}
	}
}

func (s *Server) serveTCP(ctx context.Context, l net.Listener, slots chan struct{}, wg *sync.WaitGroup) error {
	failures := 0
	for {
		c, err := l.Accept()
		if err != nil {
			if failures++; !retry(ctx, err, failures) {
				return ended(ctx, "accept dns connections", err)
			}
			continue
		}
		failures = 0
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			s.refuse("", "", "too many connections")
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			s.serveConn(ctx, c)
		})
	}
}

// serveConn answers queries in the order in which they come, as many as the
// client likes: each costs it as much as it costs us.
func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	buf := make([]byte, 2+maxQuery)
	for {
		if c.SetDeadline(time.Now().Add(idleTimeout)) != nil {
			return
		}
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(buf))
		if n < headerLen || n > maxQuery {
			s.refuse("", "", "malformed query")
			return
		}
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			return
		}
		out := s.answer(buf[:n])
		if out == nil {
			return
		}
		// Length and message in one write, or a client with a slow reader gets
		// them in two segments (RFC 7766 §8).
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(buf[:0], uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

// retry waits a little after an error that may pass.
func retry(ctx context.Context, err error, failures int) bool {
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) || failures > maxRetries {
		return false
	}
	t := time.NewTimer(retryAfter)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func ended(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
