package audit

import (
	"fmt"
	"strings"
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

// merge makes one piece of policy out of suggestions: one header, and no key
// twice, though each was made without knowing of the others. notes are the
// suggestions that allow nothing.
func merge(list []Suggestion) (policy, notes []string) {
	keys := map[string]int{}
	for _, sg := range list {
		lines := strings.Split(sg.Lines, "\n")
		if strings.HasPrefix(lines[0], "#") {
			notes = append(notes, fmt.Sprintf("# %s:%d: %s", sg.Host, sg.Port, strings.TrimSpace(strings.TrimLeft(lines[0], "#"))))
			continue
		}
		if lines[0] == policyHeader {
			lines = lines[1:]
		}
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
