package traffic

import (
	"cmp"
	"slices"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// Claims reports whether an inference route answers a host and port before the
// policy is asked. nil: there is no route.
type Claims func(netname.Host, uint16) bool

// Decided is a verdict and the rule behind it.
type Decided struct {
	Verdict policy.Verdict `json:"verdict"`
	Rule    string         `json:"rule,omitempty"`
	At      string         `json:"rule_at,omitempty"`
	Audited bool           `json:"audited,omitempty"`
}

// Change is one kind of call that a policy treats otherwise than it was treated.
type Change struct {
	Host   string  `json:"host"`
	Port   uint16  `json:"port"`
	Binary string  `json:"binary,omitempty"`
	Known  bool    `json:"binary_known"`
	Method string  `json:"method,omitempty"`
	Path   string  `json:"path,omitempty"`
	Then   Decided `json:"then"`
	Now    Decided `json:"now"`
	Reason string  `json:"reason"` // of the verdict now
	// Inspected: the connection would be let through, and its requests judged one by one.
	Inspected bool `json:"inspected,omitempty"`
	// Unsure is what the log does not keep and could turn the verdict now.
	Unsure string `json:"unsure,omitempty"`
	Count  uint64 `json:"count"`
	First  uint64 `json:"first_line"`
}

// Replayed is what a policy would have done with the calls of a log.
type Replayed struct {
	Flips  []Change // in the order of their first line
	Unsure []Change // that cannot be told
	Same   uint64   // calls that are treated as they were
	More   uint64   // calls that flip or cannot be told, of kinds beyond the bound
}

// maxChanges bounds the kinds of calls that are told apart: an agent can make
// any number of them.
const maxChanges = 10000

// Replay collects what an engine would have done with calls.
type Replay struct {
	engine *policy.Engine
	claims Claims
	serves func(path string) bool
	same   uint64
	more   uint64
	kinds  map[Change]*tally
}

type tally struct{ count, first uint64 }

// NewReplay asks e about calls. serves reports whether the inference route answers
// a POST to a path. claims and serves may be nil.
func NewReplay(e *policy.Engine, claims Claims, serves func(path string) bool) *Replay {
	return &Replay{engine: e, claims: claims, serves: serves, kinds: make(map[Change]*tally)}
}

// Add takes one call.
func (r *Replay) Add(c Call) {
	now, inspected := r.judge(c)
	unsure := ""
	if now.Verdict != policy.Reroute {
		q := policy.Request{Connection: c.Connection(), Method: c.Method, Text: c.Method == policy.MethodText}
		q.Target.Path = c.Path
		unsure = r.engine.Unsure(q)
	}
	if unsure == "" && now.Verdict == c.Verdict {
		r.same++
		return
	}
	k := Change{
		Host: c.Host.String(), Port: c.Port, Binary: c.Binary, Known: c.Known, Method: c.Method, Path: c.Path,
		Then:   Decided{c.Verdict, c.Rule, c.RuleAt, c.Audited},
		Now:    Decided{now.Verdict, now.Rule.Policy, now.Rule.At.String(), now.Audited},
		Reason: now.Reason, Inspected: inspected && c.Method == "", Unsure: unsure,
	}
	t := r.kinds[k]
	if t == nil {
		if len(r.kinds) == maxChanges {
			r.more++
			return
		}
		t = &tally{first: c.Line}
		r.kinds[k] = t
	}
	t.count++
}

// judge is the verdict now.
func (r *Replay) judge(c Call) (d policy.Decision, inspected bool) {
	if r.claims != nil && r.claims(c.Host, c.Port) {
		return policy.Decision{Verdict: policy.Reroute, Reason: "the inference route answers this host"}, false
	}
	conn := r.engine.Connect(c.Connection())
	if c.Method == "" || conn.Verdict != policy.Allow || !conn.Inspect {
		return conn.Decision, conn.Inspect
	}
	t, err := target.Parse(c.Path, conn.AllowEncodedSlash)
	if err != nil {
		return policy.Decision{Reason: err.Error()}, true
	}
	asked := policy.Request{Connection: c.Connection(), Method: c.Method, Target: t, Text: c.Method == policy.MethodText}
	d = r.engine.Request(asked)
	if call, model := r.engine.Models(&asked, false); model && d.Verdict == policy.Allow {
		d.Verdict, d.Reason = policy.Deny, policy.ReasonModel
		if r.serves != nil && r.serves(call.Served) {
			d.Verdict = policy.Reroute
		}
	}
	return d, true
}

// Result is what was found so far.
func (r *Replay) Result() Replayed {
	out := Replayed{Same: r.same, More: r.more}
	for k, t := range r.kinds {
		k.Count, k.First = t.count, t.first
		if k.Unsure == "" {
			out.Flips = append(out.Flips, k)
		} else {
			out.Unsure = append(out.Unsure, k)
		}
	}
	order := func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Reason, b.Reason))
	}
	slices.SortFunc(out.Flips, order)
	slices.SortFunc(out.Unsure, order)
	return out
}
