package netname

import (
	"errors"
	"fmt"
	"strings"
)

// Pattern is a validated host pattern of a policy endpoint: an address, a
// name, or a name with wildcards. In the first label `*` stands for any run of
// characters of that label, in a later label it must be the whole label, and
// `**` as the whole first label stands for one or more labels. A wildcard
// never matches an address. The zero Pattern matches nothing.
type Pattern struct {
	text    string
	literal Host // zero if there are wildcards
}

// ParsePattern checks the shape of an endpoint's host. It refuses what could
// never match or would cover nearly everything: URLs, ports, networks, spaces,
// braces, `?`, classes, international text, trailing dots, empty labels,
// wildcards in names of fewer than three labels, and patterns in which fewer
// than two labels have text of their own.
func ParsePattern(s string) (Pattern, error) {
	p, err := parsePattern(s)
	if err != nil {
		return Pattern{}, fmt.Errorf("parse host pattern %q: %w", clip(s), err)
	}
	return p, nil
}

func parsePattern(s string) (Pattern, error) {
	if strings.HasSuffix(s, ".") {
		return Pattern{}, errors.New("trailing dot: write the name without it")
	}
	if strings.IndexByte(s, '*') < 0 {
		h, err := ParseHost(s)
		if err != nil {
			if inner := errors.Unwrap(err); inner != nil {
				err = inner
			}
			return Pattern{}, err
		}
		return Pattern{text: h.String(), literal: h}, nil
	}
	text, err := checkWildcardName(s)
	if err != nil {
		return Pattern{}, err
	}
	labels, withText := 0, 0
	for rest, more := text, true; more; labels++ {
		var l string
		l, rest, more = strings.Cut(rest, ".")
		stars := strings.Count(l, "*")
		switch {
		case stars > 0 && labels > 0 && l != "*":
			if l == "**" {
				return Pattern{}, errors.New("** may only be the whole first label")
			}
			return Pattern{}, errors.New("in labels after the first, * must be the whole label")
		case strings.Contains(l, "**") && l != "**":
			return Pattern{}, errors.New("** must be a whole label")
		}
		if stars < len(l) {
			withText++
		}
	}
	switch {
	case labels < 3:
		return Pattern{}, errors.New("a wildcard needs at least three labels, as in *.example.com")
	case withText < 2:
		return Pattern{}, errors.New("covers nearly every name: at least two labels must have text of their own")
	}
	return Pattern{text: text}, nil
}

// checkWildcardName checks a name whose labels may hold stars.
func checkWildcardName(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("empty name")
	case len(s) > maxNameLength:
		return "", fmt.Errorf("name is longer than %d characters", maxNameLength)
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if s[i] == ':' {
				return "", errors.New("a port is not part of a host")
			}
			if s[i] != '*' && !isLabelByte(s[i]) {
				return "", badByte(s[i])
			}
			continue
		}
		if err := checkLabel(s[start:i]); err != nil {
			return "", err
		}
		start = i + 1
	}
	s = strings.ToLower(s)
	if endsInNumber(s) {
		return "", errors.New("wildcards do not apply to addresses, use allowed_ips")
	}
	return s, nil
}

// Match reports whether the pattern covers the host. It does not allocate.
func (p Pattern) Match(h Host) bool {
	if !p.literal.IsZero() {
		return h == p.literal
	}
	if p.text == "" || h.name == "" {
		return false
	}
	// From the right, so that ** can only be what is left at the end.
	pat, name := p.text, h.name
	for {
		pi, ni := strings.LastIndexByte(pat, '.'), strings.LastIndexByte(name, '.')
		if pi < 0 {
			if pat == "**" {
				return true
			}
			return ni < 0 && matchLabel(pat, name)
		}
		if ni < 0 {
			return false
		}
		if l := pat[pi+1:]; l != "*" && l != name[ni+1:] {
			return false
		}
		pat, name = pat[:pi], name[:ni]
	}
}

// String is the canonical text; as a glob with the separator "." it means the same.
func (p Pattern) String() string { return p.text }

// Literal reports whether the pattern stands for exactly one host.
func (p Pattern) Literal() bool { return !p.literal.IsZero() }

// Host is the host of a literal pattern, else the zero Host.
func (p Pattern) Host() Host { return p.literal }

// matchLabel matches one label against text with stars; both are at most 63
// bytes, so that the product is bounded.
func matchLabel(pat, s string) bool {
	pi, si, star, mark := 0, 0, -1, 0
	for si < len(s) {
		switch {
		case pi < len(pat) && pat[pi] == '*':
			star, mark = pi, si
			pi++
		case pi < len(pat) && pat[pi] == s[si]:
			pi++
			si++
		case star >= 0:
			mark++
			pi, si = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pat[pi:], "*") == ""
}
