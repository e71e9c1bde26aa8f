package egress

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/target"
)

// transparent serves a connection that was redirected here.
func (s *Server) transparent(c *conn) {
	remote, ok := addrPort(c.client.RemoteAddr())
	dst, err := s.conf.OriginalDst(c.client)
	switch {
	case err != nil || !ok || !dst.IsValid() || dst.Port() == 0:
		c.drop("the connection has no original destination")
		return
	case s.own(dst):
		c.facts.Host, c.facts.Port = netname.HostFromAddr(dst.Addr()), dst.Port()
		c.drop("the connection goes straight to a listener of the sandbox")
		return
	}
	c.identify(remote, dst)
	if d := c.destination(authority{netname.HostFromAddr(dst.Addr()), dst.Port()}); d != nil {
		c.refuse(d)
		return
	}
	c.serve()
}

// destination sets where the connection goes; a synthetic address stands for a name.
func (c *conn) destination(a authority) *denial {
	c.facts.Host, c.facts.Port = a.host, a.port
	if !a.host.IsAddr() || !netname.Synthetic(a.host.Addr()) {
		return nil
	}
	name, release, ok := c.s.conf.Names.Lookup(a.host.Addr())
	if !ok || name.IsZero() {
		return &denial{status: http.StatusForbidden, code: codeAddress, layer: layerAddress,
			reason: "the address stands for a name inside the sandbox, and for none that is known; resolve the name again"}
	}
	c.facts.Host, c.release = name, release
	return nil
}

// identify asks who opened the connection.
func (c *conn) identify(client, original netip.AddrPort) {
	who := c.s.conf.Callers.Lookup(client, original)
	c.who = who
	if who.Known { // the policy sees nothing else
		c.facts.KnownCaller, c.facts.Binary, c.facts.Ancestors, c.facts.SHA256 = true, who.Binary, who.Ancestors, who.SHA256
	}
}

// proxy serves a client of the proxy listener.
func (s *Server) proxy(c *conn) {
	remote, ok := addrPort(c.client.RemoteAddr())
	local, ok2 := addrPort(c.client.LocalAddr())
	if !ok || !ok2 {
		c.drop("the connection has no addresses")
		return
	}
	c.identify(remote, local)
	_ = c.client.SetReadDeadline(time.Now().Add(headTimeout))
	raw, ahead, f := readHead(c.client)
	c.out.Add(int64(len(raw)))
	if raw == nil && f == nil {
		c.reset() // closed without a word: nothing was asked for
		return
	}
	c.waiting = true
	refuse := func(f *httpFault) {
		c.refuse(&denial{status: f.status, code: codeRequest, layer: layerHTTP, reason: f.reason})
	}
	if f != nil {
		refuse(f)
		return
	}
	h, f := parseHead(raw)
	if f != nil {
		refuse(f)
		return
	}
	if h.verb() == http.MethodConnect {
		s.connect(c, h, ahead)
		return
	}
	c.via = audit.ProxyForward
	s.forward(c, h, append(raw, ahead...))
}

// connect serves a tunnel: behind the answer it is a connection like any other.
func (s *Server) connect(c *conn, h *head, ahead []byte) {
	refuse := func(status int, code, reason string) {
		c.refuse(&denial{status: status, code: code, layer: layerHTTP, reason: reason, method: h.verb()})
	}
	a, err := parseAuthority(h.target, 0)
	switch {
	case err != nil:
		refuse(http.StatusBadRequest, codeRequest, "the target of CONNECT is not host:port")
		return
	case h.hasBody() || h.upgrade != "":
		refuse(http.StatusBadRequest, codeRequest, "a CONNECT with a body or an upgrade")
		return
	}
	if h.hasHost {
		if b, err := parseAuthority(h.host, a.port); err != nil || b != a {
			refuse(http.StatusMisdirectedRequest, codeAuthority, "the Host field names another authority than the target of CONNECT")
			return
		}
	}
	if a.host.IsAddr() && s.own(netip.AddrPortFrom(a.host.Addr(), a.port)) {
		refuse(http.StatusForbidden, codeAddress, "the tunnel leads back to a listener of the sandbox")
		return
	}
	c.ahead = ahead
	if d := c.destination(a); d != nil {
		c.refuse(d)
		return
	}
	c.serve()
}

// forward serves one absolute-form request.
func (s *Server) forward(c *conn, h *head, all []byte) {
	refuse := func(status int, code, reason string) {
		c.refuse(&denial{status: status, code: code, layer: layerHTTP, reason: reason, method: h.verb()})
	}
	scheme, auth, origin, ok := parseAbsolute(h.target)
	switch {
	case !ok:
		refuse(http.StatusBadRequest, codeRequest, "this is a proxy: the request target must be an http:// URL, or use CONNECT")
		return
	case scheme == "https":
		refuse(http.StatusBadRequest, codeRequest, "use CONNECT for https URLs")
		return
	case scheme != "http":
		refuse(http.StatusBadRequest, codeRequest, "the proxy takes http URLs and CONNECT only")
		return
	}
	a, err := parseAuthority(auth, defaultPort(scheme))
	if err != nil {
		refuse(http.StatusBadRequest, codeRequest, "the URL names no valid host")
		return
	}
	if d := c.destination(a); d != nil {
		c.refuse(d)
		return
	}
	d, m := c.judge()
	if m == modeDenied {
		den := &denial{status: http.StatusForbidden, code: c.codeOfDenial(), layer: layerConnection, reason: d.Reason, rule: d.Rule, method: h.verb()}
		if t, err := target.Parse(pathOnly(origin), true); err == nil {
			den.path = t.Path
		}
		c.refuse(den)
		return
	}
	if a.port == tlsPort {
		den := plaintext()
		den.method = h.verb()
		c.refuse(den)
		return
	}
	if c.recordDecision(d.Decision, m == modeInspect) != nil {
		c.explain(auditDenial)
		return
	}
	defer c.recordClose()
	c.waiting = false
	c.meter()
	c.out.Store(0) // http counts the head again
	c.http(c.client, all, scheme)
}

// readHead reads up to the end of a request head; ahead is what came behind
// it. All nil: the client closed without sending anything.
func readHead(nc net.Conn) (raw, ahead []byte, f *httpFault) {
	buf := make([]byte, 0, 2048)
	for {
		if i := bytes.Index(buf, []byte("\r\n\r\n")); i >= 0 && i+4 <= maxHead {
			return buf[: i+4 : i+4], buf[i+4:], nil
		}
		if len(buf) >= maxHead {
			return nil, nil, &httpFault{http.StatusRequestHeaderFieldsTooLarge, "the request head is too long"}
		}
		if f := checkStart(buf); f != nil {
			return nil, nil, f
		}
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*cap(buf), maxHead))
			copy(grown, buf)
			buf = grown
		}
		n, err := nc.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case n > 0:
		case err != nil && len(buf) == 0:
			return nil, nil, nil
		case err != nil:
			return nil, nil, bad("the request head is incomplete")
		}
	}
}
