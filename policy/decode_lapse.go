package policy

import (
	"fmt"
	"strings"
	"time"
)

// maxUses bounds what is a count and not a way to write "always".
const maxUses = 1 << 30

// expires decodes expires_at of a network policy or endpoint.
func (d *decoder) expires(s section) time.Time {
	const want = "a time like 2026-12-31T18:00:00Z"
	v, ok := s.get("expires_at")
	if !ok {
		return time.Time{}
	}
	text, ok := d.text(v, want)
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.IsZero() {
		hint := "date, T, time, and Z or a difference from UTC such as +02:00 (RFC 3339)"
		if _, err := time.Parse(time.DateOnly, text); err == nil {
			hint = "a day has no one end: write " + text + "T23:59:59Z"
		} else if _, err := time.Parse(time.RFC3339, strings.Replace(strings.ToUpper(text), " ", "T", 1)+"Z"); err == nil {
			hint = "write Z (UTC) or a difference such as +02:00 behind the time, and T before it"
		}
		d.fault(v, BadValue, show(text), want, hint)
		return time.Time{}
	}
	return t
}

// maxUses decodes max_uses of a network policy or endpoint; 0: not counted.
func (d *decoder) maxUses(s section) int64 {
	v, ok := s.get("max_uses")
	if !ok {
		return 0
	}
	n, _ := d.number(v, 1, maxUses, fmt.Sprintf("a number of uses of 1..%d", maxUses))
	return int64(n)
}

// unmatchedWord decodes unmatched; what is above it is the default.
func (d *decoder) unmatchedWord(s section, above Verdict) Verdict {
	const want = "deny or ask"
	v, ok := s.get("unmatched")
	if !ok {
		return above
	}
	text, ok := d.text(v, want)
	switch {
	case !ok:
	case text == "ask":
		return Ask
	case text != "deny":
		hint := didYouMean(text, "deny", "ask")
		if text == "allow" || text == "audit" {
			hint = "what no rule names is never let through; enforcement: audit on an endpoint forwards requests there"
		}
		d.fault(v, BadValue, show(text), want, hint)
	}
	return Deny
}

// unmatchedWays settles what enforcement an endpoint has, and refuses two words
// that say different things about the same requests.
func (d *decoder) unmatchedWays(s section, e *Endpoint) {
	own, hasOwn := s.get("unmatched")
	word, written := s.get("enforcement")
	switch {
	case written && word.n.Value != "" && hasOwn && (e.Enforcement == AskFirst) != (e.Unmatched == Ask):
		d.fault(own, Conflict, "unmatched: "+e.Unmatched.String()+" with enforcement: "+e.Enforcement.String(), "",
			"remove unmatched: on an endpoint enforcement says the same about its requests")
	case !written && e.Unmatched == Ask:
		e.Enforcement = AskFirst
	}
}
