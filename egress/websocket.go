package egress

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/egress/websocket"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/secret"
)

// socket is the WebSocket that a request asks for. Of offer and fault one is set.
type socket struct {
	offer  websocket.Offer
	fault  error            // the handshake is not taken
	up     *upstreamConn    // that carries it, and that no pool gets
	opened bool             // the server agreed
	answer websocket.Answer // to what
}

// readOffer reads the handshake of a WebSocket, if the request is one.
func (x *exchange) readOffer() {
	if !websocket.IsHandshake(x.h.upgrade, x.r.Header) {
		return
	}
	offer, err := websocket.ParseOffer(websocket.Request{
		Method: x.h.verb(), HTTP11: x.h.minor == 1, Upgrade: x.h.upgrade, Connection: x.h.nominated,
		Body: x.h.hasBody(), Header: x.r.Header,
	})
	if err == nil && x.early() {
		err = errEarly
	}
	x.socket = &socket{offer: offer, fault: err}
}

// mayOpen says why a request that the policy allows is not taken: a websocket
// endpoint takes handshakes alone, and no other takes one. A rule of rest that
// lets GET through means reading; a WebSocket would be a way out that its rules
// say nothing about.
func (x *exchange) mayOpen(governing *policy.Endpoint) (why string) {
	switch {
	case governing == nil || x.socket != nil && x.socket.fault != nil: // denied anyhow, or refused with its fault
		return ""
	case x.socket == nil && governing.Protocol == policy.WebSocket:
		return "the endpoint has protocol: websocket, and takes the handshake of a WebSocket alone"
	case x.socket != nil && governing.Protocol != policy.WebSocket:
		return "a WebSocket is opened where an endpoint with protocol: websocket takes the path; the one here has protocol: " + string(governing.Protocol)
	}
	return ""
}

// writeOffer puts the subprotocols of the offer in place of what the agent
// wrote. They are its words, and looked through for credentials as the rest is.
func (x *exchange) writeOffer(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "Sec-Websocket-") {
			delete(h, name)
		}
	}
	if len(x.socket.offer.Protocols) > 0 {
		h["Sec-Websocket-Protocol"] = []string{strings.Join(x.socket.offer.Protocols, ", ")}
	}
}

// openSocket sends a handshake, over a connection of its own, and gives the
// answer to it. It stands in the place of roundTrip.
func openSocket(x *exchange, req *http.Request, spec *upstreamSpec) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), openTimeout)
	defer cancel()
	u := x.c.s.upstreams
	defer context.AfterFunc(u.ctx, cancel)()
	var nonce [16]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	key, h := base64.StdEncoding.EncodeToString(nonce[:]), req.Header
	h["Upgrade"] = []string{"websocket"}
	h["Sec-WebSocket-Key"], h["Sec-WebSocket-Version"] = []string{key}, []string{"13"}
	if ext := x.socket.offer.Deflate.String(); ext != "" {
		h["Sec-WebSocket-Extensions"] = []string{ext}
	}
	out := &outgoing{x: x, req: req}
	if err := out.prepare(); err != nil {
		return nil, err
	}
	c, err := u.dial(ctx, spec)
	if err != nil {
		return nil, err
	}
	x.socket.up = c
	x.c.own(c.below, upstreamSide)
	// The last look before a byte is written, as with other requests.
	if err := x.dialled(c.to); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.below.Close() })
	defer stop()
	if _, err := c.Write(out.text.Bytes()); err != nil {
		return nil, err
	}
	for range maxInterim {
		head, err := readResponse(c.in)
		switch {
		case err != nil:
			return nil, err
		case head.interim():
			continue
		case !stop():
			return nil, ctx.Err()
		case head.status != http.StatusSwitchingProtocols:
			req.Close = true // no request follows on it
			return c.response(out, head, nil, func() bool { return true }), nil
		}
		if x.socket.answer, err = websocket.ParseAnswer(head.header, key, x.socket.offer); err != nil {
			return nil, &upstreamError{"the server's handshake is not that of a WebSocket: " + err.Error()}
		}
		x.socket.opened = true
		return &http.Response{StatusCode: head.status, Header: head.header, Body: http.NoBody}, nil
	}
	return nil, &upstreamError{"the server sends too many interim responses"}
}

// opened reports whether the server agreed to a WebSocket.
func (x *exchange) opened() bool { return x.socket != nil && x.socket.opened }

// closeSocket ends the connection to the upstream.
func (x *exchange) closeSocket() {
	if up := x.socket.up; up != nil {
		x.c.disown(up.below)
		_ = up.Close()
	}
}

var errEarly = errors.New("bytes behind a request for another protocol")

// early reports whether the agent sent bytes that it should have sent after an
// answer: they mean one thing after a yes, and another one after a no.
func (x *exchange) early() bool {
	w, ok := x.w.(*answer) // of others, no WebSocket is opened this way
	return ok && len(w.r.in.ahead()) > 0
}

// accept answers the agent's handshake and takes its connection over. The head
// of the server's answer goes along, but for what is of the handshake.
func (x *exchange) accept(resp *http.Response, mask *secret.Mask) (net.Conn, error) {
	w, ok := x.w.(*answer)
	if !ok {
		return nil, http.ErrNotSupported
	}
	if w.r.settle(); x.early() {
		return nil, errEarly
	}
	h := w.Header()
	clear(h)
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "Sec-Websocket-") || ofOneHop(name, resp.Header["Connection"]) || mask.Holds(name) {
			continue
		}
		for _, v := range values {
			h[name] = append(h[name], mask.String(v))
		}
	}
	h["Upgrade"], h["Connection"] = []string{"websocket"}, []string{"Upgrade"}
	h["Sec-WebSocket-Accept"] = []string{websocket.Accept(x.r.Header.Get("Sec-WebSocket-Key"))}
	if p := x.socket.answer.Protocol; p != "" {
		h["Sec-WebSocket-Protocol"] = []string{p}
	}
	if ext := x.agentDeflate().String(); ext != "" {
		h["Sec-WebSocket-Extensions"] = []string{ext}
	}
	_ = w.SetWriteDeadline(time.Now().Add(headTimeout))
	w.WriteHeader(http.StatusSwitchingProtocols)
	_, _, err := w.Hijack()
	return w.r.nc, err
}

// ofOneHop reports whether a field of an answer is not passed on.
func ofOneHop(name string, connection []string) bool {
	switch name {
	case "Connection", "Upgrade", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Content-Length", "Alt-Svc":
		return true
	}
	return slices.ContainsFunc(connection, func(v string) bool {
		return slices.ContainsFunc(strings.Split(v, ","), func(t string) bool { return strings.EqualFold(strings.TrimSpace(t), name) })
	})
}

// agentDeflate is what is agreed with the agent: compression if the server
// agreed to it, with the parameters of the offer.
func (x *exchange) agentDeflate() websocket.Deflate {
	if !x.socket.answer.Deflate.On {
		return websocket.Deflate{}
	}
	return x.socket.offer.Deflate
}
