package netname

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const (
	// RFC 1035 §2.3.4, in the text form without the root dot.
	maxNameLength  = 253
	maxLabelLength = 63
)

// Host is a canonical DNS name (lower case ASCII, no trailing dot) or an IP
// address. The zero Host is invalid and equals no parsed Host.
type Host struct {
	name string
	addr netip.Addr
}

// ParseHost takes the text of a name or of an address (IPv6 without brackets).
// One trailing dot of a name is folded away: what is matched, shown and
// resolved afterwards is the folded name. Forms that resolvers and URL parsers
// read in different ways (numbers as IPv4 addresses, zones, brackets) are
// errors, never guesses.
func ParseHost(s string) (Host, error) {
	if strings.HasPrefix(s, "[") {
		return Host{}, fmt.Errorf("parse host %q: brackets belong to an authority, not to a host", clip(s))
	}
	if strings.IndexByte(s, ':') >= 0 {
		a, err := parseAddr(s)
		if err != nil {
			return Host{}, fmt.Errorf("parse host %q: %w", clip(s), err)
		}
		return Host{addr: a}, nil
	}
	folded := s
	if n := len(s); n > 1 && s[n-1] == '.' {
		folded = s[:n-1]
	}
	name, err := parseName(folded)
	if err == nil && endsInNumber(name) {
		// WHATWG URL §3.5 "ends in a number": such a name is an address to some
		// parsers, so it must be exactly four decimal octets.
		if folded != s {
			return Host{}, fmt.Errorf("parse host %q: an address has no trailing dot", clip(s))
		}
		a, aerr := netip.ParseAddr(name)
		if aerr == nil {
			return Host{addr: a}, nil
		}
		err = errors.New("numeric forms of an IPv4 address are ambiguous, write four decimal numbers without leading zeros")
	}
	if err != nil {
		return Host{}, fmt.Errorf("parse host %q: %w", clip(s), err)
	}
	return Host{name: name}, nil
}

// HostFromAddr is the Host that stands for an address.
func HostFromAddr(a netip.Addr) Host { return Host{addr: a.WithZone("").Unmap()} }

func (h Host) IsZero() bool     { return h == Host{} }
func (h Host) IsAddr() bool     { return h.addr.IsValid() }
func (h Host) Addr() netip.Addr { return h.addr }
func (h Host) String() string {
	if h.IsAddr() {
		return h.addr.String()
	}
	return h.name
}

// parseAddr reads an address in strict text form; IPv4 in IPv6 is unmapped.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, errors.New("not a host name or an IP address (a port or a URL is not part of a host)")
	case a.Zone() != "":
		return netip.Addr{}, errors.New("an address with a zone is not a destination")
	}
	return a.Unmap(), nil
}

// parseName checks a name without trailing dot and lower-cases it. Labels are
// letters, digits and hyphens (RFC 1123 §2.1) and the underscore that real
// service names use.
func parseName(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("empty name")
	case len(s) > maxNameLength:
		return "", fmt.Errorf("name is longer than %d characters", maxNameLength)
	}
	upper := false
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if !isLabelByte(s[i]) {
				return "", badByte(s[i])
			}
			upper = upper || (s[i] >= 'A' && s[i] <= 'Z')
			continue
		}
		if err := checkLabel(s[start:i]); err != nil {
			return "", err
		}
		start = i + 1
	}
	if upper {
		s = strings.ToLower(s)
	}
	return s, nil
}

func checkLabel(l string) error {
	switch {
	case l == "":
		return errors.New("empty label")
	case len(l) > maxLabelLength:
		return fmt.Errorf("label is longer than %d characters", maxLabelLength)
	case l[0] == '-' || l[len(l)-1] == '-':
		return errors.New("label begins or ends with a hyphen")
	}
	return nil
}

func isLabelByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func badByte(c byte) error {
	switch {
	case c >= 0x80:
		return errors.New("not ASCII: write an international name in its xn-- form")
	case c == '/':
		return errors.New("a URL, path or network is not a host")
	case c == '@':
		return errors.New("user information is not part of a host")
	case c == ' ' || c < 0x20 || c == 0x7f:
		return errors.New("space or control character in name")
	case c == '{' || c == '}':
		return errors.New("braces are not supported in hosts, write one entry per host")
	case c == '?' || c == '[' || c == ']':
		return errors.New("only * and ** are wildcards in hosts")
	}
	return fmt.Errorf("character %q is not allowed in a host", c)
}

// endsInNumber reports whether the last label is decimal or 0x-hexadecimal.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if len(last) >= 2 && last[0] == '0' && last[1] == 'x' {
		return strings.Trim(last[2:], "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// clip bounds foreign text in an error message.
func clip(s string) string {
	if len(s) > maxNameLength {
		return s[:maxNameLength] + "…"
	}
	return s
}
