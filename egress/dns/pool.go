package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/creel-run/creel/netname"
)

const (
	// TTL of every synthetic answer. Short enough that a full pool recovers
	// within minutes, long enough that programs do not ask for each request.
	TTL = 60 * time.Second

	// Linger is how long an address keeps its name after the last answer or the
	// end of the last connection: the TTL, and as much again for clients that
	// count from when they used the answer. Without pressure it is kept longer:
	// addresses never used before are given out first, then the one whose
	// binding ran out first.
	Linger = 2 * TTL

	// DefaultNames bounds a pool. With names of full length (253 bytes) it costs
	// about 6 MB.
	DefaultNames = 16384

	// maxNames is what the IPv4 range holds without the ends of each /24 and the
	// sandbox's own two addresses.
	maxNames = 256*254 - 2
)

// ErrPoolFull means that every address stands for a name that may still be in use.
var ErrPoolFull = errors.New("assign address: all synthetic addresses are in use")

// Pool maps names to synthetic addresses, one IPv4 and one IPv6 address for
// each, which share their lowest 16 bits. The zero Pool is full.
type Pool struct {
	mu     sync.Mutex
	max    int
	slots  map[uint16]*slot // by the lowest 16 bits of the address
	byName map[netname.Host]*slot
	next   int // the next value of the lowest 16 bits that was never given out

	// Slots that no connection holds, the first to expire at the front. A slot
	// is put at the back whenever its expiry is renewed, so the order is that of
	// expiry. Held slots are not in it.
	idle slot
}

type slot struct {
	host       netname.Host
	low        uint16
	holds      int
	expires    time.Time
	prev, next *slot // in Pool.idle, nil while held
}

// NewPool makes a pool for at most n names; 0 means DefaultNames.
func NewPool(n int) *Pool {
	if n <= 0 {
		n = DefaultNames
	}
	p := &Pool{
		max:    min(n, maxNames),
		slots:  make(map[uint16]*slot),
		byName: make(map[netname.Host]*slot),
	}
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	return p
}

// Assign gives the two addresses that stand for a name, and renews the time
// that they will. ErrPoolFull if there is none to give.
func (p *Pool) Assign(h netname.Host) (v4, v6 netip.Addr, err error) {
	if h.IsZero() || h.IsAddr() {
		return v4, v6, fmt.Errorf("assign address: %q is not a name", h.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	s := p.byName[h]
	if s == nil {
		if s = p.take(now); s == nil {
			return v4, v6, ErrPoolFull
		}
		s.host = h
		p.byName[h] = s
	}
	if s.holds == 0 {
		p.park(s, now)
	}
	v4, v6 = synthetic(s.low)
	return v4, v6, nil
}

// take finds a slot without a name.
func (p *Pool) take(now time.Time) *slot {
	if len(p.slots) < p.max {
		for ; p.next <= 0xffff; p.next++ {
			low := uint16(p.next)
			if !usable(low) {
				continue
			}
			p.next++
			s := &slot{low: low}
			p.slots[low] = s
			return s
		}
	}
	s := p.idle.next
	// now == expires still belongs to the old name.
	if s == nil || s == &p.idle || !now.After(s.expires) {
		return nil
	}
	delete(p.byName, s.host)
	return s
}

// Lookup gives the name that a synthetic address stands for and holds the
// binding until release is called; calling it again does nothing. An address
// that was never given out is not ok: it must be refused, not judged as an
// address.
func (p *Pool) Lookup(a netip.Addr) (host netname.Host, release func(), ok bool) {
	low, ok := lowBits(a)
	if !ok {
		return netname.Host{}, nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots[low]
	if s == nil {
		return netname.Host{}, nil, false
	}
	s.holds++
	s.unlink()
	return s.host, sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if s.holds--; s.holds == 0 {
			p.park(s, time.Now())
		}
	}), true
}

// name is Lookup without holding.
func (p *Pool) name(a netip.Addr) (netname.Host, bool) {
	low, ok := lowBits(a)
	if !ok {
		return netname.Host{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots[low]
	if s == nil {
		return netname.Host{}, false
	}
	return s.host, true
}

// park puts a slot that nobody holds at the back of the idle list.
func (p *Pool) park(s *slot, now time.Time) {
	s.unlink()
	s.expires = now.Add(Linger)
	last := p.idle.prev
	s.prev, s.next = last, &p.idle
	last.next, p.idle.prev = s, s
}

func (s *slot) unlink() {
	if s.prev == nil {
		return
	}
	s.prev.next, s.next.prev = s.next, s.prev
	s.prev, s.next = nil, nil
}

// synthetic is the address pair of a slot.
func synthetic(low uint16) (v4, v6 netip.Addr) {
	a4 := netname.SyntheticV4.Addr().As4()
	a4[2], a4[3] = byte(low>>8), byte(low)
	a16 := netname.SyntheticV6.Addr().As16()
	a16[14], a16[15] = byte(low>>8), byte(low)
	return netip.AddrFrom4(a4), netip.AddrFrom16(a16)
}

// lowBits is the slot of an address that synthetic could have made.
func lowBits(a netip.Addr) (uint16, bool) {
	a = a.Unmap()
	if !netname.Synthetic(a) || a.Zone() != "" {
		return 0, false
	}
	b := a.As16()
	low := uint16(b[14])<<8 | uint16(b[15])
	v4, v6 := synthetic(low)
	return low, usable(low) && (a == v4 || a == v6)
}

// usable leaves out the ends of each /24, which some clients take for network
// and broadcast addresses, and the sandbox's own addresses.
func usable(low uint16) bool {
	if b := byte(low); b == 0 || b == 255 {
		return false
	}
	v4, v6 := synthetic(low)
	return v4 != netname.SandboxV4 && v4 != netname.NameServerV4 && v6 != netname.SandboxV6
}
