package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// Server is the data path of one sandbox. Its methods are safe for concurrent use.
type Server struct {
	conf   Config
	listen Listeners
	self   []netip.AddrPort // of the listeners
	log    *slog.Logger

	denials   *denialLimit
	quotas    *quotas
	upstreams *upstreams
	bodies    bodies
	spools    *semaphore.Weighted // bytes of pushes that lie in files
	tools     tools
	published published
	web2      *web2
	tickets   tickets

	nextID atomic.Uint64
	wg     sync.WaitGroup // connections

	mu      sync.Mutex
	conns   map[*conn]struct{}
	streams int // beside the first of each connection
	stopped bool
}

// New checks the configuration; the listeners belong to the Server from then on.
func New(conf Config, l Listeners) (*Server, error) {
	switch {
	case conf.Engine == nil:
		return nil, errors.New("make egress server: no policy engine")
	case conf.Audit == nil:
		return nil, errors.New("make egress server: no audit recorder")
	case conf.Names == nil:
		return nil, errors.New("make egress server: no names")
	case conf.Callers == nil:
		return nil, errors.New("make egress server: no callers")
	case conf.CA == nil:
		return nil, errors.New("make egress server: no certificate authority")
	}
	if conf.MaxConns <= 0 || conf.MaxConns > maxConns {
		conf.MaxConns = maxConns
	}
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	if conf.OriginalDst == nil {
		conf.OriginalDst = originalDst
	}
	if conf.Resolve == nil {
		conf.Resolve = ResolveHost
	}
	if conf.Dial == nil {
		conf.Dial = dialHost
	}
	if conf.Now == nil {
		conf.Now = time.Now
	}
	if conf.Uses == nil {
		conf.Uses = new(policy.Uses)
	}
	s := &Server{
		conf: conf, listen: l, log: conf.Log,
		conns: make(map[*conn]struct{}),
	}
	for _, list := range [][]net.Listener{l.TCP, l.Proxy} {
		for _, x := range list {
			a, ok := addrPort(x.Addr())
			if !ok {
				return nil, fmt.Errorf("make egress server: listener %v is not TCP", x.Addr())
			}
			s.self = append(s.self, a)
		}
	}
	s.denials = newDenialLimit()
	s.bodies = newBodies()
	s.spools = semaphore.NewWeighted(maxSpools)
	s.tools.seen, s.tools.of = make(map[toolKey]*definitions), make(map[serverKey]int)
	s.published.times = make(map[publication]time.Time)
	s.quotas = &quotas{now: conf.Now, byKey: make(map[string]*quota)}
	s.upstreams = newUpstreams(s)
	s.web2 = newWeb2(s)
	return s, nil
}

func (s *Server) inference() Inference {
	if s.conf.Inference == nil {
		return nil
	}
	return s.conf.Inference()
}

// own reports whether an address is one of the listeners.
func (s *Server) own(a netip.AddrPort) bool {
	for _, l := range s.self {
		if l.Port() == a.Port() && (l.Addr().IsUnspecified() || l.Addr() == a.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// Run serves until the context ends or a listener fails, and returns when every
// goroutine it started has ended. The listeners are closed then. It is called once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var loops sync.WaitGroup
	fail := make(chan error, len(s.listen.TCP)+len(s.listen.Proxy))
	serve := func(l net.Listener, via audit.Via, handle func(*conn)) {
		loops.Add(1)
		go func() {
			defer loops.Done()
			if err := s.accept(ctx, l, via, handle); err != nil {
				fail <- err
				cancel()
			}
		}()
	}
	loops.Go(func() { s.ticks(ctx) })
	loops.Go(s.web2.wide.run)
	loops.Go(s.web2.narrow.run)
	for _, l := range s.listen.TCP {
		serve(l, audit.Transparent, s.transparent)
	}
	for _, l := range s.listen.Proxy {
		serve(l, audit.ProxyConnect, s.proxy)
	}
	<-ctx.Done()
	for _, list := range [][]net.Listener{s.listen.TCP, s.listen.Proxy} {
		for _, l := range list {
			_ = l.Close()
		}
	}
	s.drain()
	s.web2.wide.close()
	s.web2.narrow.close()
	loops.Wait()
	s.upstreams.close()
	s.recordHeld()
	select {
	case err := <-fail:
		return err
	default:
		return nil
	}
}

// ticks does once a second what no connection can do for itself, so that none
// needs a timer of its own for it.
func (s *Server) ticks(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s.upstreams.tick()
		for _, c := range s.live() {
			c.mu.Lock()
			r := c.requests
			c.mu.Unlock()
			if r != nil {
				r.tick()
			}
		}
	}
}

// drain waits for the connections: what the agent has sent is passed on for a
// moment, because it usually ends just before its sandbox does.
func (s *Server) drain() {
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	t := time.NewTimer(drainTimeout)
	defer t.Stop()
	select {
	case <-done:
		return
	case <-t.C:
	}
	s.mu.Lock()
	s.stopped = true // what is still on its way to dial does not
	s.mu.Unlock()
	for _, c := range s.live() {
		c.cut("the sandbox ended", false)
	}
	<-done
}

func (s *Server) accept(ctx context.Context, l net.Listener, via audit.Via, handle func(*conn)) error {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept connection: %w", err)
			}
			// Mostly too many open files: it passes, and the listener must outlive it.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("accept connection", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		s.start(nc, via, handle)
	}
}

func (s *Server) start(nc net.Conn, via audit.Via, handle func(*conn)) {
	c := &conn{s: s, id: s.nextID.Add(1), via: via, client: nc, opened: time.Now()}
	c.owned = map[io.Closer]side{nc: agentSide}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	s.mu.Lock()
	full := len(s.conns)+s.streams >= s.conf.MaxConns
	stopped := s.stopped
	if !full && !stopped {
		s.conns[c] = struct{}{}
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if full || stopped {
		if full {
			ev := c.event(audit.Connect)
			ev.Host, ev.Verdict, ev.Reason = "", policy.Deny.String(), fmt.Sprintf("more than %d connections at once", s.conf.MaxConns)
			_ = s.record(ev)
		}
		c.cut("refused", true)
		return
	}
	go func() {
		defer s.wg.Done()
		defer func() {
			c.cut("done", false)
			c.disarm()
			c.closeLimits()
			if c.release != nil {
				c.release()
			}
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
		defer func() {
			// A fault of ours in one connection must not end the others.
			if r := recover(); r != nil {
				s.log.Error("serve connection", "panic", r)
			}
		}()
		handle(c)
	}()
}

// oneMore counts a stream that is served beside others of its connection, and
// reports whether there is room for it; oneLess follows it then.
func (s *Server) oneMore() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns)+s.streams >= s.conf.MaxConns {
		return false
	}
	s.streams++
	return true
}

func (s *Server) oneLess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams--
}

func (s *Server) live() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// Recheck judges every live connection again; the supervisor calls it after the
// engine (or the inference route) was swapped. What is denied now is closed when
// it returns; the rest lives on, and no upstream connection that was opened under
// the old policy is used for another request. It returns how many it closed. A
// fault of Creel's own closes what it stands in the way of, and ends nothing else.
func (s *Server) Recheck() (closed int) {
	live := s.live()
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("judge connections again", "panic", v)
			for _, c := range live {
				c.cut("a fault of creel's own", true)
			}
			closed = len(live)
		}
	}()
	s.upstreams.renew()
	live = s.live()
	for _, c := range live {
		if c.recheck(policyChanged) {
			closed++
		}
	}
	return closed
}

// Abort ends all connections at once: what the kernel holds for upstreams is
// thrown away. New connections are judged as before.
func (s *Server) Abort() {
	s.upstreams.abort()
	for _, c := range s.live() {
		c.cut("aborted", true)
	}
}
