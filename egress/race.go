package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// alternate puts the addresses of both families by turns, that of the first one
// first (RFC 8305 §4), and keeps at most n.
func alternate(addrs []netip.Addr, n int) []netip.Addr {
	if len(addrs) == 0 {
		return nil
	}
	var first, other []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			other = append(other, a)
		}
	}
	out := make([]netip.Addr, 0, min(len(addrs), n))
	for i := 0; len(out) < cap(out); i++ {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(other) && len(out) < cap(out) {
			out = append(out, other[i])
		}
	}
	return out
}

// race connects to the first of the addresses that answers (RFC 8305 §5): each
// later one is tried when the one before has failed, or has not answered for
// attemptDelay. It returns when every attempt has ended; connections that came
// too late are closed. The error is that of the last attempt to fail.
func race(ctx context.Context, addrs []netip.Addr, port uint16, dial func(context.Context, netip.AddrPort) (net.Conn, error)) (net.Conn, netip.AddrPort, error) {
	if len(addrs) == 1 {
		to := netip.AddrPortFrom(addrs[0], port)
		nc, err := dial(ctx, to)
		return nc, to, err
	}
	type result struct {
		nc  net.Conn
		to  netip.AddrPort
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	running, next := 0, 0
	start := func() {
		to := netip.AddrPortFrom(addrs[next], port)
		next++
		running++
		go func() {
			nc, err := dial(ctx, to)
			results <- result{nc, to, err}
		}()
	}
	delay := time.NewTimer(attemptDelay)
	defer delay.Stop()
	won, err := result{}, errors.New("no address to connect to")
	if len(addrs) > 0 {
		start()
	}
	for running > 0 {
		var later <-chan time.Time
		if won.nc == nil && next < len(addrs) {
			later = delay.C
		}
		select {
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				if won.nc == nil {
					err = r.err
					if next < len(addrs) && ctx.Err() == nil {
						start()
						delay.Reset(attemptDelay)
					}
				}
			case won.nc != nil:
				_ = r.nc.Close()
			default:
				won = r
				cancel()
			}
		case <-later:
			if ctx.Err() == nil {
				start()
			}
			delay.Reset(attemptDelay)
		}
	}
	if won.nc == nil {
		return nil, netip.AddrPort{}, err
	}
	return won.nc, won.to, nil
}
