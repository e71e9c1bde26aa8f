package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// Suggestion is what would allow a denied entry, as policy lines. Lines that
// are comments alone say why nothing would.
type Suggestion struct {
	Host  string `json:"host"`
	Port  uint16 `json:"port,omitempty"`
	Lines string `json:"lines"`
}

// Proposal is what would allow a denied entry: a rule, or a comment line that
// says why none would. The zero Proposal has nothing to say.
type Proposal struct {
	Rule *policy.Draft
	Note string // "# …"
}

// Suggest returns what would allow a denied entry.
type Suggest func(Entry) Proposal

// Lines are the lines to add to a policy, or the comment.
func (p Proposal) Lines() string {
	if p.Rule == nil {
		return strings.TrimRight(p.Note, "\n")
	}
	return policyHeader + "\n" + strings.TrimRight(p.Rule.YAML("  "), "\n")
}

// SuggestFor gives the rules that a policy lacks to allow what was denied. What it
// allows by now, because it was reloaded meanwhile, needs none. A nil engine is a
// policy that allows nothing.
func SuggestFor(engine *policy.Engine) Suggest {
	return func(e Entry) Proposal {
		if e.Protocol != "" {
			return Proposal{} // no policy lets such packets out
		}
		switch e.Layer {
		case "address":
			if e.Addr == "" {
				return Proposal{}
			}
			return Proposal{Note: fmt.Sprintf("# rule %s (%s) allows %s; its address needs, on that endpoint:  allowed_ips: [%q]", e.Rule, e.RuleAt, e.Host, e.Addr)}
		case "", "connection", "request":
		default:
			return Proposal{} // no policy line changes it
		}
		h, err := netname.ParseHost(e.Host)
		if err != nil || e.Port == 0 {
			return Proposal{}
		}
		c := policy.Connection{Host: h, Port: e.Port, Binary: e.Binary, KnownCaller: e.Binary != "" && !e.Unverified,
			// A number of uses that is spent is the operator's to raise, not another rule's.
			Now: time.Now(), Uses: new(policy.Uses)}
		if allows(engine, c, e.Method, e.Path) {
			return Proposal{}
		}
		if e.RuleMissing != "" {
			return Proposal{Note: MessageNote(e.Asked, e.RuleMissing)}
		}
		if why := engine.Refusal(c, e.Method, e.Path); why != "" {
			if e.Asked != "" {
				why = "# " + e.Asked + ": " + OneLine(why)
			}
			return Proposal{Note: why}
		}
		if note := MessageNote(e.Asked, ""); note != "" {
			return Proposal{Note: note}
		}
		var allow []policy.Permit
		switch {
		case e.Method != "":
			allow = []policy.Permit{{Method: e.Method, Path: policy.LiteralPath(e.Path)}}
		case e.Port == 80 || e.Port == 443:
			// Most likely HTTP, of which no request was read: propose to read, not everything.
			allow = []policy.Permit{{Method: "GET", Path: "/**"}}
		}
		rule := engine.SuggestRule(c, allow)
		return Proposal{Rule: &rule}
	}
}

// allows reports whether a policy allows a connection, or with a method the
// request on it.
func allows(engine *policy.Engine, c policy.Connection, method, path string) bool {
	d := engine.Connect(c)
	if d.Verdict != policy.Allow || method == "" || !d.Inspect {
		return d.Verdict == policy.Allow
	}
	r := policy.Request{Connection: c, Method: method, Text: method == policy.MethodText}
	r.Target.Path = path
	return engine.Request(r).Verdict == policy.Allow
}

// maxSuggestions bounds what is suggested: nobody pastes more.
const maxSuggestions = 20

// suggestion is a Suggestion with the rule behind it.
type suggestion struct {
	Suggestion
	rule *policy.Draft
}

// suggestions asks once per entry and keeps each answer once.
func suggestions(denied []Entry, suggest Suggest) []suggestion {
	var list []suggestion
	seen := map[Suggestion]bool{}
	for _, e := range denied {
		if e.RuleMissing == "" && (strings.HasSuffix(e.Host, ellipsis) || strings.HasSuffix(e.Path, ellipsis) || strings.HasSuffix(e.Binary, ellipsis)) {
			continue // lines made of a shortened string would allow something else
		}
		p := suggest(e)
		sg := suggestion{Suggestion{Host: e.Host, Port: e.Port, Lines: p.Lines()}, p.Rule}
		if sg.Lines == "" || seen[sg.Suggestion] {
			continue
		}
		seen[sg.Suggestion] = true
		if list = append(list, sg); len(list) == maxSuggestions {
			break
		}
	}
	return list
}

const policyHeader = "network_policies:"

// merge makes one piece of policy out of suggestions: one header, one rule for
// what differs in nothing but the requests that it allows, and no key twice,
// though each was made without knowing of the others. notes are the suggestions
// that allow nothing as they stand; those that begin alike, as all for one endpoint
// do, become one.
func merge(list []suggestion) (lines, notes []string) {
	var rules []policy.Draft
	var remarks [][]string
	for _, sg := range list {
		if sg.rule == nil {
			first, rest, more := strings.Cut(sg.Lines, "\n")
			head := fmt.Sprintf("# %s:%d: %s", sg.Host, sg.Port, strings.TrimSpace(strings.TrimLeft(first, "#")))
			at := slices.IndexFunc(remarks, func(r []string) bool { return r[0] == head })
			if at < 0 {
				at = len(remarks)
				remarks = append(remarks, []string{head})
			}
			for l := range strings.SplitSeq(rest, "\n") {
				if more && !slices.Contains(remarks[at], l) {
					remarks[at] = append(remarks[at], l)
				}
			}
			continue
		}
		if i := slices.IndexFunc(rules, func(r policy.Draft) bool { return sameButRequests(r, *sg.rule) }); i >= 0 {
			// Endpoints and permits are shared with the suggestion: copied before they grow.
			end := rules[i].Endpoints[0]
			end.Allow = slices.Clone(end.Allow)
			for _, p := range sg.rule.Endpoints[0].Allow {
				if !slices.Contains(end.Allow, p) {
					end.Allow = append(end.Allow, p)
				}
			}
			rules[i].Endpoints = []policy.DraftEndpoint{end}
			continue
		}
		rules = append(rules, *sg.rule)
	}
	keys := map[string]int{}
	for _, r := range rules {
		if len(lines) == 0 {
			lines = append(lines, policyHeader)
		}
		if keys[r.Key]++; keys[r.Key] > 1 {
			r.Key = fmt.Sprintf("%s_%d", r.Key, keys[r.Key])
		}
		lines = append(lines, strings.Split(strings.TrimRight(r.YAML("  "), "\n"), "\n")...)
	}
	return lines, slices.Concat(remarks...)
}

// sameButRequests: two rules for one program and one inspected endpoint.
func sameButRequests(a, b policy.Draft) bool {
	one := func(d policy.Draft) bool { return len(d.Endpoints) == 1 && len(d.Endpoints[0].Allow) > 0 }
	return one(a) && one(b) && a.Host == b.Host && a.Binary == b.Binary && a.Endpoints[0].Port == b.Endpoints[0].Port
}
