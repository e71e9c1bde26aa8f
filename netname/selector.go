package netname

import (
	"errors"
	"fmt"
	"strings"
)

// Selector chooses the hosts that a middleware is applied to. It is wider than
// a Pattern, because it grants nothing: `**` may be any label (one or more
// labels), `*` any part of a label, and both may stand alone. It also matches
// the text of addresses. The zero Selector matches nothing.
type Selector struct{ labels []string }

// ParseSelector checks the shape of a middleware's host pattern.
func ParseSelector(s string) (Selector, error) {
	var err error
	var text string
	if a, aerr := parseAddr(s); aerr == nil {
		text = a.String()
	} else if !strings.ContainsRune(s, '*') {
		text, err = parseName(s)
	} else if text, err = checkWildcardName(s); err == nil {
		for l := range strings.SplitSeq(text, ".") {
			if strings.Contains(l, "**") && l != "**" {
				err = errors.New("** must be a whole label")
			}
		}
	}
	if err != nil {
		return Selector{}, fmt.Errorf("parse host selector %q: %w", clip(s), err)
	}
	return Selector{labels: strings.Split(text, ".")}, nil
}

// Match reports whether the selector covers a canonical host.
func (s Selector) Match(h Host) bool { return s.MatchText(h.String()) }

// MatchText is Match for a name that was not parsed: one with an empty label,
// a trailing dot included, is never matched.
func (s Selector) MatchText(name string) bool {
	if name == "" || len(s.labels) == 0 || len(name) > maxNameLength {
		return false
	}
	labels := strings.Split(strings.ToLower(name), ".")
	for _, l := range labels {
		if l == "" {
			return false
		}
	}
	// The star algorithm on labels: only the last ** has to be retried, because
	// every label between two of them takes exactly one label.
	pi, ni, star, mark := 0, 0, -1, 0
	for ni < len(labels) {
		switch {
		case pi < len(s.labels) && s.labels[pi] == "**":
			star, mark = pi, ni+1 // at least one label
			pi++
			ni++
		case pi < len(s.labels) && matchLabel(s.labels[pi], labels[ni]):
			pi++
			ni++
		case star >= 0 && mark < len(labels):
			mark++
			pi, ni = star+1, mark
		default:
			return false
		}
	}
	return pi == len(s.labels)
}

func (s Selector) String() string { return strings.Join(s.labels, ".") }
