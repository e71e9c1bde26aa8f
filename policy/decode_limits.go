package policy

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of limits: beyond them a number bounds nothing.
const (
	maxConnections = 1 << 20
	maxPer         = 366 * 24 * time.Hour
	maxTypes       = 64
)

// limits decodes the limits of a document, network policy or endpoint; nil
// without.
func (d *decoder) limits(s section) *Limits {
	v, ok := s.get("limits")
	if !ok {
		return nil
	}
	l := &Limits{At: d.at(v.n)}
	in, ok := d.section(v, "limits", limitWords)
	if !ok {
		return nil
	}
	if c, ok := in.get("connections"); ok {
		n, _ := d.number(c, 1, maxConnections, fmt.Sprintf("a number of connections at once of 1..%d", maxConnections))
		l.Connections = int64(n)
	}
	if r, ok := in.get("requests"); ok {
		l.Requests = d.rate(r)
	}
	if b, ok := in.get("bytes_out"); ok {
		l.BytesOut = d.volume(b)
	}
	if b, ok := in.get("bytes_in"); ok {
		l.BytesIn = d.volume(b)
	}
	if t, ok := in.get("response_types"); ok {
		l.ResponseTypes = d.responseTypes(t)
	}
	if len(in.fields) == 0 {
		d.fault(v, Missing, "", "at least one limit", "write limits: {connections: 10}, or remove it")
	}
	return l
}

// rate decodes {count: N, per: TIME}.
func (d *decoder) rate(v value) Quantity {
	const want = "a number of requests in a time, like {count: 60, per: 1m}"
	if v.n.Kind == yaml.ScalarNode && !isNull(v.n) {
		d.fault(v, WrongType, describe(v.n), want, "for a number without a time, write max_uses")
		return Quantity{}
	}
	s, ok := d.section(v, "a number in a time", rateWords)
	if !ok {
		return Quantity{}
	}
	var q Quantity
	if c, ok := s.get("count"); ok {
		n, _ := d.number(c, 1, maxUses, fmt.Sprintf("a number of requests of 1..%d", maxUses))
		q.Count = int64(n)
	} else {
		d.fault(value{v.n, v.path + ".count"}, Missing, "", want, "")
	}
	if p, ok := s.get("per"); ok {
		q.Per = d.duration(p)
	} else {
		d.fault(value{v.n, v.path + ".per"}, Missing, "", want, "for a number without a time, write max_uses")
	}
	return q
}

// volume decodes a size, or {size: SIZE, per: TIME}.
func (d *decoder) volume(v value) Quantity {
	const want = "a size like 10M, or one in a time like {size: 10M, per: 1h}"
	if v.n.Kind == yaml.ScalarNode && !isNull(v.n) {
		return Quantity{Count: d.size(v, want)}
	}
	s, ok := d.section(v, "a size in a time", volumeWords)
	if !ok {
		return Quantity{}
	}
	var q Quantity
	if c, ok := s.get("size"); ok {
		q.Count = d.size(c, want)
	} else {
		d.fault(value{v.n, v.path + ".size"}, Missing, "", want, "")
	}
	if p, ok := s.get("per"); ok {
		q.Per = d.duration(p)
	} else {
		d.fault(value{v.n, v.path + ".per"}, Missing, "", want, "for as long as the sandbox lives, write the size alone")
	}
	return q
}

func (d *decoder) size(v value, want string) int64 {
	if tag := v.n.ShortTag(); v.n.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!int" {
		d.fault(v, WrongType, describe(v.n), want, "")
		return 0
	}
	n, err := parseSize(v.n.Value, 1, "1 byte")
	if err != nil {
		d.fault(v, BadValue, show(v.n.Value), want, sizeHint(v.n.Value))
	}
	return n
}

// duration decodes a whole number of seconds, minutes, hours or days.
func (d *decoder) duration(v value) time.Duration {
	const want = "a time like 30s, 1m, 12h or 7d, of at most 366d"
	if v.n.Kind == yaml.ScalarNode && v.n.ShortTag() == "!!int" {
		d.fault(v, WrongType, describe(v.n), want, "write the unit behind the number")
		return 0
	}
	text, ok := d.text(v, want)
	if !ok {
		return 0
	}
	if d, ok := ParseDuration(text); ok {
		return d
	}
	hint := ""
	if weeks, ok := strings.CutSuffix(text, "w"); ok && decimal(weeks) {
		hint = "write weeks as days: 1w is 7d"
	}
	d.fault(v, BadValue, show(text), want, hint)
	return 0
}

func (d *decoder) responseTypes(v value) []string {
	const want = `a media type like application/json, or text/*`
	types := []string{} // not nil: nothing passes while the list has faults
	d.list(v, "media types", func(_ int, item value) {
		text, ok := d.text(item, want)
		if !ok {
			return
		}
		class, sub, slash := strings.Cut(strings.ToLower(text), "/")
		if !slash || !isToken(class) || class == "*" || !isToken(sub) {
			hint := ""
			if strings.Contains(text, ";") {
				hint = "write it without parameters"
			} else if text == "*/*" || text == "*" {
				hint = "leave response_types out for all of them"
			}
			d.fault(item, BadValue, show(text), want, hint)
			return
		}
		types = append(types, class+"/"+sub)
	})
	switch {
	case len(types) > maxTypes:
		d.fault(v, TooMuch, fmt.Sprintf("%d media types", len(types)), fmt.Sprintf("at most %d", maxTypes), "")
	case v.n.Kind == yaml.SequenceNode && len(v.n.Content) == 0 || isNull(v.n):
		d.fault(v, Missing, "", "at least one media type", "leave response_types out for all of them")
	}
	return types
}

// endpointLimits decodes the limits of an endpoint, and refuses those that
// nothing could count there.
func (d *decoder) endpointLimits(s section, e *Endpoint) {
	e.Limits = d.limits(s)
	v, ok := s.get("limits")
	if e.Limits == nil || !ok {
		return
	}
	judged := e.Protocol != L4 && e.Protocol != TCP
	for _, f := range []struct {
		key     string
		written bool
	}{{"requests", e.Limits.Requests.Count > 0}, {"response_types", e.Limits.ResponseTypes != nil}} {
		if f.written && !judged {
			d.fault(value{v.n, pathKey(v.path, f.key)}, Conflict, f.key+" on an endpoint whose requests are not judged", "", "write protocol: rest to judge requests, or bound connections and bytes")
		}
	}
	if e.Path == "" || e.Path == "**" {
		return
	}
	for _, f := range []struct {
		key     string
		written bool
	}{{"connections", e.Limits.Connections > 0}, {"bytes_out", e.Limits.BytesOut.Count > 0}, {"bytes_in", e.Limits.BytesIn.Count > 0}} {
		if f.written {
			d.fault(value{v.n, pathKey(v.path, f.key)}, Conflict, f.key+" on an endpoint with a path", "", "one connection carries requests for many paths: write the limit at the network policy")
		}
	}
}

// networkLimits is the same for a network policy, whose endpoints are decoded.
func (d *decoder) networkLimits(s section, n *Network) {
	n.Limits = d.limits(s)
	v, ok := s.get("limits")
	if n.Limits == nil || !ok || n.Limits.Requests.Count == 0 && n.Limits.ResponseTypes == nil {
		return
	}
	for _, e := range n.Endpoints {
		if e.Protocol == L4 || e.Protocol == TCP {
			d.warn(v, Weak, "requests and response_types count nothing at "+endpointText(&e)+", whose requests are not judged", "write protocol: rest there, or bound connections and bytes")
			return
		}
	}
}
