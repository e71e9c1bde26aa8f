package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
)

func host(t testing.TB, s string) netname.Host {
	t.Helper()
	h, err := netname.ParseHost(s)
	if err != nil {
		t.Fatalf("ParseHost(%q): %v", s, err)
	}
	return h
}

func assign(t testing.TB, p *Pool, name string) (netip.Addr, netip.Addr) {
	t.Helper()
	v4, v6, err := p.Assign(host(t, name))
	if err != nil {
		t.Fatalf("Assign(%s): %v", name, err)
	}
	return v4, v6
}

func TestAssignIsStableAndReversible(t *testing.T) {
	p := NewPool(0)
	seen := map[netip.Addr]bool{}
	for i := range 700 { // more than two /24
		name := fmt.Sprintf("n%d.test", i)
		v4, v6 := assign(t, p, name)
		for _, a := range []netip.Addr{v4, v6} {
			if seen[a] {
				t.Fatalf("%s given out twice", a)
			}
			seen[a] = true
			if !netname.Synthetic(a) || a == netname.SandboxV4 || a == netname.SandboxV6 || a == netname.NameServerV4 {
				t.Fatalf("%s is no address for a name", a)
			}
			h, release, ok := p.Lookup(a)
			if !ok || h != host(t, name) {
				t.Fatalf("Lookup(%s) = %v, %v; want %s", a, h, ok, name)
			}
			release()
		}
		if b := v4.As4()[3]; b == 0 || b == 255 {
			t.Fatalf("%s is the end of a /24", v4)
		}
		if again4, again6 := assign(t, p, name); again4 != v4 || again6 != v6 {
			t.Fatalf("%s moved from %s to %s", name, v4, again4)
		}
	}
}

func TestLookupRefusesWhatStandsForNothing(t *testing.T) {
	p := NewPool(0)
	v4, v6 := assign(t, p, "a.test")
	for _, a := range []netip.Addr{
		v4.Next(), v6.Next(), netname.SandboxV4, netname.SandboxV6, netname.NameServerV4,
		netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1"), {},
		netip.MustParseAddr("2d0c:cee1::1:0:0:3"), // low bits of an address given out, other bits set
		v6.WithZone("lo"),
	} {
		if h, _, ok := p.Lookup(a); ok {
			t.Errorf("Lookup(%s) = %s", a, h)
		}
	}
	if _, _, ok := p.Lookup(netip.AddrFrom16(v4.As16())); !ok {
		t.Error("the mapped form of an address is not found")
	}
}

func TestAssignWantsNames(t *testing.T) {
	for _, h := range []netname.Host{{}, netname.HostFromAddr(netip.MustParseAddr("192.0.2.1"))} {
		if _, _, err := NewPool(0).Assign(h); err == nil {
			t.Errorf("Assign(%q) gave an address", h)
		}
	}
	var zero Pool
	if _, _, err := zero.Assign(host(t, "a.test")); !errors.Is(err, ErrPoolFull) {
		t.Errorf("zero pool: %v", err)
	}
}

func TestReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(2)
		a, _ := assign(t, p, "a.test")
		time.Sleep(time.Second)
		b, _ := assign(t, p, "b.test")
		full := func(name string) {
			t.Helper()
			if _, _, err := p.Assign(host(t, name)); !errors.Is(err, ErrPoolFull) {
				t.Fatalf("Assign(%s) = %v, want a full pool", name, err)
			}
		}
		full("c.test")
		time.Sleep(Linger - time.Second) // exactly when a.test's binding ends
		full("c.test")

		// A connection to a.test keeps its address, b.test's goes first.
		_, release, ok := p.Lookup(a)
		if !ok {
			t.Fatal("a.test is gone before anyone needed its address")
		}
		_, release2, _ := p.Lookup(a)
		time.Sleep(2 * time.Second)
		if c, _ := assign(t, p, "c.test"); c != b {
			t.Fatalf("c.test is %s, want the address of b.test, %s", c, b)
		}
		full("b.test")
		time.Sleep(10 * Linger)
		release()
		release() // once more is nothing
		if d, _ := assign(t, p, "d.test"); d != b {
			t.Fatalf("d.test took %s, which a connection holds", d)
		}
		release2()
		full("b.test") // both may be cached still
		time.Sleep(Linger + 1)
		assign(t, p, "e.test")
		assign(t, p, "f.test")
		full("g.test")
	})
}

func TestAnswerRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(1)
		assign(t, p, "a.test")
		time.Sleep(Linger - 1)
		assign(t, p, "a.test")
		time.Sleep(2 * time.Nanosecond)
		if _, _, err := p.Assign(host(t, "b.test")); !errors.Is(err, ErrPoolFull) {
			t.Fatal("an address was reused before its answer ran out")
		}
	})
}

func TestWholeRange(t *testing.T) {
	p := NewPool(1 << 20)
	for i := range maxNames {
		assign(t, p, fmt.Sprintf("n%d.test", i))
	}
	if _, _, err := p.Assign(host(t, "more.test")); !errors.Is(err, ErrPoolFull) {
		t.Fatalf("after %d names: %v", maxNames, err)
	}
}

// An address never changes its name while a connection holds it or an answer
// that was given lives.
func TestPoolProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			p := NewPool(rapid.IntRange(1, 4).Draw(r, "names"))
			type promise struct {
				host  netname.Host
				until time.Time
			}
			promised := map[netip.Addr]promise{}
			type hold struct {
				addr    netip.Addr
				host    netname.Host
				release func()
			}
			var holds []hold
			check := func(a netip.Addr, h netname.Host) {
				if was := promised[a]; was.host != h && !time.Now().After(was.until) {
					r.Fatalf("%s went from %s to %s too early", a, was.host, h)
				}
				for _, x := range holds {
					if x.addr == a && x.host != h {
						r.Fatalf("%s went from %s to %s while held", a, x.host, h)
					}
				}
			}
			for range rapid.IntRange(1, 40).Draw(r, "steps") {
				switch rapid.IntRange(0, 3).Draw(r, "step") {
				case 0:
					h := host(t, fmt.Sprintf("n%d.test", rapid.IntRange(0, 6).Draw(r, "name")))
					v4, _, err := p.Assign(h)
					if err != nil {
						continue
					}
					check(v4, h)
					promised[v4] = promise{h, time.Now().Add(TTL)}
				case 1:
					for a := range promised {
						if h, release, ok := p.Lookup(a); ok {
							check(a, h)
							holds = append(holds, hold{a, h, release})
						}
						break
					}
				case 2:
					if len(holds) > 0 {
						holds[0].release()
						holds = holds[1:]
					}
				case 3:
					time.Sleep(time.Duration(rapid.IntRange(1, 200).Draw(r, "seconds")) * time.Second)
				}
			}
		})
	})
}
