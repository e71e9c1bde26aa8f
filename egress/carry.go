package egress

import (
	"errors"
	"net"
	"slices"
)

// A connection to a server that speaks HTTP/1 carries one request at a time, one of
// HTTP/2 several, of any of the agent's connections. What is cut because nothing
// lets it go on any more is cut hard: what the kernel has not sent of it is thrown
// away with the connection, unless that carries something else which may go on.
// Then the server is told that the stream is taken back (RST_STREAM), and gets of it
// no more than what was handed to the kernel before.

// ride is the last look before a byte of the request is written to a server, and
// notes what carries it.
func (x *exchange) ride(up *upstreamConn) error {
	if err := x.dialled(up.to); err != nil {
		return err
	}
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	if _, open := x.c.open[x]; !open { // it was cut since
		return net.ErrClosed
	}
	x.dismount(false)
	up.u.mu.Lock()
	defer up.u.mu.Unlock()
	if up.gone {
		return errGone
	}
	up.riders = append(up.riders, x)
	x.carrier = up
	return nil
}

// errGone: the connection was reset with another request; nothing was sent.
var errGone = errors.New("the connection was reset")

// dismount ends that the request is carried; cut: hard. Callers hold mu of its
// connection of the agent.
func (x *exchange) dismount(cut bool) {
	x.hard = x.hard || cut
	up := x.carrier
	if up == nil {
		return
	}
	x.carrier = nil
	up.u.mu.Lock()
	at := slices.Index(up.riders, x)
	if at >= 0 { // else it has been given back, and may carry another one
		up.riders = slices.Delete(up.riders, at, at+1)
	}
	reset := cut && at >= 0 && len(up.riders) == 0
	up.gone = up.gone || reset
	up.u.mu.Unlock()
	if reset {
		closeOwned(up.below, true)
	}
}

// closeUpstream ends the connection of a request that is over.
func (x *exchange) closeUpstream(nc net.Conn) {
	x.c.mu.Lock()
	hard := x.c.hard || x.hard
	x.c.mu.Unlock()
	closeOwned(nc, hard)
}
