package analyse

import (
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/git"
)

// kinds are the messages that the endpoints of a cell tell apart: texts by
// their automata, and whatever else there is by its few values.
type kinds struct {
	c *cell
	r *requests

	operationNames, rootFields *texts
	keys                       []string // of stored operations, and one that nobody has
	operationsBy               map[string][]*message
	methods, tools             *texts
	arguments                  map[string]*texts // of tools, by name
	mcp, plain                 bool              // endpoints that know tools, and that do not
	refs                       *texts
	ages                       int                   // kinds of ages of a package
	packages                   map[[2]int][]*message // by path and method class
	shared                     map[sharedPaths]bool  // paths that several registries have
	formTexts                  map[*registryForm]*formTexts
}

// texts are classes of texts, with their names for reports.
type texts struct {
	*automaton.Classes
	cover *coverage
}

// part is one text of a message: which class it is of.
type part struct {
	of    *texts
	label string
	class int
}

// textsOf sorts the texts within a set by patterns. more is a set without a name.
func (a *analysis) textsOf(within *automaton.Automaton, patterns []*pattern, every string, more ...*automaton.Automaton) (*texts, error) {
	var sets []*automaton.Automaton
	var names []string
	for _, p := range patterns {
		if !slices.Contains(names, p.text) {
			sets, names = append(sets, p.set), append(names, p.text)
		}
	}
	classes, err := a.classify(within, append(sets, more...))
	if err != nil {
		return nil, err
	}
	return &texts{classes, newCoverage(classes.List, names, every)}, nil
}

// speakers calls f for the message rules of the cell.
func (c *cell) speakers(f func(ep *endpoint, m *messageRules)) {
	for _, list := range c.sides {
		for _, ep := range list {
			if ep.messages != nil {
				f(ep, ep.messages)
			}
		}
	}
}

func (a *analysis) kindsOf(c *cell, r *requests) (*kinds, error) {
	k := &kinds{c: c, r: r, operationsBy: map[string][]*message{}, packages: map[[2]int][]*message{}, shared: map[sharedPaths]bool{}, formTexts: map[*registryForm]*formTexts{}}
	var names, fields, methods, tools, refs []*pattern
	operations, calls, gits, loose := false, false, false, false
	c.speakers(func(_ *endpoint, m *messageRules) {
		if o := m.operations; o != nil {
			operations = true
			for _, list := range [][]operationRule{o.allow, o.deny} {
				for _, one := range list {
					if one.name != nil {
						names = append(names, one.name)
					}
					fields = append(fields, one.fields...)
				}
			}
			for key := range o.registry {
				if !slices.Contains(k.keys, key) {
					k.keys = append(k.keys, key)
				}
			}
		}
		if o := m.calls; o != nil {
			calls = true
			k.mcp, k.plain, loose = k.mcp || o.mcp, k.plain || !o.mcp, loose || o.mcp && o.loose
			for _, list := range [][]callRule{o.allow, o.deny} {
				for _, one := range list {
					if one.method != nil {
						methods = append(methods, one.method)
					}
					tools = append(tools, one.tools...)
				}
			}
		}
		if m.git != nil {
			gits = true
			for _, list := range [][]gitRule{m.git.allow, m.git.deny} {
				for _, one := range list {
					refs = append(refs, one.refs...)
				}
			}
		}
	})
	var err error
	if operations {
		slices.Sort(k.keys)
		unregistered := "unregistered"
		for slices.Contains(k.keys, unregistered) {
			unregistered += "-"
		}
		k.keys = append(k.keys, unregistered)
		maybe, err := automaton.Or(automaton.GraphQLNames(), emptyText())
		if err != nil {
			return nil, err
		}
		if k.operationNames, err = a.textsOf(maybe, names, "every name, or none"); err != nil {
			return nil, fmt.Errorf("names of operations: %w", err)
		}
		if k.rootFields, err = a.textsOf(automaton.GraphQLNames(), fields, "every field"); err != nil {
			return nil, fmt.Errorf("root fields: %w", err)
		}
	}
	if calls {
		one, err := a.pattern(toolsCall, 0)
		if err != nil {
			return nil, err
		}
		if k.methods, err = a.textsOf(automaton.Words(), append(methods, one), "every method"); err != nil {
			return nil, fmt.Errorf("methods of calls: %w", err)
		}
		if loose {
			k.tools, err = a.textsOf(automaton.Words(), tools, "every tool", automaton.ToolNames())
		} else {
			k.tools, err = a.textsOf(automaton.ToolNames(), tools, "every tool")
		}
		if err != nil {
			return nil, fmt.Errorf("names of tools: %w", err)
		}
		if err := a.argumentKinds(k); err != nil {
			return nil, err
		}
	}
	if gits {
		if k.refs, err = a.textsOf(automaton.GitRefs(), refs, "every ref"); err != nil {
			return nil, fmt.Errorf("refs: %w", err)
		}
	}
	return k, a.packageKinds(k)
}

// emptyText is the set of the text without any.
func emptyText() *automaton.Automaton {
	a, err := automaton.Texts("")
	if err != nil {
		return automaton.Nothing() // it has two states
	}
	return a
}

// messagesAt are the kinds of messages of a path and a method; only nil where
// nobody reads any.
func (a *analysis) messagesAt(r *requests, path, method int) ([]*message, error) {
	k := r.kinds
	verb := r.methods[method].example(r.methods)
	text := verb == textMethod
	var reads, operations, overHTTP, sockets, calls, gits, packages, services bool
	k.c.speakers(func(ep *endpoint, m *messageRules) {
		if !r.selects(ep, path) {
			return
		}
		reads = true
		operations = operations || m.operations != nil
		overHTTP = overHTTP || m.operations != nil && m.operations.overHTTP
		sockets = sockets || m.operations != nil && (!m.operations.overHTTP || m.operations.overSockets)
		calls, gits, packages = calls || m.calls != nil, gits || m.git != nil, packages || m.packages != nil
		services = services || m.services != nil
	})
	switch {
	case text && !sockets:
		return nil, nil // no text messages come here
	case !reads:
		return []*message{nil}, nil
	}
	list := []*message{{form: unread}}
	if operations && (text || overHTTP && (verb == "GET" || verb == "POST")) {
		more, err := a.operationsAt(k, path)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	if calls && verb == "POST" {
		more, err := k.calls()
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	if calls && verb == "DELETE" && k.mcp {
		list = append(list, &message{form: ending})
	}
	if calls && verb == "GET" && k.mcp {
		list = append(list, &message{form: stream})
	}
	// What is told from path and query is told whatever the body is: the kinds of
	// one are listed with paths and queries in which the other reads nothing.
	if gits {
		for i, m := range list {
			list[i] = m.with(func(m *message) { m.other = true })
		}
		list = append(list, k.gitAt(verb, r.classes.List[path].Witness)...)
	}
	if m := calledAt(verb, r.classes.List[path].Witness); m != nil && services {
		list = append(list, m)
	}
	if packages {
		var err error
		if list, err = k.withPackages(list, path, method, gits); err != nil {
			return nil, err
		}
	}
	if len(list) > maxRequests {
		return nil, &TooManyError{"kinds of messages", maxRequests}
	}
	return list, nil
}

// with is a changed copy.
func (m *message) with(change func(m *message)) *message {
	c := *m
	change(&c)
	return &c
}

// withPackages adds what a registry can be asked for at a path.
func (k *kinds) withPackages(list []*message, path, method int, gits bool) ([]*message, error) {
	packages := k.packages[[2]int{path, method}]
	none, err := k.noPackage(path, k.r.methods[method].example(k.r.methods))
	if err != nil {
		return nil, err
	}
	var out []*message
	for _, m := range list {
		switch {
		case m.form == fetch || m.form == push || m.form == called:
			out = append(out, m.with(func(m *message) { m.path = k.r.classes.List[path].Witness }))
		case none != "":
			out = append(out, m.with(func(m *message) { m.path = none }))
		case m.form != unread:
			for _, p := range packages {
				out = append(out, m.with(func(m *message) { m.path, m.age, m.ageKnown = p.path, p.age, p.ageKnown }))
			}
		}
	}
	for _, p := range packages {
		out = append(out, p.with(func(m *message) { m.other = gits }))
	}
	return out, nil
}

func (k *kinds) calls() ([]*message, error) {
	var list []*message
	for i, class := range k.methods.List {
		if class.Witness != toolsCall {
			list = append(list, &message{form: call, method: class.Witness, parts: []part{{k.methods, "", i}}})
			continue
		}
		if k.plain {
			list = append(list, &message{form: call, method: toolsCall, parts: []part{{k.methods, "", i}}})
		}
		if !k.mcp {
			continue
		}
		for n, tool := range k.tools.List {
			more, err := k.withArguments(message{form: call, method: toolsCall, tool: tool.Witness, parts: []part{{k.tools, "", n}}})
			if err != nil {
				return nil, err
			}
			list = append(list, more...)
		}
	}
	if k.mcp {
		list = append(list, &message{form: answer})
	}
	return list, nil
}

// gitAt are the messages that Git's paths stand for.
func (k *kinds) gitAt(method, path string) []*message {
	var list []*message
	switch method {
	case "GET":
		for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
			query := map[string][]string{"service": {service}}
			if g, err := git.ParseTarget(method, path, query); err == nil {
				m := &message{form: fetch, discovery: true, repository: g.Repository, query: query}
				if g.Push {
					m.form = push
				}
				list = append(list, m)
			}
		}
	case "POST":
		g, err := git.ParseTarget(method, path, nil)
		if err != nil {
			return nil
		}
		none := map[string][]string{}
		if !g.Push {
			return []*message{{form: fetch, repository: g.Repository, query: none}}
		}
		for i, class := range k.refs.List {
			if len(class.Witness) > maxRef {
				continue
			}
			for _, how := range []message{{}, {forced: true}, {delete: true}} {
				m := how
				m.form, m.repository, m.ref, m.query, m.parts = push, g.Repository, class.Witness, none, []part{{k.refs, "", i}}
				list = append(list, &m)
			}
		}
	}
	return list
}

// maxRef is the bound of a ref's name (package git).
const maxRef = 1024

// atomSet is a set of classes of root fields.
type atomSet []uint64

func newAtomSet(n int, in func(i int) bool) atomSet {
	s := make(atomSet, (n+63)/64)
	for i := range n {
		if in(i) {
			s[i/64] |= 1 << (i % 64)
		}
	}
	return s
}

func (s atomSet) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }

func (s atomSet) combine(o atomSet, with func(x, y uint64) uint64) atomSet {
	out := make(atomSet, len(s))
	for i := range s {
		out[i] = with(s[i], o[i])
	}
	return out
}

// operationsAt are the operations that the rules about a path tell apart. What
// an operation's root fields may be is a set; all that rules allow together with
// a set they also allow without some of it. So, for any two sides, it is enough to
// look at the largest sets that one of them allows to some caller, at single
// fields, and at all fields together.
func (a *analysis) operationsAt(k *kinds, path int) ([]*message, error) {
	type speaker struct {
		rules  *operationRules
		grants bool
	}
	groups := map[string][]speaker{}
	key := ""
	for side, list := range k.c.sides {
		for w := range k.c.who.list {
			var some []speaker
			name := fmt.Sprint(side)
			for i, ep := range list {
				if ep.messages != nil && ep.messages.operations != nil && k.c.who.list[w].taken.has(k.c.groups[side][i]) && k.r.selects(ep, path) {
					grants := k.r.grants(ep, path)
					some = append(some, speaker{ep.messages.operations, grants})
					name += fmt.Sprint(" ", i, grants)
				}
			}
			if groups[name] == nil && len(some) > 0 {
				groups[name] = some
				key += name + "|"
			}
		}
	}
	if list := k.operationsBy[key]; list != nil {
		return list, nil
	}
	n := len(k.rootFields.List)
	all := newAtomSet(n, func(int) bool { return true })
	of := func(r *operationRule) atomSet {
		return newAtomSet(n, func(i int) bool { return len(r.fields) == 0 || anyMatch(r.fields, k.rootFields.List[i].Witness) })
	}
	and := func(x, y uint64) uint64 { return x & y }
	without := func(x, y uint64) uint64 { return x &^ y }
	var list []*message
	for _, kind := range []string{"query", "mutation", "subscription"} {
		for c, class := range k.operationNames.List {
			seen := map[string]bool{}
			add := func(s atomSet) error {
				name := fmt.Sprint(s)
				if seen[name] || !slices.ContainsFunc(s, func(w uint64) bool { return w != 0 }) {
					return nil
				}
				seen[name] = true
				m := &message{form: operation, kind: kind, name: class.Witness, parts: []part{{k.operationNames, "named", c}}}
				for i, f := range k.rootFields.List {
					if s.has(i) {
						m.fields, m.atoms = append(m.fields, f.Witness), append(m.atoms, i)
					}
				}
				list = append(list, m)
				if len(list) > maxRequests {
					return &TooManyError{"kinds of operations", maxRequests}
				}
				return a.spend(n)
			}
			for i := range n {
				if err := add(newAtomSet(n, func(o int) bool { return o == i })); err != nil {
					return nil, err
				}
			}
			if err := add(all); err != nil {
				return nil, err
			}
			for _, some := range groups {
				sets := []atomSet{all}
				denied := make(atomSet, len(all))
				for _, s := range some {
					for i := range s.rules.deny {
						if one := &s.rules.deny[i]; one.about(kind, class.Witness) {
							denied = denied.combine(of(one), func(x, y uint64) uint64 { return x | y })
						}
					}
					if !s.grants {
						continue
					}
					var next []atomSet
					known := map[string]bool{}
					for i := range s.rules.allow {
						one := &s.rules.allow[i]
						if !one.about(kind, class.Witness) {
							continue
						}
						fields := of(one)
						for _, set := range sets {
							both := set.combine(fields, and)
							if name := fmt.Sprint(both); !known[name] {
								known[name] = true
								next = append(next, both)
							}
							if len(next) > maxRequests {
								return nil, &TooManyError{"kinds of operations", maxRequests}
							}
							if err := a.spend(len(both)); err != nil {
								return nil, err
							}
						}
					}
					sets = next
				}
				for _, s := range sets {
					if err := add(s.combine(denied, without)); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	for _, key := range k.keys {
		list = append(list, &message{form: stored, key: key})
	}
	sortMessages(list)
	k.operationsBy[key] = list
	return list, nil
}

// sortMessages puts operations into an order that does not depend on maps.
func sortMessages(list []*message) {
	slices.SortStableFunc(list, func(x, y *message) int {
		return strings.Compare(fmt.Sprint(x.form, x.kind, x.name, " ", len(x.fields), x.fields, x.key), fmt.Sprint(y.form, y.kind, y.name, " ", len(y.fields), y.fields, y.key))
	})
}
