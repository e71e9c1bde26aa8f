package analyse

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// Witness is one concrete connection or request.
type Witness struct {
	Traffic   Traffic  `json:"traffic"`
	Host      string   `json:"host"`
	Port      uint16   `json:"port"`
	Known     bool     `json:"known_caller"`
	Binary    string   `json:"binary,omitempty"`
	Ancestors []string `json:"ancestors,omitempty"`
	SHA256    string   `json:"sha256,omitempty"`
	Method    string   `json:"method,omitempty"`
	Path      string   `json:"path,omitempty"`    // with its query, as it goes over the wire
	Address   string   `json:"address,omitempty"` // that the host resolves to, where that matters
}

// String is the witness on one line.
func (w Witness) String() string {
	who := "a program that is not known"
	if w.Known {
		who = w.Binary
		if w.SHA256 != "" {
			who += " (sha256 " + w.SHA256[:min(12, len(w.SHA256))] + "…)"
		}
		for _, a := range w.Ancestors {
			who += ", started by " + a
		}
	}
	what := ""
	switch w.Traffic {
	case HTTP:
		what = " " + w.Method + " " + w.Path
	case Bytes:
		what = " any bytes"
	case Opaque:
		what = " TLS with any server name"
	}
	if w.Address != "" {
		what += " at address " + w.Address
	}
	host := w.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s → %s:%d%s", who, host, w.Port, what)
}

// connection is the witness as the engine takes it.
func (w Witness) connection() (policy.Connection, error) {
	h, err := netname.ParseHost(w.Host)
	if err != nil {
		return policy.Connection{}, err
	}
	return policy.Connection{Host: h, Port: w.Port, Binary: w.Binary, Ancestors: w.Ancestors, KnownCaller: w.Known, SHA256: w.SHA256}, nil
}

// Judge asks an engine about a witness, as the egress would.
func Judge(e *policy.Engine, w Witness) (Grant, error) {
	c, err := w.connection()
	if err != nil {
		return Denied, err
	}
	d := e.Connect(c)
	if d.Verdict != policy.Allow {
		return Denied, nil
	}
	if w.Address != "" {
		addr, err := netip.ParseAddr(w.Address)
		if err != nil {
			return Denied, err
		}
		if d.Destination.Check(c.Host, c.Port, []netip.Addr{addr}) != nil {
			return Denied, nil
		}
	}
	switch {
	case w.Traffic == Bytes && d.Inspect, w.Traffic == Opaque && (d.Inspect || !d.SkipTLS):
		return Denied, nil
	case w.Traffic != HTTP || !d.Inspect:
		return Allowed, nil
	}
	t, err := target.Parse(w.Path, d.AllowEncodedSlash)
	if err != nil {
		return Denied, nil // the egress refuses it
	}
	r := e.Request(policy.Request{Connection: c, Method: w.Method, Target: t})
	switch {
	case r.Verdict != policy.Allow:
		return Denied, nil
	case r.Audited:
		return Audited, nil
	}
	return Allowed, nil
}

// witness makes an example of a place, a caller and, with one, a request.
func (c *cell) witness(at place, who *caller, t Traffic, q *request) Witness {
	w := Witness{Traffic: t, Host: at.host.witness.String(), Port: at.ports[0], Known: who.known}
	if w.Port == anyPort {
		w.Port = freePort(at)
	}
	if who.known {
		w.Binary = c.who.classes.List[who.program].Witness
		w.SHA256 = who.sha256
		for _, a := range who.ancestors {
			w.Ancestors = append(w.Ancestors, c.who.classes.List[a].Witness)
		}
	}
	if q == nil {
		return w
	}
	w.Method = c.requests.methods[q.method].example(c.requests.methods)
	w.Path = c.requests.classes.List[q.path].Witness
	var pairs []string
	for i, v := range c.requests.byPlace[[2]int{q.path, q.method}].keys {
		for _, value := range q.query[i].example {
			pairs = append(pairs, url.QueryEscape(v.key)+"="+url.QueryEscape(value))
		}
	}
	if len(pairs) > 0 {
		w.Path += "?" + strings.Join(pairs, "&")
	}
	return w
}

// freePort is a port that no endpoint of the host names.
func freePort(at place) uint16 {
	for p := uint16(9999); p > 0; p-- {
		if !slices.ContainsFunc(at.host.endpoints, func(ep *endpoint) bool { return slices.Contains(ep.ports, p) }) {
			return p
		}
	}
	return 1
}
