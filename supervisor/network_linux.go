package supervisor

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/egress"
	"github.com/creel-run/creel/egress/dns"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/inference"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/sandbox/caller"
	"github.com/creel-run/creel/sandbox/refused"
	"golang.org/x/sys/unix"
)

// routeHolder swaps the route in one step.
type routeHolder struct {
	p atomic.Pointer[inference.Route]
}

func (h *routeHolder) store(r *inference.Route) {
	if old := h.p.Swap(r); old != nil {
		old.Close()
	}
}
func (h *routeHolder) load() *inference.Route { return h.p.Load() }

// callers adapts package caller to what egress asks for.
type callers struct{ t *caller.Tracker }

func (c callers) Lookup(client, original netip.AddrPort) egress.Caller {
	k := c.t.Lookup(client, original)
	return egress.Caller{Known: k.Known, PID: k.PID, Binary: k.Binary, Script: k.Script, Ancestors: k.Ancestors, SHA256: k.SHA256, Why: k.Why}
}

// namePoolSize is how many names may be in use at once; each costs about 200
// bytes, and an agent that uses more than this is not resolving names.
const namePoolSize = 16384

// startNetwork starts all that serves the sandbox's network, before the agent
// runs.
func (s *supervisor) startNetwork(p *prepared, start func(string, func(context.Context) error)) error {
	tracker, err := caller.New(caller.Config{Notify: s.box.Notify, Diag: s.box.Diag, Init: s.box.InitPID, UID: s.box.UID, GID: s.box.GID, Verify: s.box.HostFile,
		Wants:   func(path string) (ancestors, digest bool) { return s.rev.Load().engine.Wants(path) },
		Refused: s.unixRefused(),
	})
	s.box.Notify, s.box.Diag = nil, nil // the tracker's now
	if err != nil {
		return err
	}
	s.callers.Store(tracker)
	pool := dns.NewPool(namePoolSize)
	names, err := dns.New(dns.Config{Pool: pool, Audit: s.log}, s.box.DNS, s.box.DNSTCP)
	if err != nil {
		return err
	}
	authority, err := p.ahead.signer()
	if err != nil {
		return fault.Wrap(err, "prepare sandbox", fault.Internal)
	}
	config := egress.Config{
		Engine: func() *policy.Engine { return s.rev.Load().engine },
		Chain:  func() *middleware.Chain { return s.rev.Load().chain },
		Audit:  s.log, Names: pool, Callers: callers{tracker}, CA: authority,
		Inference: func() egress.Inference {
			if r := s.route.load(); r != nil {
				return r
			}
			return (*inference.Route)(nil)
		},
		RootCAs: p.roots, Parent: p.parents, Resolve: s.lookup,
		Upstream: func(h netname.Host, port uint16) (netip.AddrPort, bool) {
			a, ok := p.upstreams[endpoint{h, port}]
			return a, ok
		},
		ClientCert: func(h netname.Host, port uint16) *tls.Certificate {
			return p.certs[endpoint{h, port}]
		},
		Guarded: func(h netname.Host) string {
			if s.rev.Load().models.Has(h) {
				return inference.Uninspected
			}
			return ""
		},
		MaxConns:     s.roomFor(),
		OnAuditError: s.auditFailed,
	}
	if p.secrets != nil || s.route.load() != nil {
		config.Secrets = p.secrets // a nil set still refuses the route's placeholder
	}
	if s.egress, err = egress.New(config, egress.Listeners{TCP: s.box.Redirect, Proxy: s.box.Proxy}); err != nil {
		return err
	}
	start("tell callers", tracker.Run)
	start("answer names", names.Run)
	start("serve egress", s.egress.Run)
	start("report refused packets", func(ctx context.Context) error {
		return refused.Run(ctx, s.box.Refused, func(r refused.Packet) {
			if err := s.log.Record(refusedEvent(r)); err != nil {
				s.auditFailed(err)
			}
		})
	})
	return nil
}

const (
	// ownFiles is how many descriptors the supervisor keeps for itself: the log, the
	// control socket and who speaks on it, the policy, streams, DNS, idle upstreams.
	ownFiles = 192

	// connFiles is how many one connection takes at most: two sockets, and two pipes
	// that the kernel moves its bytes through.
	connFiles = 6
)

// roomFor is how many connections of the agent leave the operator descriptors to
// reach the supervisor with; 0 is no bound of its own.
func (s *supervisor) roomFor() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 0
	}
	n := max(int(min(files.Cur, math.MaxInt32))-ownFiles, 0) / connFiles
	if n < fewConns {
		s.o.Notice(fmt.Sprintf("the limit of %d open files leaves the agent %d connections at once; raise it with: ulimit -n 4096", files.Cur, max(n, 1)))
	}
	return max(n, 1)
}

// fewConns is less than browsers and package managers open.
const fewConns = 300

// auditFailed tells the operator once that the network is closed. The log stays
// failed, so every later decision is a denial; the agent goes on without network.
func (s *supervisor) auditFailed(err error) {
	if s.unaudited.CompareAndSwap(false, true) {
		s.o.Notice("the network of this sandbox is closed: " + err.Error())
		s.o.Notice("hint: make room for " + s.log.Path() + ", see that nobody else touches it, then start the sandbox again; what was written stays")
	}
}

// Reports of refused unix sockets: so many at once, then one per interval. What
// came between is counted in the next.
const (
	unixBurst = 50
	unixEvery = time.Second
)

// unixRefused records connects to unix sockets of the host.
func (s *supervisor) unixRefused() func(string, caller.Caller) {
	limit := audit.NewLimiter(unixBurst, unixEvery)
	return func(path string, c caller.Caller) {
		held, ok := limit.Take(time.Now())
		if !ok {
			return
		}
		e := audit.Event{
			Kind: audit.Refused, Verdict: policy.Deny.String(), Protocol: "unix", Path: path,
			Binary: c.Binary, Unverified: c.Binary != "" && !c.Known, Script: c.Script, PID: c.PID,
			Reason: "no process of the sandbox listens on this socket",
		}
		if held > 0 {
			e.Detail = map[string]string{audit.NotRecorded: strconv.FormatUint(held, 10)}
		}
		if err := s.log.Record(e); err != nil {
			s.auditFailed(err)
		}
	}
}

func refusedEvent(r refused.Packet) audit.Event {
	e := audit.Event{
		Kind: audit.Refused, Verdict: policy.Deny.String(), Protocol: r.Protocol, Host: r.Dst.String(), Port: r.Port,
		Reason: "only TCP and DNS leave a sandbox", Detail: map[string]string{"packets": strconv.FormatUint(r.Count, 10)},
	}
	if r.Missed > 0 {
		e.Detail["packets_to_other_destinations"] = strconv.FormatUint(r.Missed, 10)
	}
	return e
}
