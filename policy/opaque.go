package policy

import "time"

// opaqueBytesOut is what may go out through an endpoint with tls: skip whose policy
// does not say how much: enough for clients that pin certificates and send messages,
// telemetry and requests, too little for a tree of sources or a database.
// limits.bytes_out on the endpoint, its network policy or the document says otherwise.
// Version 1 has no bounds, and keeps its meaning.
var opaqueBytesOut = Quantity{Count: 64 << 20, Per: 24 * time.Hour}

// opaqueLimits are the limits of an endpoint; those of one that nobody looks into
// have a bound on what goes out.
func (c *compiler) opaqueLimits(spec *Endpoint, n *network) *Limits {
	doc := &Document{Version: c.version, Limits: c.limits}
	q, ok := doc.OpaqueBytesOut(n.spec, spec)
	if !ok {
		return spec.Limits
	}
	l := Limits{At: spec.At}
	if spec.Limits != nil {
		l = *spec.Limits
	}
	l.BytesOut = q
	return &l
}

// OpaqueBytesOut is what may go out through an endpoint that nobody looks into,
// where no limits of the endpoint, its network policy or the document say how much.
func (d *Document) OpaqueBytesOut(n *Network, e *Endpoint) (Quantity, bool) {
	said := func(l *Limits) bool { return l != nil && l.BytesOut.Count > 0 }
	if d.Version < 2 || e.TLS != TLSSkip || said(e.Limits) || said(n.Limits) || said(d.Limits) {
		return Quantity{}, false
	}
	return opaqueBytesOut, true
}
