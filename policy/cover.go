package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/target"
)

// covers says why an endpoint of network policy n may allow what the endpoint
// ue of un does not, or "" if it surely allows no more. It compares what is
// written, not what it means: it may refuse what is no wider, never the other
// way round. What it does not know has to be equal. Limits are not compared:
// those above hold on.
func covers(un *Network, ue *Endpoint, n *Network, e *Endpoint) string {
	switch {
	case ue.Withdrawn:
		return "a layer above withdrew that rule"
	case !hostCovered(ue, e):
		return "host"
	case !subset(e.Ports, ue.Ports):
		return "port"
	case !addressesCovered(ue, e):
		return "allowed_ips"
	case e.TLS != ue.TLS && e.TLS != TLSAuto:
		return "tls"
	case ue.Protocol != L4 && ue.Protocol != TCP && e.Protocol != ue.Protocol:
		return "protocol"
	case !binariesCovered(un, n):
		return "binaries"
	case !notLater(un, n, ue, e):
		return "expires_at"
	case un.MaxUses > 0 && (n.Key != un.Key || n.MaxUses == 0 || n.MaxUses > un.MaxUses),
		ue.MaxUses > 0 && (ruleKey(n, e) != ruleKey(un, ue) || e.MaxUses == 0 || e.MaxUses > ue.MaxUses):
		return "max_uses"
	case e.Unmatched == Ask && ue.Unmatched != Ask:
		return "unmatched"
	case n.Ancestors && !un.Ancestors:
		return "ancestors"
	case e.InternalAddresses && !ue.InternalAddresses:
		return "internal_addresses"
	case e.Models && !ue.Models:
		return "models"
	case e.Enforcement != Enforce && (e.Enforcement != ue.Enforcement || e.Path != ue.Path):
		return "enforcement"
	}
	if !sameRest(ue, e) || !alikeValues(restOf(*un), restOf(*n)) {
		return "a field that can only be the same"
	}
	if ue.Protocol == L4 || ue.Protocol == TCP {
		return "" // whatever is judged in it is less than all of it
	}
	switch {
	case !selectorCovered(ue.Path, e.Path):
		return "path"
	case e.Path != ue.Path && (e.Protocol != REST || e.AllowEncodedSlash):
		// A selector that says more may take requests from a third endpoint.
		return "path"
	case e.AllowEncodedSlash && !ue.AllowEncodedSlash:
		return "allow_encoded_slash"
	}
	have, takes := append(preset(ue), ue.Allow...), ruleCovered
	if e.Protocol != REST {
		takes = sameRule
	}
	for _, r := range append(preset(e), e.Allow...) {
		if !slices.ContainsFunc(have, func(u RequestRule) bool { return takes(&u, &r) }) {
			return "rule " + ruleText(r)
		}
	}
	return ""
}

// sameRule: what a rule means beside method and path is its protocol's, so that
// it can only be the same.
func sameRule(a, b *RequestRule) bool {
	return alikeValues(*a, *b)
}

// sameRest compares what covers does not look at.
func sameRest(a, b *Endpoint) bool {
	rest := func(e Endpoint) Endpoint {
		known := Endpoint{Host: e.Host, Pattern: e.Pattern, Ports: e.Ports, Protocol: e.Protocol, Path: e.Path, TLS: e.TLS,
			TLSWritten: e.TLSWritten, Enforcement: e.Enforcement, Access: e.Access, Allow: e.Allow, Deny: e.Deny, AllowedIPs: e.AllowedIPs,
			AllowEncodedSlash: e.AllowEncodedSlash, Expires: e.Expires, MaxUses: e.MaxUses, Unmatched: e.Unmatched, Withdrawn: e.Withdrawn,
			InternalAddresses: e.InternalAddresses, Models: e.Models, Limits: e.Limits, At: e.At}
		return without(e, known)
	}
	return alikeValues(rest(*a), rest(*b))
}

// restOf is what covers does not look at in a network policy.
func restOf(n Network) Network {
	return without(n, Network{Key: n.Key, Name: n.Name, Endpoints: n.Endpoints, AnyBinary: n.AnyBinary, Binaries: n.Binaries,
		Ancestors: n.Ancestors, Limits: n.Limits, Expires: n.Expires, MaxUses: n.MaxUses, At: n.At})
}

// without gives v with every field zero that is not zero in known.
func without[T any](v, known T) T {
	at, k := reflect.ValueOf(&v).Elem(), reflect.ValueOf(known)
	for i := range k.NumField() {
		if at.Field(i).CanSet() && !k.Field(i).IsZero() {
			at.Field(i).SetZero()
		}
	}
	return v
}

func hostCovered(ue, e *Endpoint) bool {
	switch {
	case ue.Host == "":
		return true // the addresses are compared
	case e.Host == "":
		return false
	case e.Pattern.Literal() && ue.Pattern.Literal():
		return e.Pattern.Host() == ue.Pattern.Host()
	case e.Pattern.Literal():
		return ue.Pattern.Match(e.Pattern.Host())
	case ue.Pattern.Literal():
		return false
	}
	low, up := e.Pattern.String(), ue.Pattern.String()
	if low == up {
		return true
	}
	suffix, deep := strings.CutPrefix(up, "**")
	return deep && !strings.Contains(suffix, "*") && strings.HasSuffix(low, suffix) && len(low) > len(suffix)
}

func addressesCovered(ue, e *Endpoint) bool {
	if ue.AllowedIPs == nil {
		return e.AllowedIPs == nil
	}
	if e.AllowedIPs == nil {
		return false
	}
	return !slices.ContainsFunc(e.AllowedIPs, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(ue.AllowedIPs, func(u netip.Prefix) bool { return u.Bits() <= p.Bits() && u.Contains(p.Addr()) })
	})
}

func binariesCovered(un, n *Network) bool {
	if un.AnyBinary {
		return true
	}
	return !n.AnyBinary && !slices.ContainsFunc(n.Binaries, func(b Binary) bool {
		return !slices.ContainsFunc(un.Binaries, func(u Binary) bool {
			return (u.SHA256 == "" || u.SHA256 == b.SHA256) && binaryCovered(u.Path, b.Path)
		})
	})
}

// binaryCovered: a path without a star is compared as it is, and stands also
// for what it leads to; so a glob covers only globs.
func binaryCovered(up, low string) bool {
	return up == low || strings.Contains(up, "*") && strings.Contains(low, "*") && globCovered(up, low)
}

func notLater(un, n *Network, ue, e *Endpoint) bool {
	up, low := newLapse(un, ue), newLapse(n, e)
	switch {
	case up == nil || up.expires.IsZero():
		return true
	case low == nil || low.expires.IsZero():
		return false
	}
	return !low.expires.After(up.expires)
}

func selectorCovered(up, low string) bool {
	if up == "" || up == "**" || up == low {
		return true
	}
	if low == "" || low == "**" {
		return false
	}
	if literalText(low) {
		s, err := target.ParseSelector(up)
		return err == nil && s.Match(low)
	}
	return globCovered(up, low)
}

// ruleCovered is for rules of protocol rest.
func ruleCovered(up, low *RequestRule) bool {
	if !alikeValues(without(*up, RequestRule{Method: up.Method, Path: up.Path, Query: up.Query, At: up.At}),
		without(*low, RequestRule{Method: low.Method, Path: low.Path, Query: low.Query, At: low.At})) {
		return false
	}
	if low.Method == "" || low.Path == "" {
		return true // it allows nothing
	}
	if up.Method != "*" && !strings.EqualFold(up.Method, low.Method) && !(up.Method == "GET" && low.Method == "HEAD") {
		return false
	}
	for _, q := range up.Query {
		if !slices.ContainsFunc(low.Query, func(l QueryRule) bool { return l.Key == q.Key && subset(l.Any, q.Any) }) {
			return false
		}
	}
	return globCovered(up.Path, low.Path)
}

// globCovered: every path that low matches, up matches as well.
func globCovered(up, low string) bool {
	if up == "**" || up == "/**" || up == low { // every path begins with "/"
		return true
	}
	if literalText(low) {
		g, err := glob.Compile(up, '/')
		return err == nil && g.Match(low)
	}
	// "/a/**" takes whatever begins with "/a/".
	below, deep := strings.CutSuffix(up, "**")
	return deep && strings.HasSuffix(below, "/") && literalText(below) && strings.HasPrefix(low, below)
}

func literalText(s string) bool { return s != "" && !strings.ContainsAny(s, `*?[]{}\`) }

func subset[T comparable](small, large []T) bool {
	for _, v := range small {
		if !slices.Contains(large, v) {
			return false
		}
	}
	return true
}

func endpointText(e *Endpoint) string {
	host := e.Host
	if host == "" {
		host = "any host"
	}
	return fmt.Sprintf("%s port %s", show(host), portList(e.Ports))
}
