package naive

import (
	"net/netip"
	"strings"
)

// HostTaken reports whether the host of an endpoint takes the host of a
// connection. It may hold all that version 1's matching knows; what a policy
// may write is less.
func HostTaken(pattern, host string) bool {
	if !isHost(host) {
		return false
	}
	if !strings.Contains(pattern, "*") {
		if a, err := netip.ParseAddr(pattern); err == nil {
			b, err := netip.ParseAddr(host)
			return err == nil && a.Unmap() == b.Unmap()
		}
		return strings.EqualFold(pattern, host)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false // Creel: a wildcard covers names alone
	}
	return labelsTaken(pattern, host)
}

// SelectorTaken is the same for the host patterns of a middleware, which may
// stand for addresses.
func SelectorTaken(pattern, host string) bool {
	return isHost(host) && labelsTaken(pattern, host)
}

func labelsTaken(pattern, host string) bool {
	plain, err := alternatives(strings.ToLower(pattern))
	if err != nil {
		return false
	}
	for _, p := range plain {
		if labels(strings.Split(p, "."), strings.Split(strings.ToLower(host), ".")) {
			return true
		}
	}
	return false
}

// labels: ** as a label is one or more labels, any other is a glob for one.
func labels(pattern, host []string) bool {
	if len(pattern) == 0 || len(host) == 0 {
		return len(pattern) == len(host)
	}
	if pattern[0] == "**" {
		for n := 1; n <= len(host); n++ {
			if labels(pattern[1:], host[n:]) {
				return true
			}
		}
		return false
	}
	ok, err := Glob(pattern[0], host[0], '.')
	return ok && err == nil && labels(pattern[1:], host[1:])
}

// isHost: an address, or labels of letters, digits, "-" and "_".
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}
