package audit

import "strings"

// RuleMissing is the key in Detail of what would allow a request that was denied by
// its message: comment lines for a policy, of MaxRuleMissing bytes at most.
const (
	RuleMissing    = "rule_missing"
	MaxRuleMissing = 2048
)

// asks are the keys in Detail of what a message asked for by name, each with the
// protocol of the endpoints that judge it.
var asks = []struct{ key, protocol string }{
	{"git", "git"}, {"graphql", "graphql"}, {"grpc", "grpc"}, {"package", "package"}, {"rpc", "mcp (or json-rpc)"},
}

// Asked is what a request asked for beside its method and path, like "git push
// team/app refs/heads/main", or "".
func (e Event) Asked() string {
	for _, a := range asks {
		if text := e.Detail[a.key]; text != "" {
			return a.key + " " + text
		}
	}
	return ""
}

// MessageNote says in comment lines what would allow a request that was denied by
// its message, or "": it was none. A rule of a method and a path would let every
// such message through. asked and missing are what the event holds of them; a log
// of an older version has no missing.
func MessageNote(asked, missing string) string {
	if missing != "" {
		lines := strings.Split(strings.TrimRight(missing, "\n"), "\n")
		for i, l := range lines {
			if !strings.HasPrefix(l, "#") { // nothing out of a log is pasted unseen
				lines[i] = "# " + l
			}
		}
		return strings.Join(lines, "\n")
	}
	key, _, _ := strings.Cut(asked, " ")
	for _, a := range asks {
		if a.key == key {
			return "# " + strings.ReplaceAll(asked, "\n", " ") + ": no lines are suggested, because a rest rule for this path would allow every request to it; add a rule for this to an endpoint with protocol: " + a.protocol
		}
	}
	return ""
}

// OneLine is a note without what makes it a comment.
func OneLine(note string) string {
	var parts []string
	for l := range strings.SplitSeq(note, "\n") {
		parts = append(parts, strings.TrimSpace(strings.TrimLeft(l, "#")))
	}
	return strings.Join(parts, " ")
}
