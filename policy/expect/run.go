package expect

import (
	"errors"
	"fmt"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// Route is an inference route. Nil: there is none.
type Route interface {
	// Claims reports whether the route answers a host and port before the policy is asked.
	Claims(netname.Host, uint16) bool
	// Serves reports whether it answers a POST to a path.
	Serves(path string) bool
}

// Routed is an explanation as a run acts on it: a route takes model calls, and what
// a rule allows goes nowhere if its address may not be dialled.
func Routed(x policy.Explanation, r Route) policy.Explanation {
	if x.Refused != "" && x.Verdict == policy.Allow {
		x.Verdict, x.Reason = policy.Deny, "a rule allows it, and its address is refused: "+x.Refused
	}
	if x.Model != nil && r != nil && r.Serves(x.Model.Served) {
		x.Verdict, x.Reason = policy.Reroute, "the request has the shape of a model protocol; the inference route answers it"
	}
	return x
}

// Result is what a policy did with one case.
type Result struct {
	Case
	Got      policy.Explanation
	Problems []string // what differs from what is wanted; empty: it is as wanted
}

// OK reports that the case is as wanted.
func (r Result) OK() bool { return len(r.Problems) == 0 }

// Run asks the engine for every case, in order.
func Run(e *policy.Engine, route Route, cases []Case) []Result {
	results := make([]Result, len(cases))
	for i, c := range cases {
		r := Result{Case: c, Got: Judge(e, route, c)}
		r.compare()
		results[i] = r
	}
	return results
}

// Judge is what the policy does with a case, as it would on the wire.
func Judge(e *policy.Engine, route Route, c Case) policy.Explanation {
	if route != nil && route.Claims(c.Connection.Host, c.Connection.Port) {
		d := policy.Decision{Verdict: policy.Reroute, Reason: "the inference route answers this host; rules about it do not count"}
		return policy.Explanation{Decision: d, Connection: policy.ConnectDecision{Decision: d}}
	}
	asked := c.asked()
	x, _, err := Explain(e, asked, c.Asked)
	if err == nil {
		return Routed(x, route)
	}
	conn := e.Connect(asked)
	if conn.Verdict == policy.Allow && conn.Inspect {
		// It is refused before any rule is asked.
		return policy.Explanation{Decision: policy.Decision{Reason: err.Error()}, Connection: conn}
	}
	return Routed(e.Explain(asked, nil), route)
}

// asked is the connection at the time of the case.
func (c Case) asked() policy.Connection {
	asked := c.Connection
	if asked.Now.IsZero() {
		asked.Now = time.Now()
	}
	asked.Uses = new(policy.Uses) // nothing was used before: every case is the first
	return asked
}

// Explain is what a policy does with what is asked on a connection, and the
// endpoint that says how it is read (nil: nothing reads it). The words must have
// passed Check. The error is that of a path that is none.
func Explain(e *policy.Engine, c policy.Connection, a Asked) (policy.Explanation, *policy.Endpoint, error) {
	if !a.Inspects() {
		return e.Explain(c, nil), nil, nil
	}
	conn := e.Connect(c)
	t, err := target.Parse(a.Path, conn.AllowEncodedSlash)
	var refused *target.Error
	slash := errors.As(err, &refused) && refused.Reason == target.EncodedSlash
	if slash {
		// Read all the same, to tell which endpoint could permit it.
		t, err = target.Parse(a.Path, true)
	}
	if err != nil {
		return policy.Explanation{}, nil, err
	}
	r, governing := a.Request(e, c, t)
	x := e.Explain(c, r)
	if slash && conn.Verdict == policy.Allow && conn.Inspect {
		// It is refused before any rule is asked.
		x = policy.Explanation{Decision: policy.Decision{Reason: refused.Error()}, Connection: conn, Suggestion: x.Suggestion}
	}
	return x, governing, nil
}

// Faults are the words of cases that nothing reads where they would be judged:
// what they ask is not what is answered.
func Faults(e *policy.Engine, route Route, cases []Case) policy.Faults {
	var faults policy.Faults
	for _, c := range cases {
		if route != nil && route.Claims(c.Connection.Host, c.Connection.Port) || !c.Inspects() {
			continue
		}
		_, governing, err := Explain(e, c.asked(), c.Asked)
		if err != nil {
			continue
		}
		for _, w := range c.Unread(governing) {
			faults = append(faults, policy.Fault{
				At: c.places[w.Word], Path: c.path + "." + w.Word, Kind: policy.Conflict, Hint: w.Hint,
				Found: fmt.Sprintf("a word that nothing reads at the endpoint at %s, which is protocol: %s", governing.At, governing.Protocol),
			})
		}
	}
	return faults
}

func (r *Result) compare() {
	differs := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if r.Got.Verdict != r.Want {
		differs("wanted %s, got %s", r.Want, r.Got.Verdict)
	}
	if got := r.Got.Rule.Policy; !r.AnyRule && got != r.Rule {
		differs("wanted %s to decide, got %s", ruleName(r.Rule), ruleName(got))
	}
	if r.Audited != nil && r.Got.Audited != *r.Audited {
		differs("wanted audited: %t, got %t", *r.Audited, r.Got.Audited)
	}
}

func ruleName(key string) string {
	if key == "" {
		return "no rule"
	}
	return "the rule " + key
}
