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

// Suggest returns the policy lines that would allow a denied entry, or a
// comment that says why none would; "" when there is nothing to say.
type Suggest func(Entry) string

// SuggestFor gives the lines that a policy lacks to allow what was denied. What it
// allows by now, because it was reloaded meanwhile, needs none. A nil engine is a
// policy that allows nothing.
func SuggestFor(engine *policy.Engine) Suggest {
	return func(e Entry) string {
		if e.Protocol != "" {
			return "" // no policy lets such packets out
		}
		switch e.Layer {
		case "address":
			if e.Addr == "" {
				return ""
			}
			return fmt.Sprintf("# rule %s (%s) allows %s; its address needs, on that endpoint:  allowed_ips: [%q]", e.Rule, e.RuleAt, e.Host, e.Addr)
		case "", "connection", "request":
		default:
			return "" // no policy line changes it
		}
		h, err := netname.ParseHost(e.Host)
		if err != nil || e.Port == 0 {
			return ""
		}
		c := policy.Connection{Host: h, Port: e.Port, Binary: e.Binary, KnownCaller: e.Binary != "" && !e.Unverified,
			// A number of uses that is spent is the operator's to raise, not another rule's.
			Now: time.Now(), Uses: new(policy.Uses)}
		if allows(engine, c, e.Method, e.Path) {
			return ""
		}
		if e.Method == "" && (e.Port == 80 || e.Port == 443) {
			// Most likely HTTP, of which no request was read: propose to read, not everything.
			return strings.Replace(engine.Suggest(c, "GET", "/"), "path: /}", `path: "/**"}`, 1)
		}
		return engine.Suggest(c, e.Method, e.Path)
	}
}

// allows reports whether a policy allows a connection, or with a method the
// request on it.
func allows(engine *policy.Engine, c policy.Connection, method, path string) bool {
	d := engine.Connect(c)
	if d.Verdict != policy.Allow || method == "" || !d.Inspect {
		return d.Verdict == policy.Allow
	}
	r := policy.Request{Connection: c, Method: method}
	r.Target.Path = path
	return engine.Request(r).Verdict == policy.Allow
}

// maxSuggestions bounds what is suggested: nobody pastes more.
const maxSuggestions = 20

// suggestions asks once per entry and keeps each answer once.
func suggestions(denied []Entry, suggest Suggest) []Suggestion {
	var list []Suggestion
	seen := map[Suggestion]bool{}
	for _, e := range denied {
		if strings.HasSuffix(e.Host, ellipsis) || strings.HasSuffix(e.Path, ellipsis) || strings.HasSuffix(e.Binary, ellipsis) {
			continue // lines made of a shortened string would allow something else
		}
		sg := Suggestion{Host: e.Host, Port: e.Port, Lines: strings.TrimRight(suggest(e), "\n")}
		if sg.Lines == "" || seen[sg] {
			continue
		}
		seen[sg] = true
		if list = append(list, sg); len(list) == maxSuggestions {
			break
		}
	}
	return list
}

// policyHeader begins the lines of a suggestion; the key of the rule follows,
// indented by two.
const policyHeader = "network_policies:"

// merge makes one piece of policy out of suggestions: one header, one rule for
// what differs in nothing but the requests that it allows, and no key twice,
// though each was made without knowing of the others. notes are the suggestions
// that allow nothing.
func merge(list []Suggestion) (policy, notes []string) {
	var rules [][]string // their lines
	for _, sg := range list {
		lines := strings.Split(sg.Lines, "\n")
		if strings.HasPrefix(lines[0], "#") {
			notes = append(notes, fmt.Sprintf("# %s:%d: %s", sg.Host, sg.Port, strings.TrimSpace(strings.TrimLeft(lines[0], "#"))))
			continue
		}
		if lines[0] == policyHeader {
			lines = lines[1:]
		}
		bare := withoutRequests(lines)
		i := slices.IndexFunc(rules, func(r []string) bool {
			return len(bare) < len(lines) && slices.Equal(withoutRequests(r), bare)
		})
		if i < 0 {
			rules = append(rules, lines)
			continue
		}
		at := slices.IndexFunc(rules[i], allowsRequest)
		for _, l := range lines {
			if allowsRequest(l) && !slices.Contains(rules[i], l) {
				for at < len(rules[i]) && allowsRequest(rules[i][at]) {
					at++
				}
				rules[i] = slices.Insert(rules[i], at, l)
			}
		}
	}
	keys := map[string]int{}
	for _, lines := range rules {
		if len(policy) == 0 {
			policy = append(policy, policyHeader)
		}
		if len(lines) > 0 {
			if key, ok := strings.CutSuffix(lines[0], ":"); ok {
				if keys[key]++; keys[key] > 1 {
					lines[0] = fmt.Sprintf("%s_%d:", key, keys[key])
				}
			}
		}
		policy = append(policy, lines...)
	}
	return policy, notes
}

// allowsRequest reports whether a line of a rule allows one kind of request.
func allowsRequest(line string) bool {
	return strings.HasPrefix(strings.TrimLeft(line, " "), "- allow:")
}

// withoutRequests is a rule but for the requests that it allows: its host, port
// and programs.
func withoutRequests(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), allowsRequest)
}
