package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy"
)

// Risk is how carefully a rule has to be looked at. There is no "none".
type Risk uint8

const (
	High Risk = iota // the zero value
	Medium
	Low
)

func (r Risk) String() string {
	switch r {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
	}
	return "high"
}

// MarshalText makes JSON show the word.
func (r Risk) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Points of a reason, and from where on a rule is what.
const (
	highFrom   = 4
	mediumFrom = 2
)

// assess weighs what is known about a rule. It names what it saw, never that
// something is safe.
func (r *Rule) assess(h Host) {
	points := 0
	because := func(n int, format string, args ...any) {
		points += n
		r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...))
	}
	var methods []string
	secret, opaque, guessed := false, false, false
	for _, e := range r.Endpoints {
		guessed = guessed || e.Guessed
		opaque = opaque || e.Protocol != policy.REST
		for _, p := range e.Allow {
			if writes(p.Method) && !slices.Contains(methods, p.Method) {
				methods = append(methods, p.Method)
			}
			for s := range strings.SplitSeq(p.Path, "/") {
				secret = secret || policy.LooksSecret(s)
			}
		}
	}
	if opaque {
		because(4, "requests on it are not inspected: the program can send and read anything there")
	}
	if guessed {
		because(1, "no request was read, so it allows reading everything there")
	}
	if len(methods) > 0 {
		slices.Sort(methods)
		because(3, "writes: %s", strings.Join(methods, ", "))
	}
	if r.Binary == "" {
		because(4, "any program may use it, because the calling program is none that a rule can name")
	} else if policy.Interpreter(r.Binary) {
		because(1, "the program runs any code that it is given, so the rule is for whatever the agent writes")
	}
	if !h.AfterRead.IsZero() {
		because(3, "first asked for after something could be read from %s: what was read may have asked for it", h.AfterRead)
	}
	if h.Calls <= 1 {
		because(1, "the host was asked for once")
	}
	if suffix, ok := policy.Echoes(r.Host); ok {
		because(3, "%s hands on what is sent to it: reading there is enough to carry data out", suffix)
	}
	if suffix, ok := policy.SharedHosting(r.Host); ok {
		because(1, "anybody can have a host below %s", suffix)
	}
	if policy.ModelHost(r.Host) {
		because(3, "it is a model host: the agent would use it outside of the inference route")
	}
	if r.Host.IsAddr() {
		because(1, "it is an address: nothing says whose it is")
	}
	if secret {
		because(2, "a path holds what may be a secret")
	}
	switch {
	case points >= highFrom:
		r.Risk = High
	case points >= mediumFrom:
		r.Risk = Medium
	default:
		r.Risk = Low
	}
	r.points = points
}
