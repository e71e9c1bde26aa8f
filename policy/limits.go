package policy

import (
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits bound what rules let through, whichever of them allows it. Zero
// members bound nothing.
type Limits struct {
	Connections   int64    // at once
	Requests      Quantity // that are judged
	BytesOut      Quantity // from the agent, as they pass, with TLS and heads
	BytesIn       Quantity // to the agent
	ResponseTypes []string // media types, lower case, "type/subtype" or "type/*"; nil: all
	At            Position
}

// Quantity is a number of requests or bytes; Per 0: as long as the sandbox lives.
// A time begins with the first use and starts anew when it is over.
type Quantity struct {
	Count int64
	Per   time.Duration
}

func (q Quantity) String() string {
	if q.Per == 0 {
		return fmt.Sprint(q.Count)
	}
	return fmt.Sprintf("%d in %s", q.Count, DurationText(q.Per))
}

// bytes is String for a quantity of bytes.
func (q Quantity) bytes() string {
	if q.Per == 0 {
		return SizeText(q.Count)
	}
	return SizeText(q.Count) + " in " + DurationText(q.Per)
}

// DurationText writes whole days, hours, minutes or seconds as policies do.
func DurationText(d time.Duration) string {
	for _, u := range durationUnits {
		if d%u.d == 0 {
			return fmt.Sprintf("%d%c", d/u.d, u.letter)
		}
	}
	return d.String()
}

// ParseDuration reads what DurationText writes: a whole number of one unit, at least
// one and at most 366 days.
func ParseDuration(text string) (time.Duration, bool) {
	for _, u := range durationUnits {
		digits, found := strings.CutSuffix(text, string(u.letter))
		if !found || !decimal(digits) || len(digits) > 8 {
			continue
		}
		var n time.Duration
		for _, c := range digits {
			n = n*10 + time.Duration(c-'0')
		}
		if n > 0 && n <= maxPer/u.d {
			return n * u.d, true
		}
	}
	return 0, false
}

// SizeText writes a number of bytes as policies do, in the greatest unit that it
// is a multiple of.
func SizeText(n int64) string {
	unit := ""
	for _, u := range []string{"K", "M", "G", "T"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return fmt.Sprint(n) + unit
}

// CPUText writes thousandths of a processor as policies write processors.
func CPUText(n int64) string { return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) }

var durationUnits = [...]struct {
	letter byte
	d      time.Duration
}{{'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// Limited is one set of limits with the rule that it belongs to. Whoever acts
// on decisions counts under Key, which outlives a reload.
type Limited struct {
	Key    string
	Name   string // of what the limits stand at, for reasons
	Rule   Rule   // zero: the document
	Limits *Limits
}

// Texts are the limits in words, one each.
func (l *Limited) Texts() []string {
	var list []string
	if n := l.Limits.Connections; n > 0 {
		list = append(list, fmt.Sprintf("connections of %s: %d at once", l.Name, n))
	}
	for _, q := range []struct {
		what string
		n    int64
		text string
	}{
		{"requests", l.Limits.Requests.Count, l.Limits.Requests.String()},
		{"bytes_out", l.Limits.BytesOut.Count, l.Limits.BytesOut.bytes()},
		{"bytes_in", l.Limits.BytesIn.Count, l.Limits.BytesIn.bytes()},
	} {
		if q.n > 0 {
			list = append(list, q.what+" of "+l.Name+": "+q.text)
		}
	}
	if t := l.Limits.ResponseTypes; t != nil {
		list = append(list, fmt.Sprintf("response_types of %s: %s", l.Name, strings.Join(t, ", ")))
	}
	return list
}

// Limits calls f for every set of limits that a connection falls under, or with
// a canonical path a request on it; one set may come more than once. Who made
// the connection or request has asked whether it is allowed.
func (e *Engine) Limits(c Connection, path string, f func(*Limited)) {
	if e == nil || !e.limited {
		return
	}
	if e.limits != nil {
		f(e.limits)
	}
	who := caller{c: &c}
	e.each(c.Host, c.Port, func(ep *endpoint) {
		if ep.limits == nil && ep.net.limits == nil || !who.matches(ep.net) {
			return
		}
		if ep.net.limits != nil {
			f(ep.net.limits)
		}
		if ep.limits != nil && (path == "" || !ep.inspect || ep.takesPath(path)) {
			f(ep.limits)
		}
	})
}

// newLimited is nil without limits. A layer has counts of its own.
func newLimited(l *Limits, key, name string, r Rule) *Limited {
	if l == nil {
		return nil
	}
	return &Limited{Key: l.At.File + "\x00" + key, Name: name, Rule: r, Limits: l}
}

// AcceptsType reports whether a response with these Content-Type fields may pass.
func (l *Limits) AcceptsType(fields []string) bool {
	if l.ResponseTypes == nil {
		return true
	}
	if len(fields) != 1 {
		return false
	}
	kind, _, err := mime.ParseMediaType(fields[0])
	if err != nil {
		return false
	}
	class, sub, _ := strings.Cut(kind, "/")
	return sub != "" && (slices.Contains(l.ResponseTypes, kind) || slices.Contains(l.ResponseTypes, class+"/*"))
}
