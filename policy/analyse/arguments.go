package analyse

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/jsonrpc"
)

// argument is the set of texts that a clause about an argument takes: those of
// its globs that lead where they read.
func (a *analysis) argument(r policy.ArgumentRule) (*pattern, error) {
	list := slices.Clone(r.Any)
	slices.Sort(list)
	list = slices.Compact(list)
	key := fmt.Sprintf("argument %q", list)
	if p := a.patternBy[key]; p != nil {
		return p, nil
	}
	var all []glob.Glob
	for _, text := range list {
		g, err := glob.Compile(text, '/')
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	matched, err := automaton.Globs(all)
	if err != nil {
		return nil, err
	}
	p := &pattern{text: strings.Join(list, " or ")}
	if p.set, err = automaton.Minus(matched, automaton.Climbing()); err != nil {
		return nil, err
	}
	a.patternBy[key] = p
	return p, a.spend(p.set.Work() / stepsOfAutomata)
}

// holds: what is not there, or is no text, is in no set.
func (r *callRule) holds(arguments *jsonrpc.Arguments) bool {
	for i := range r.arguments {
		if text, ok := arguments.Text(r.arguments[i].name); !ok || !r.arguments[i].texts.match(text) {
			return false
		}
	}
	return true
}

// argumentKinds sorts the texts of every argument that rules name. What is in no
// set is judged like an argument that is not there.
func (a *analysis) argumentKinds(k *kinds) error {
	k.arguments = map[string]*texts{}
	sets := map[string][]*pattern{}
	k.eachCallRule(func(r *callRule) {
		for _, one := range r.arguments {
			sets[one.name] = append(sets[one.name], one.texts)
		}
	})
	for name, list := range sets {
		var err error
		if k.arguments[name], err = a.textsOf(automaton.Values(), list, "any or none"); err != nil {
			return fmt.Errorf("argument %s: %w", name, err)
		}
	}
	return nil
}

func (k *kinds) eachCallRule(f func(r *callRule)) {
	k.c.speakers(func(_ *endpoint, m *messageRules) {
		if m.calls == nil {
			return
		}
		for _, list := range [][]callRule{m.calls.allow, m.calls.deny} {
			for i := range list {
				f(&list[i])
			}
		}
	})
}

// withArguments are the kinds of a call of a tool: the products of the kinds of
// those arguments that rules about the tool name. Kinds of which a reader makes
// nothing, because a server could take one name for another, are judged like a call
// without those arguments.
func (k *kinds) withArguments(m message) ([]*message, error) {
	var names []string
	k.eachCallRule(func(r *callRule) {
		if r.takes(m.method, m.tool) {
			for _, one := range r.arguments {
				names = append(names, one.name)
			}
		}
	})
	slices.Sort(names)
	list := []*message{&m}
	for _, name := range slices.Compact(names) {
		of := k.arguments[name]
		var next []*message
		for _, before := range list {
			for i, class := range of.List {
				next = append(next, before.with(func(m *message) {
					m.parts = append(slices.Clone(m.parts), part{of, "with argument " + name, i})
					if class.None() {
						return
					}
					if m.texts = maps.Clone(m.texts); m.texts == nil {
						m.texts = map[string]string{}
					}
					m.texts[name] = class.Witness
				}))
			}
			if len(next) > maxRequests {
				return nil, &TooManyError{"kinds of calls", maxRequests}
			}
		}
		list = next
	}
	for _, m := range list {
		m.arguments = jsonrpc.TextArguments(m.texts)
	}
	return list, nil
}
