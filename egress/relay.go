package egress

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/creel-run/creel/policy"
)

// relay passes bytes between the agent and the upstream without reading them,
// except for a ClientHello at the start. The upstream may speak first: what the
// agent sends is held until it is judged, what the upstream sends is not.
func (c *conn) relay(d policy.ConnectDecision) {
	up, to, err := c.s.dial(c.ctx, c.facts.Host, c.facts.Port, d.Destination)
	if err != nil {
		if c.ctx.Err() == nil {
			c.refuse(c.dialDenial(err, "", ""))
		}
		return
	}
	c.own(up, upstreamSide)
	defer func() {
		c.disown(up)
		_ = up.Close()
	}()
	if err := c.dialled(to); err != nil {
		c.end("the policy changed")
		return
	}
	if !c.establish() {
		return
	}

	r := &relaying{c: c, up: up}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		r.finish(r.pipe(c.client, up, &c.in, &r.quietIn), c.client)
	}()
	first, err := r.begin(!d.SkipTLS)
	switch {
	case err != nil:
	case c.s.conf.Secrets != nil:
		err = r.scan(first)
	default:
		var n int
		n, err = up.Write(first)
		c.out.Add(int64(n))
		if err == nil {
			err = r.pipe(up, c.client, &c.out, &r.quietOut)
		}
	}
	r.finish(err, up)
	wg.Wait()
}

type relaying struct {
	c  *conn
	up net.Conn

	// quietIn and quietOut: nothing was moved in that direction for the last
	// relayIdle, or nothing will be.
	quietIn, quietOut atomic.Bool
}

var errIdle = errors.New("idle for too long")

// begin gives the first bytes of the agent, after it looked for a ClientHello.
func (r *relaying) begin(look bool) ([]byte, error) {
	c := r.c
	buf := c.ahead
	c.ahead = nil
	if look {
		if len(buf) == 0 {
			var err error
			if buf, err = r.first(); len(buf) == 0 {
				return nil, err
			}
		}
		if buf[0] == recordHandshake {
			_ = c.client.SetReadDeadline(time.Now().Add(helloTimeout))
			all, h, err := readHello(c.client, buf)
			if err == nil {
				err = h.check(c.facts.Host, true)
			}
			if err != nil {
				// The upstream has not had a byte of it.
				abort(r.up)
				c.refuseTLS(err)
				return nil, errRefused
			}
			_ = c.client.SetReadDeadline(time.Time{})
			buf = all
		}
	}
	return buf, nil
}

var errRefused = errors.New("refused")

// first waits for the first bytes of the agent, as long as the upstream talks.
func (r *relaying) first() ([]byte, error) {
	buf := make([]byte, 2048)
	for {
		_ = r.c.client.SetReadDeadline(time.Now().Add(relayIdle))
		n, err := r.c.client.Read(buf)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return buf[:n], err
		}
		if r.quietOut.Store(true); r.quietIn.Load() {
			return nil, errIdle
		}
	}
}

// pipe moves bytes one way until their end. Between TCP sockets the kernel
// moves them (splice), so idleness is seen at a deadline, not at each byte.
func (r *relaying) pipe(dst, src net.Conn, count *atomic.Int64, quiet *atomic.Bool) error {
	for {
		_ = src.SetReadDeadline(time.Now().Add(relayIdle))
		n, err := io.Copy(dst, src)
		count.Add(n)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		quiet.Store(n == 0)
		if r.quietIn.Load() && r.quietOut.Load() {
			return errIdle
		}
	}
}

// scan moves what the agent sends, beginning with first, until a placeholder is
// found: where nobody reads, none is replaced, and it would be given away as it
// is. Every byte passes through this process then. What is encrypted by the agent
// itself cannot be looked into.
func (r *relaying) scan(first []byte) error {
	c := r.c
	from := &agentReader{r: r, first: first}
	through := c.s.conf.Secrets.Scan(from)
	buf := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	for {
		n, err := through.Read(*buf)
		if n > 0 {
			n, werr := r.up.Write((*buf)[:n])
			c.out.Add(int64(n))
			if werr != nil {
				return werr
			}
		}
		switch {
		case err == nil:
		case from.err != nil:
			return from.err
		default: // it was not the reading that failed
			abort(r.up)
			abort(c.client)
			_ = c.recordDenial(&denial{code: codeCredential, layer: layerCredential, reason: err.Error()}, "tcp")
			c.end("refused")
			return errRefused
		}
	}
}

// agentReader gives what the agent sends, and waits through silence as long as
// the other direction is not silent, too.
type agentReader struct {
	r     *relaying
	first []byte
	err   error // that ended it
}

func (a *agentReader) Read(p []byte) (int, error) {
	if len(a.first) > 0 {
		n := copy(p, a.first)
		a.first = a.first[n:]
		return n, nil
	}
	for {
		_ = a.r.c.client.SetReadDeadline(time.Now().Add(relayIdle))
		n, err := a.r.c.client.Read(p)
		switch {
		case n > 0:
			a.r.quietOut.Store(false)
			return n, nil // an error comes again: it must not hide what a scanner finds in these bytes
		case errors.Is(err, os.ErrDeadlineExceeded):
			if a.r.quietOut.Store(true); !a.r.quietIn.Load() {
				continue
			}
			err = errIdle
		}
		if err != nil {
			a.err = err
		}
		return n, err
	}
}

// finish ends one direction: after the end of the stream only that one, after
// an error both.
func (r *relaying) finish(err error, dst net.Conn) {
	if dst == r.up {
		r.quietOut.Store(true)
	} else {
		r.quietIn.Store(true)
	}
	if err == nil || errors.Is(err, io.EOF) {
		_ = closeWrite(dst)
		return
	}
	switch {
	case errors.Is(err, errIdle) || errors.Is(err, os.ErrDeadlineExceeded):
		r.c.end(errIdle.Error())
	case errors.Is(err, errRefused):
	default:
		// One end was reset, so the other is told the same.
		abort(dst)
	}
	_ = r.up.Close()
	_ = r.c.client.Close()
}
