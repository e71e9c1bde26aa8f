package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestAlternate(t *testing.T) {
	parse := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for _, tt := range []struct {
		in, want []netip.Addr
		n        int
	}{
		{nil, nil, 6},
		{parse("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"), parse("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"), 6},
		{parse("192.0.2.1", "192.0.2.2", "2001:db8::1"), parse("192.0.2.1", "2001:db8::1"), 2},
		{parse("192.0.2.1", "192.0.2.2", "192.0.2.3"), parse("192.0.2.1", "192.0.2.2"), 2},
	} {
		if got := alternate(tt.in, tt.n); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.in, got, tt.want)
		}
	}
}

// TestRace: attempts begin and end as RFC 8305 §5 says, and no connection is left
// behind. Time is synctest's.
func TestRace(t *testing.T) {
	type step struct {
		after time.Duration // negative: only when it is cancelled
		fails bool
	}
	const never = -1
	for _, tt := range []struct {
		name  string
		steps []step
		won   int // index; -1: none
		took  time.Duration
		dials int
	}{
		{"the first answers", []step{{10 * time.Millisecond, false}, {0, false}}, 0, 10 * time.Millisecond, 1},
		{"the first is silent", []step{{never, false}, {10 * time.Millisecond, false}}, 1, attemptDelay + 10*time.Millisecond, 2},
		{"the first is slow and wins", []step{{attemptDelay + 20*time.Millisecond, false}, {time.Second, false}}, 0, attemptDelay + 20*time.Millisecond, 2},
		{"the first fails at once", []step{{0, true}, {10 * time.Millisecond, false}}, 1, 10 * time.Millisecond, 2},
		{"two are silent", []step{{never, false}, {never, false}, {0, false}}, 2, 2 * attemptDelay, 3},
		{"a failure speeds the next up", []step{{never, false}, {10 * time.Millisecond, true}, {0, false}}, 2, attemptDelay + 10*time.Millisecond, 3},
		{"all fail", []step{{0, true}, {0, true}}, -1, 0, 2},
		{"all are silent", []step{{never, false}, {never, false}}, -1, 15 * time.Second, 2},
		{"a late one is closed", []step{{attemptDelay, false}, {0, false}}, -2, attemptDelay, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				open, dials := map[net.Conn]bool{}, 0
				var addrs []netip.Addr
				for i := range tt.steps {
					addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
				}
				dial := func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
					mu.Lock()
					dials++
					mu.Unlock()
					st := tt.steps[to.Addr().As4()[3]]
					if st.after < 0 {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					time.Sleep(st.after) // whatever ctx says: a connection may come though it was cancelled
					if st.fails {
						return nil, fmt.Errorf("connect: %w", syscall.ECONNREFUSED)
					}
					a, b := net.Pipe()
					_ = b.Close()
					c := &countedConn{Conn: a, closed: func(c net.Conn) { mu.Lock(); delete(open, c); mu.Unlock() }}
					mu.Lock()
					open[c] = true
					mu.Unlock()
					return c, nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), dialTimeout)
				defer cancel()
				began := time.Now()
				nc, to, err := race(ctx, addrs, 443, dial)
				took := time.Since(began)
				switch {
				case tt.won == -1:
					if nc != nil || err == nil {
						t.Fatalf("%v %v", nc, err)
					}
				case nc == nil || err != nil || tt.won >= 0 && int(to.Addr().As4()[3]) != tt.won || to.Port() != 443:
					t.Fatalf("won %v: %v", to, err)
				}
				// The losers are waited for, and theirs may take longer than the winner.
				if tt.won >= -1 && tt.name != "the first is slow and wins" && took != tt.took || dials != tt.dials {
					t.Errorf("took %v and %d attempts", took, dials)
				}
				want := 1
				if tt.won == -1 {
					want = 0
				}
				if len(open) != want || nc != nil && !open[nc] {
					t.Errorf("%d connections are open", len(open))
				}
			})
		})
	}
	if nc, _, err := race(t.Context(), nil, 443, nil); nc != nil || err == nil {
		t.Error("no addresses, and a connection")
	}
}

type countedConn struct {
	net.Conn
	closed func(net.Conn)
}

func (c *countedConn) Close() error { c.closed(c); return c.Conn.Close() }

// TestSilentAddress: an address that does not answer does not hold up the next.
func TestSilentAddress(t *testing.T) {
	good, bad := netip.MustParseAddr("93.184.216.50"), netip.MustParseAddr("2606:2800::1")
	r := newRig(t, basePolicy, func(r *rig, c *Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if to.Addr() == bad {
				<-ctx.Done()
				return nil, errors.New("silent")
			}
			return dial(ctx, to)
		}
	})
	r.mu.Lock()
	r.names["ok.test"] = []netip.Addr{good}
	r.mu.Unlock()
	r.web("ok.test", 443, echo)
	r.mu.Lock()
	r.names["ok.test"] = []netip.Addr{bad, good}
	r.mu.Unlock()
	for _, w := range bothWays {
		resp, body := r.https(w, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", w, resp.StatusCode, body)
		}
	}
}
