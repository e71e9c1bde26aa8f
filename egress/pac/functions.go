package pac

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// function is one that a script may call. What it is not given, or is given in a
// wrong type, is as if it did not hold: false, or null.
type function func(args []any) any

// functions are those of the format, by name.
func (w world) functions() map[string]function {
	return map[string]function{
		"isPlainHostName":     texts(func(host string) any { return !strings.ContainsAny(host, ".:") }),
		"dnsDomainIs":         twoTexts(func(host, domain string) bool { return strings.HasSuffix(host, domain) }),
		"localHostOrDomainIs": twoTexts(func(host, full string) bool { return host == full || strings.HasPrefix(full, host+".") }),
		"shExpMatch":          twoTexts(shellMatch),
		"dnsDomainLevels":     texts(func(host string) any { return strings.Count(host, ".") }),

		"dnsResolve":   texts(func(host string) any { return orNull(firstV4(w.addresses(host))) }),
		"isResolvable": texts(func(host string) any { return firstV4(w.addresses(host)).IsValid() }),
		"isInNet":      w.isInNet,
		"convert_addr": texts(func(addr string) any { return float64(v4Number(parseV4(addr))) }),
		"myIpAddress":  func([]any) any { return w.mine() },

		"weekdayRange": w.weekdayRange,
		"dateRange":    w.dateRange,
		"timeRange":    w.timeRange,

		"dnsResolveEx":      texts(func(host string) any { return join(w.addresses(host)) }),
		"isResolvableEx":    texts(func(host string) any { return len(w.addresses(host)) > 0 }),
		"isInNetEx":         twoTexts(w.isInNetEx),
		"myIpAddressEx":     func([]any) any { return join(w.me) },
		"sortIpAddressList": texts(sortAddresses),
		"getClientVersion":  func([]any) any { return "1.0" },

		"alert": func([]any) any { return nil }, // nobody is there to read it
	}
}

// texts is a function of one text.
func texts(f func(string) any) function {
	return func(args []any) any {
		if s, ok := text(args, 0); ok {
			return f(s)
		}
		return false
	}
}

func twoTexts(f func(a, b string) bool) function {
	return func(args []any) any {
		a, ok := text(args, 0)
		b, ok2 := text(args, 1)
		return ok && ok2 && f(a, b)
	}
}

func text(args []any, i int) (string, bool) {
	if i >= len(args) {
		return "", false
	}
	s, ok := args[i].(string)
	return s, ok
}

// number reads one that is whole.
func number(arg any) (int, bool) {
	switch n := arg.(type) {
	case int:
		return n, true
	case float64:
		return int(n), n == float64(int(n)) // also false for what is no number
	}
	return 0, false
}

// shellMatch matches the whole text; * stands for any, ? for one character. It goes
// back to the last star alone, so that its time is the product of the lengths.
func shellMatch(s, pattern string) bool {
	star, from := -1, 0
	i, j := 0, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, from = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i, j = i+1, j+1
		case star >= 0:
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[j:], "*") == ""
}

// addresses gives those of a name or of an address.
func (w world) addresses(host string) []netip.Addr {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		return []netip.Addr{a}
	}
	return w.lookup(host)
}

func firstV4(addrs []netip.Addr) netip.Addr {
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

func orNull(a netip.Addr) any {
	if !a.IsValid() {
		return nil
	}
	return a.String()
}

// mine is this machine's IPv4 address, or the loopback's where it has none.
func (w world) mine() string {
	if a := firstV4(w.me); a.IsValid() {
		return a.String()
	}
	return "127.0.0.1"
}

// isInNet compares the bits of a mask, which need not be a prefix.
func (w world) isInNet(args []any) any {
	host, ok := text(args, 0)
	pattern, ok2 := text(args, 1)
	mask, ok3 := text(args, 2)
	if !ok || !ok2 || !ok3 {
		return false
	}
	p, m := parseV4(pattern), parseV4(mask)
	if !p.IsValid() || !m.IsValid() {
		return false
	}
	a := firstV4(w.addresses(host))
	return a.IsValid() && v4Number(a)&v4Number(m) == v4Number(p)&v4Number(m)
}

func parseV4(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return netip.Addr{}
	}
	return a
}

// v4Number is an address as a number, 0 for none.
func v4Number(a netip.Addr) uint32 {
	if !a.IsValid() {
		return 0
	}
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// isInNetEx takes a prefix of either family.
func (w world) isInNetEx(host, prefix string) bool {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(w.addresses(host), func(a netip.Addr) bool { return p.Contains(a.Unmap()) })
}

func join(addrs []netip.Addr) string {
	list := make([]string, len(addrs))
	for i, a := range addrs {
		list[i] = a.String()
	}
	return strings.Join(list, ";")
}

// sortAddresses puts IPv6 first; it gives false if one of them is none.
func sortAddresses(list string) any {
	var addrs []netip.Addr
	for s := range strings.SplitSeq(list, ";") {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			return false
		}
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, func(a, b netip.Addr) int {
		if a.Is4() != b.Is4() {
			if a.Is4() {
				return 1
			}
			return -1
		}
		return a.Compare(b)
	})
	return join(addrs)
}

// parseNumber reads what a script wrote as a number or as its text.
func parseNumber(arg any) (int, bool) {
	if s, ok := arg.(string); ok {
		n, err := strconv.Atoi(s)
		return n, err == nil
	}
	return number(arg)
}
