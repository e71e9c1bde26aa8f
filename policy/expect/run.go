package expect

import (
	"fmt"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// Claims reports whether an inference route answers a host and port before the
// policy is asked. nil: there is no route.
type Claims func(netname.Host, uint16) bool

// Result is what a policy did with one case.
type Result struct {
	Case
	Got      policy.Explanation
	Problems []string // what differs from what is wanted; empty: it is as wanted
}

// OK reports that the case is as wanted.
func (r Result) OK() bool { return len(r.Problems) == 0 }

// Run asks the engine for every case, in order.
func Run(e *policy.Engine, claims Claims, cases []Case) []Result {
	results := make([]Result, len(cases))
	for i, c := range cases {
		r := Result{Case: c, Got: Judge(e, claims, c)}
		r.compare()
		results[i] = r
	}
	return results
}

// Judge is what the policy does with a case, as it would on the wire.
func Judge(e *policy.Engine, claims Claims, c Case) policy.Explanation {
	if claims != nil && claims(c.Connection.Host, c.Connection.Port) {
		d := policy.Decision{Verdict: policy.Reroute, Reason: "the inference route answers this host; rules about it do not count"}
		return policy.Explanation{Decision: d, Connection: policy.ConnectDecision{Decision: d}}
	}
	asked := c.Connection
	if asked.Now.IsZero() {
		asked.Now = time.Now()
	}
	asked.Uses = new(policy.Uses) // nothing was used before: every case is the first
	if !c.Inspects() {
		return e.Explain(asked, nil)
	}
	conn := e.Connect(asked)
	t, err := target.Parse(c.Path, conn.AllowEncodedSlash)
	if err != nil && conn.Verdict == policy.Allow && conn.Inspect {
		// It is refused before any rule is asked.
		return policy.Explanation{Decision: policy.Decision{Reason: err.Error()}, Connection: conn}
	}
	r, _ := c.Request(e, asked, t)
	return e.Explain(asked, r)
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
