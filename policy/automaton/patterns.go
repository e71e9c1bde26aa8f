package automaton

import (
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/target"
)

// Glob is the set of texts that a glob matches.
func Glob(g glob.Glob) (*Automaton, error) { return Globs([]glob.Glob{g}) }

// Globs is the set of texts that any of some globs matches: of none, no text.
func Globs(list []glob.Glob) (*Automaton, error) {
	p := newPositions()
	what := "globs"
	for _, g := range list {
		if g.IsZero() {
			continue
		}
		p.add(g.Nodes())
		what = "the glob " + clip(g.String())
	}
	return p.determine(what)
}

// Selector is the set of paths that an endpoint's selector takes.
func Selector(s target.Selector) (*Automaton, error) { return Globs(s.Globs()) }

// Matcher is the set of query values that a matcher matches.
func Matcher(m target.Matcher) (*Automaton, error) { return Globs(m.Globs()) }

// Host is the set of canonical hosts that a pattern covers. Within HostNames it
// is exact; beyond them it may hold texts that are no hosts.
func Host(p netname.Pattern) (*Automaton, error) {
	if p.Literal() {
		return Texts(p.Host().String())
	}
	return hostGlob(p.String())
}

// HostSelector is the same for the wider patterns of netname.Selector.
func HostSelector(s netname.Selector) (*Automaton, error) { return hostGlob(s.String()) }

func hostGlob(text string) (*Automaton, error) {
	if text == "" {
		return Nothing(), nil
	}
	g, err := glob.Compile(text, '.')
	if err != nil {
		return nil, err
	}
	return Glob(g)
}

// Texts is the set of exactly these texts.
func Texts(list ...string) (*Automaton, error) {
	p := newPositions()
	for _, s := range list {
		p.add(literal(s))
	}
	return p.determine("literal texts")
}

// literal is a glob of one text.
func literal(s string) []glob.Node {
	seq := make([]glob.Node, len(s))
	for i := range seq {
		var set glob.Set
		set[s[i]>>6] = 1 << (s[i] & 63)
		seq[i] = glob.Node{Kind: glob.Byte, Set: set}
	}
	return seq
}

// clip bounds foreign text in an error message.
func clip(s string) string {
	const longest = 80
	if len(s) > longest {
		return s[:longest] + "…"
	}
	return s
}
