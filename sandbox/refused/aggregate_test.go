package refused

import (
	"net/netip"
	"testing"
	"time"
)

func to(port int) key {
	return key{protocol: protoUDP, dst: netip.MustParseAddr("192.0.2.7"), port: uint16(port), uid: -1}
}

func TestAggregate(t *testing.T) {
	now := time.Unix(1000, 0)
	var got []Packet
	a := newAggregate(func(p Packet) { got = append(got, p) }, now)
	a.add(to(1), now)
	for range 9 {
		a.add(to(1), now.Add(time.Second))
	}
	a.add(to(2), now)
	if len(got) != 2 || got[0].Count != 1 || got[0].Port != 1 || got[0].Protocol != "udp" || got[1].Port != 2 {
		t.Fatalf("reported %+v", got)
	}
	if !a.pending() {
		t.Error("nine packets are not pending")
	}
	a.flush(now.Add(quiet - 1))
	if len(got) != 2 {
		t.Fatalf("reported too early: %+v", got[2:])
	}
	a.flush(now.Add(quiet))
	if len(got) != 3 || got[2].Count != 9 || got[2].Port != 1 {
		t.Fatalf("reported %+v", got[2:])
	}
	if a.pending() {
		t.Error("something is pending")
	}
	a.flush(now.Add(3 * quiet))
	if len(a.held) != 0 || len(got) != 3 {
		t.Errorf("%d are held, %d reported", len(a.held), len(got))
	}
	a.add(to(1), now.Add(3*quiet))
	a.add(to(1), now.Add(3*quiet))
	a.finish(now.Add(3 * quiet))
	if len(got) != 5 || got[4].Count != 1 {
		t.Errorf("reported %+v", got[3:])
	}
}

func TestAggregateIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	var reports int
	var packets, missed uint64
	a := newAggregate(func(p Packet) { reports++; packets += p.Count; missed += p.Missed }, now)
	const n = 10 * maxDestinations
	for i := range n {
		a.add(to(i), now)
	}
	if reports != burst || len(a.held) != maxDestinations {
		t.Errorf("%d reports, %d held", reports, len(a.held))
	}
	for i := range 100 {
		a.flush(now.Add(time.Duration(i+1) * refill))
	}
	if reports != burst+100 {
		t.Errorf("%d reports after 100 refills", reports)
	}
	a.finish(now.Add(time.Hour))
	if packets+missed != n {
		t.Errorf("%d packets and %d missed, want %d in all", packets, missed, n)
	}
}
