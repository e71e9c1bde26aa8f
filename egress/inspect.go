package egress

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// serve judges a connection whose facts are known and lets it go on.
func (c *conn) serve() {
	d, m := c.judge()
	if m == modeDenied {
		c.refuse(&denial{status: http.StatusForbidden, code: c.codeOfDenial(), layer: layerConnection, reason: d.Reason, rule: d.Rule})
		return
	}
	c.meter()
	if c.recordDecision(d.Decision, m == modeInspect) != nil {
		c.explain(auditDenial)
		return
	}
	defer c.recordClose()
	if m == modeRelay {
		if !c.passUnseen("tls: skip passes the connection through") {
			c.explain(auditDenial)
			return
		}
		c.relay(d)
		return
	}
	c.inspect()
}

// drop refuses a connection that nothing can be said to.
func (c *conn) drop(reason string) {
	ev := c.event(audit.Connect)
	ev.Verdict, ev.Reason = policy.Deny.String(), reason
	_ = c.s.record(ev)
	c.reset()
}

func (c *conn) reset() {
	abort(c.client)
	_ = c.client.Close()
}

// refuse records a denial and tells the client in the way that it understands.
// Nothing goes to the upstream.
func (c *conn) refuse(d *denial) {
	if d.code == codeUpstream {
		c.unreached(d.reason) // a failure, not a verdict: it stands in the closing event
	} else if c.recordDenial(d, "tcp") != nil {
		d = auditDenial
	} else {
		c.end("refused")
	}
	c.explain(d)
}

// explain gives a denial to a client that speaks HTTP, with or without TLS;
// others are reset.
func (c *conn) explain(d *denial) {
	c.mu.Lock()
	c.mode = modeDenied // Recheck has nothing to look at any more
	c.mu.Unlock()
	if c.waiting {
		c.waiting = false
		c.answerRaw(c.client, d)
		return
	}
	first := c.ahead
	if len(first) == 0 {
		first = make([]byte, 2048)
		_ = c.client.SetReadDeadline(time.Now().Add(denyTimeout))
		n, _ := c.client.Read(first)
		if first = first[:n]; n == 0 {
			c.reset()
			return
		}
	}
	c.denial = d
	if first[0] != recordHandshake {
		h2, first := speaksHTTP2(c.client, first)
		if h2 {
			c.http2(c.client, first, "http")
			return
		}
		if checkStart(first) != nil {
			c.reset()
			return
		}
		c.http(c.client, first, "http")
		return
	}
	_ = c.client.SetReadDeadline(time.Now().Add(helloTimeout))
	first, h, err := readHello(c.client, first)
	if err != nil {
		c.reset()
		return
	}
	name := c.facts.Host
	if h.hasSNI {
		name = h.sni // so that the client believes the answer, whatever it asked for
	}
	tc, err := c.handshake(first, name.String())
	if err != nil {
		c.reset()
		return
	}
	c.https(tc)
}

// establish answers a CONNECT that waits.
func (c *conn) establish() bool {
	if !c.waiting {
		return true
	}
	c.waiting = false
	_ = c.client.SetDeadline(time.Time{})
	_, err := c.client.Write([]byte("HTTP/1.1 200 Connection Established\r\n\r\n"))
	return err == nil
}

// inspect finds out what the client speaks and has its requests judged.
func (c *conn) inspect() {
	if !c.establish() {
		return
	}
	first := c.ahead
	if len(first) == 0 {
		first = make([]byte, 2048)
		_ = c.client.SetReadDeadline(time.Now().Add(firstByteTimeout))
		n, _ := c.client.Read(first)
		if first = first[:n]; n == 0 {
			c.end("the client sent nothing")
			return
		}
	}
	if first[0] != recordHandshake {
		h2, first := speaksHTTP2(c.client, first)
		if !h2 && checkStart(first) != nil && c.mayPassUnseen() {
			c.ahead = first
			c.relayUnseen()
			return
		}
		if c.facts.Port == tlsPort {
			c.ahead = first
			c.refuse(plaintext())
			return
		}
		if h2 {
			c.http2(c.client, first, "http")
			return
		}
		c.http(c.client, first, "http")
		return
	}
	_ = c.client.SetReadDeadline(time.Now().Add(helloTimeout))
	first, h, err := readHello(c.client, first)
	if err == nil {
		err = h.check(c.facts.Host, false)
	}
	if err != nil {
		c.refuseTLS(err)
		return
	}
	tc, err := c.handshake(first, c.facts.Host.String())
	if err != nil {
		c.end("TLS with the agent: " + err.Error())
		return
	}
	c.https(tc)
}

// plaintext refuses what is not TLS on tlsPort.
func plaintext() *denial {
	return &denial{status: http.StatusForbidden, code: codeProtocol, layer: layerTLS,
		reason: fmt.Sprintf("requests to port %d must be encrypted; use https", tlsPort)}
}

// refuseTLS ends a connection whose ClientHello is not taken.
func (c *conn) refuseTLS(err error) {
	d := &denial{status: http.StatusMisdirectedRequest, code: codeAuthority, layer: layerTLS, reason: err.Error()}
	_ = c.recordDenial(d, "tls")
	c.end("refused")
	// Alert: fatal, unrecognized_name (RFC 8446 §6.2).
	_ = c.client.SetWriteDeadline(time.Now().Add(lingerTimeout))
	_, _ = c.client.Write([]byte{0x15, 3, 3, 0, 2, 2, 112})
	lingeringClose(c.client)
}

// handshake terminates TLS with a leaf for the name.
func (c *conn) handshake(ahead []byte, name string) (*tls.Conn, error) {
	leaf, err := c.s.conf.CA.Leaf(name)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{
		Certificates: []tls.Certificate{*leaf},
		NextProtos:   []string{"h2", "http/1.1"},
		MinVersion:   tls.VersionTLS12,
		// Nobody records what passes between two processes of one machine to open it
		// in years: a key exchange against that would be half of a handshake's cost.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
	}
	c.s.tickets.use(conf, time.Now())
	tc := tls.Server(&prefixed{Conn: c.client, ahead: ahead}, conf)
	_ = c.client.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := tc.HandshakeContext(c.ctx); err != nil {
		return nil, err
	}
	_ = c.client.SetDeadline(time.Time{})
	return tc, nil
}

// https has the requests of a connection served in the protocol that was agreed on.
func (c *conn) https(tc *tls.Conn) {
	if tc.ConnectionState().NegotiatedProtocol == "h2" {
		c.http2(tc, nil, "https")
		return
	}
	c.http(tc, nil, "https")
}
