package analyse

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/target"
)

// requests are the sets of HTTP requests that the endpoints of a cell tell
// apart: paths by their automaton, methods by the words of the rules, queries by
// the values of the keys that rules name, and where endpoints read messages by
// what those hold (kinds.go).
type requests struct {
	pathNames
	paths     []string // patterns: selectors and rules
	slash     int      // index in paths of the paths with an encoded slash; -1: none is let through
	slashOpen bool     // some endpoint lets it through
	classes   *automaton.Classes
	methods   []methodClass
	list      []request
	byPlace   map[[2]int]requestGroup // path class and method class
	indexOf   map[string]int          // of paths
	rules     [][]ruleAt              // by path class: those whose paths and whose endpoint's hold
	reads     bool                    // some endpoint reads messages
	packages  *packageRulesOf
	kinds     *kinds // of messages; nil unless reads
}

type methodClass struct {
	names []string // of those that have a name here
	rest  bool     // and all others
}

// request is a set of requests.
type request struct {
	path, method int
	query        []condense // by key; empty: rules look at no key
	message      *message   // nil: messages are not read there
}

// requestGroup are the requests of one path and method class.
type requestGroup struct {
	keys     []*values
	count    int        // of kinds of queries
	messages []*message // each with every query that it may have
}

// pathNames are made when paths are described.
type pathNames struct {
	all, plain     *coverage // plain: without encoded slashes; nil if those are let through
	place          []int     // of a class in plain
	occur, slashes int       // classes
}

// ruleAt is a rule with who may use it.
type ruleAt struct {
	side  int
	group int
	deny  bool
	rule  *rule
	ep    *endpoint
}

const maxRequests = 1 << 15 // in one cell

// selectorName keeps selectors apart from globs of rules of the same text.
// grantName what they govern apart from what they let rules allow: not the bare
// prefix of a final /**.
const (
	selectorName = "selector "
	grantName    = "grants "
)

// standardMethods have a name of their own in reports (RFC 9110 §9, RFC 5789),
// the usual ones first, which examples are taken from.
var standardMethods = [...]string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"}

func (a *analysis) requestsOf(c *cell) (*requests, error) {
	r := &requests{slash: -1, byPlace: map[[2]int]requestGroup{}, indexOf: map[string]int{}}
	inspected := false
	var words []string
	var sets []*automaton.Automaton
	addSet := func(name string, set func() (*automaton.Automaton, error)) error {
		if _, known := r.indexOf[name]; known {
			return nil
		}
		one := a.pathBy[name]
		if one == nil {
			var err error
			if one, err = set(); err != nil {
				return err
			}
			a.pathBy[name] = one
			if err := a.spend(one.Work() / stepsOfAutomata); err != nil {
				return err
			}
		}
		r.indexOf[name] = len(r.paths)
		r.paths = append(r.paths, name)
		sets = append(sets, one)
		return nil
	}
	addPath := func(name string) error {
		return addSet(name, func() (*automaton.Automaton, error) { return a.pathSet(name) })
	}
	slash, opaque := false, false
	for _, list := range c.sides {
		for _, ep := range list {
			if !ep.inspect {
				opaque = true
				continue
			}
			inspected = true
			slash = slash || ep.slash
			if ep.messages != nil {
				r.reads = true
				if err := a.messagePaths(ep.messages, addSet); err != nil {
					return nil, err
				}
			}
			if ep.selector != "" {
				if err := errors.Join(addPath(selectorName+ep.selector), addPath(grantName+ep.selector)); err != nil {
					return nil, err
				}
			}
			for _, rules := range [][]rule{ep.allow, ep.deny} {
				for _, one := range rules {
					if one.method != "*" && !slices.Contains(words, one.method) {
						words = append(words, one.method)
					}
					if one.path == "**" {
						continue
					}
					if err := addPath(one.path); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	if !inspected {
		return r, nil
	}
	var err error
	if r.packages, err = c.packageRules(); err != nil {
		return nil, err
	}
	if err := r.packages.paths(addSet); err != nil {
		return nil, err
	}
	r.slashOpen = slash
	within := automaton.Paths()
	if slash || opaque {
		r.slash = len(sets)
		sets = append(sets, automaton.EncodedSlash())
	} else {
		within = automaton.PlainPaths()
	}
	if r.classes, err = a.classify(within, sets); err != nil {
		return nil, fmt.Errorf("path patterns: %w", err)
	}
	r.methods = methodClasses(words, r.reads)
	if err := a.rulesByPath(c, r); err != nil {
		return nil, err
	}
	if r.reads {
		if r.kinds, err = a.kindsOf(c, r); err != nil {
			return nil, err
		}
	}
	for p, class := range r.classes.List {
		if len(class.Witness) > target.MaxPath {
			continue // a shortest path that is too long: there is none
		}
		for m := range r.methods {
			if err := a.queries(r, p, m); err != nil {
				return nil, err
			}
			if len(r.list) > maxRequests {
				return nil, &TooManyError{"kinds of requests", maxRequests}
			}
		}
	}
	return r, nil
}

// pathSet is the set of a pattern; most rules of a policy end in the same few.
func (a *analysis) pathSet(name string) (*automaton.Automaton, error) {
	if set := a.pathBy[name]; set != nil {
		return set, nil
	}
	set, err := newPathSet(name)
	if err != nil {
		return nil, err
	}
	a.pathBy[name] = set
	return set, a.spend(set.Work() / stepsOfAutomata)
}

func newPathSet(name string) (*automaton.Automaton, error) {
	if text, ok := strings.CutPrefix(name, selectorName); ok {
		s, err := target.ParseSelector(text)
		if err != nil {
			return nil, err
		}
		return automaton.Selector(s)
	}
	if text, ok := strings.CutPrefix(name, grantName); ok {
		s, err := target.ParseSelector(text)
		if err != nil {
			return nil, err
		}
		return automaton.Glob(s.Globs()[0]) // Selector.Grants: a selector that was lowered has one
	}
	g, err := glob.Compile(name, '/')
	if err != nil {
		return nil, err
	}
	return automaton.Glob(g)
}

// methodClasses puts methods together that the same words of rules match; where
// messages are read, every method that has a name stands alone.
func methodClasses(words []string, apart bool) []methodClass {
	names := slices.Clone(standardMethods[:])
	if apart {
		names = append(names, textMethod)
	}
	for _, w := range words {
		if !slices.Contains(names, w) {
			names = append(names, w)
		}
	}
	slices.Sort(names[len(standardMethods):])
	names = slices.Compact(names)
	byTaken := map[string]int{}
	var list []methodClass
	add := func(name string, rest bool) {
		key := ""
		for i, w := range words {
			if takesMethod(w, name) {
				key += fmt.Sprint(i, " ")
			}
		}
		i, ok := byTaken[key]
		if !ok {
			i = len(list)
			byTaken[key] = i
			list = append(list, methodClass{})
		}
		if rest {
			list[i].rest = true
		} else {
			list[i].names = append(list[i].names, name)
		}
	}
	for _, n := range names {
		if apart {
			list = append(list, methodClass{names: []string{n}})
		} else {
			add(n, false)
		}
	}
	if apart {
		return append(list, methodClass{rest: true})
	}
	add("", true)
	return list
}

// takesMethod: HEAD also matches what is written for GET.
func takesMethod(word, method string) bool {
	return word == "*" || word == method || word == "GET" && method == "HEAD"
}

// example is a method of the class.
func (m methodClass) example(all []methodClass) string {
	if len(m.names) > 0 {
		return m.names[0]
	}
	name := "OTHER"
	for slices.ContainsFunc(all, func(c methodClass) bool { return slices.Contains(c.names, name) }) {
		name += "X"
	}
	return name
}

// of is the class of a method.
func (r *requests) method(method string) int {
	method = strings.ToUpper(method)
	rest := -1
	for i, m := range r.methods {
		if slices.Contains(m.names, method) {
			return i
		}
		if m.rest {
			rest = i
		}
	}
	return rest
}

// takesPath reports whether a pattern holds for a class of paths.
func (r *requests) takesPath(pattern string, class int) bool {
	if pattern == "**" {
		return true
	}
	return r.classes.List[class].In(r.indexOf[pattern])
}

// grants: rules of an endpoint may allow a class of paths.
func (r *requests) grants(ep *endpoint, class int) bool {
	return ep.selector == "" || r.takesPath(grantName+ep.selector, class)
}

func (r *requests) selects(ep *endpoint, class int) bool {
	return ep.selector == "" || r.takesPath(selectorName+ep.selector, class)
}

// hasSlash reports whether the paths of a class hold an encoded slash.
func (r *requests) hasSlash(class int) bool {
	return r.slash >= 0 && r.classes.List[class].In(r.slash)
}

// rulesByPath finds the rules of every class of paths.
func (a *analysis) rulesByPath(c *cell, r *requests) error {
	type of struct {
		ep *endpoint
		ruleAt
	}
	byPattern := map[string][]of{}
	add := func(ep *endpoint, rules []rule, one ruleAt) {
		one.ep = ep
		for k := range rules {
			one.rule = &rules[k]
			byPattern[rules[k].path] = append(byPattern[rules[k].path], of{ep, one})
		}
	}
	for side, list := range c.sides {
		for i, ep := range list {
			add(ep, ep.allow, ruleAt{side: side, group: c.groups[side][i]})
			add(ep, ep.deny, ruleAt{side: side, group: c.groups[side][i], deny: true})
		}
	}
	r.rules = make([][]ruleAt, len(r.classes.List))
	for p, class := range r.classes.List {
		take := func(pattern string) {
			for _, one := range byPattern[pattern] {
				if r.selects(one.ep, p) && (one.deny || r.grants(one.ep, p)) {
					r.rules[p] = append(r.rules[p], one.ruleAt)
				}
			}
		}
		take("**")
		for i, pattern := range r.paths {
			if class.In(i) {
				take(pattern)
			}
		}
		if err := a.spend(len(r.paths)/stepsOfAutomata + len(r.rules[p])); err != nil {
			return err
		}
	}
	return nil
}

// takesMethod reports whether a rule's method holds for a class of methods.
func (r *requests) takesMethod(one *rule, method int) bool {
	name := ""
	if m := r.methods[method]; len(m.names) > 0 {
		name = m.names[0]
	}
	return takesMethod(one.method, name)
}

// queries adds the requests of one path and method, by what the rules that hold
// there say of queries.
func (a *analysis) queries(r *requests, path, method int) error {
	byKey := map[string][]string{}
	for _, one := range r.rules[path] {
		if !r.takesMethod(one.rule, method) {
			continue
		}
		for _, q := range one.rule.query {
			if !slices.Contains(byKey[q.key], q.matcher) {
				byKey[q.key] = append(byKey[q.key], q.matcher)
			}
		}
	}
	g := requestGroup{count: 1}
	names := make([]string, 0, len(byKey))
	for k := range byKey {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		slices.Sort(byKey[k])
		v, err := a.valuesOf(k, byKey[k])
		if err != nil {
			return err
		}
		g.keys = append(g.keys, v)
		if g.count *= len(v.list); g.count > maxRequests {
			return &TooManyError{"kinds of requests", maxRequests}
		}
	}
	g.messages = []*message{nil}
	if r.reads {
		var err error
		if g.messages, err = a.messagesAt(r, path, method); err != nil {
			return err
		}
	}
	for _, m := range g.messages {
		if m != nil && m.query != nil {
			r.list = append(r.list, request{path, method, g.queryOf(m.query), m})
			continue
		}
		for n := range g.count {
			one := request{path: path, method: method, message: m}
			for _, v := range g.keys {
				one.query = append(one.query, v.list[n%len(v.list)])
				n /= len(v.list)
			}
			r.list = append(r.list, one)
		}
		if len(r.list) > maxRequests {
			return &TooManyError{"kinds of requests", maxRequests}
		}
	}
	r.byPlace[[2]int{path, method}] = g
	return nil
}

// queryOf is the kind of a query.
func (g *requestGroup) queryOf(query map[string][]string) []condense {
	var list []condense
	for _, v := range g.keys {
		list = append(list, v.of(query[v.key]))
	}
	return list
}

// holds reports whether a rule of the request's path takes it: an allow rule wants every value
// of its keys to match, a deny rule one, and both want the keys to be there.
func (r *requests) holds(one *rule, q *request, deny bool) bool {
	if !r.takesMethod(one, q.method) {
		return false
	}
	if len(one.query) == 0 {
		return true
	}
	keys := r.byPlace[[2]int{q.path, q.method}].keys
	for _, want := range one.query {
		found := false
		for i, v := range keys {
			if v.key == want.key {
				found = q.query[i].meets(slices.Index(v.matchers, want.matcher), deny || one.oneValue)
			}
		}
		if !found {
			return false
		}
	}
	return true
}
