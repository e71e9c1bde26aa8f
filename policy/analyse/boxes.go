package analyse

import (
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy"
)

// box is a product: these callers may do these methods on these paths.
type box struct {
	traffic Traffic
	was, is Grant
	callers []int
	methods []int
	paths   []int
	query   []string
	held    []*message // nil: messages are not read there
	example item
}

// boxes joins items that differ in one dimension alone, first by query, then by
// method, path and caller, and gives every box its hosts.
func (a *analysis) boxes(c *cell, items []item) []Class {
	var list []*box
	for _, i := range items {
		b := &box{traffic: i.traffic, was: i.was, is: i.is, callers: []int{i.caller}, example: i}
		if i.traffic == HTTP {
			q := &c.requests.list[i.request]
			b.methods, b.paths = []int{q.method}, []int{q.path}
			b.query = []string{c.requests.describeQuery(q)}
			if q.message != nil {
				b.held = []*message{q.message}
			}
		}
		list = append(list, b)
	}
	held := func(b *box) string {
		if !c.requests.reads {
			return ""
		}
		return strings.Join(b.messages(c), "|") + fmt.Sprint(c.isText(b))
	}
	alike := func(b *box) string { return fmt.Sprint(b.callers, b.methods, b.paths) }
	if c.requests.reads {
		alike = func(b *box) string { return fmt.Sprintf("%v %v %v %p", b.callers, b.methods, b.paths, b.only()) }
	}
	list = merge(list, alike,
		func(to, from *box) { to.query = append(to.query, from.query...) })
	for _, b := range list {
		if b.traffic != HTTP {
			continue
		}
		if m := b.only(); m != nil && m.query != nil || len(b.query) == c.requests.byPlace[[2]int{b.paths[0], b.methods[0]}].count {
			b.query = nil
		}
		slices.Sort(b.query)
	}
	if c.requests.reads {
		list = merge(list, func(b *box) string { return fmt.Sprint(b.callers, b.methods, b.paths, strings.Join(b.query, "|")) },
			func(to, from *box) { to.held = append(to.held, from.held...) })
	}
	for _, b := range list {
		ofPackages := !slices.ContainsFunc(b.held, func(m *message) bool { return m.form != packaged })
		if b.traffic == HTTP && !(ofPackages && c.readsPackages(b)) && len(b.held) == len(c.requests.byPlace[[2]int{b.paths[0], b.methods[0]}].messages) {
			b.held = nil
		}
	}
	list = merge(list, func(b *box) string { return fmt.Sprint(b.callers, b.paths, strings.Join(b.query, "|"), held(b)) },
		func(to, from *box) { to.methods = append(to.methods, from.methods...) })
	if c.requests.reads {
		list = c.mergePackages(list)
	}
	list = merge(list, func(b *box) string {
		return fmt.Sprint(b.callers, sorted(b.methods), b.paths == nil, strings.Join(b.query, "|"), held(b))
	}, func(to, from *box) { to.paths = append(to.paths, from.paths...) })
	list = merge(list, func(b *box) string {
		return fmt.Sprint(sorted(b.methods), sorted(b.paths), strings.Join(b.query, "|"), held(b))
	}, func(to, from *box) { to.callers = append(to.callers, from.callers...) })

	var out []Class
	for _, group := range a.byPorts(c) {
		hosts := a.describeHosts(group.classes)
		for _, b := range list {
			one := Class{Traffic: b.traffic, Was: b.was, Is: b.is, Hosts: hosts, Ports: group.ports, Callers: c.who.describe(b.callers)}
			var q *request
			if b.traffic == HTTP {
				q = &c.requests.list[b.example.request]
				one.Methods = c.requests.describeMethods(b.methods)
				if b.paths != nil {
					one.Paths = c.requests.describePaths(b.paths)
				}
				one.Query = b.query
				one.Messages = b.messages(c)
			}
			one.Policies = c.policies(group, b.callers)
			one.credentials = c.credentials(b)
			at := place{group.classes[0], group.ports}
			one.Witness = c.witness(at, &c.who.list[b.example.caller], b.traffic, q)
			out = append(out, one)
		}
	}
	return out
}

// mergePackages joins boxes about packages whatever their paths, which follow from
// what is asked for: but those of which the same may be asked for at another path.
func (c *cell) mergePackages(list []*box) []*box {
	groups := map[string][]*box{}
	key := func(b *box) string {
		if b.traffic != HTTP || b.held == nil || slices.ContainsFunc(b.held, func(m *message) bool { return m.form != packaged }) {
			return ""
		}
		return fmt.Sprint(b.was, b.is, " ", sorted(b.callers), sorted(b.methods), strings.Join(b.query, "|"))
	}
	for _, b := range list {
		if k := key(b); k != "" {
			groups[k] = append(groups[k], b)
		}
	}
	joins := map[*box]bool{}
	for _, group := range groups {
		for _, b := range c.tellPaths(group) {
			joins[b] = true
		}
	}
	var out []*box
	joined := map[string]*box{}
	for _, b := range list {
		k := key(b)
		if !joins[b] {
			out = append(out, b)
			continue
		}
		if first := joined[k]; first != nil {
			first.held = append(first.held, b.held...)
			continue
		}
		one := *b
		one.paths, one.held = nil, slices.Clone(b.held)
		joined[k] = &one
		out = append(out, &one)
	}
	return out
}

// readsPackages reports whether on some side packages are what is judged at the one path
// of a box, and not the path.
func (c *cell) readsPackages(b *box) bool {
	for side := range c.sides {
		v := c.view(side, &c.who.list[b.callers[0]])
		if v.enter(b.paths[0]); v.at.governs != nil && v.at.governs.protocol == policy.Package {
			return true
		}
	}
	return false
}

// tellPaths are the boxes about packages that hold all that is asked for in the same
// words anywhere.
func (c *cell) tellPaths(group []*box) []*box {
	r := c.requests
	text := func(m *message) string { return strings.Join(r.kinds.describe([]*message{m}, false), "") }
	method := r.list[group[0].example.request].method
	group = slices.DeleteFunc(slices.Clone(group), func(b *box) bool { return r.list[b.example.request].method != method })
	words := map[*message]string{}
	for p := range r.classes.List {
		for _, m := range r.byPlace[[2]int{p, method}].messages {
			if m != nil && m.form == packaged {
				words[m] = text(m)
			}
		}
	}
	for {
		held := map[*message]bool{}
		for _, b := range group {
			for _, m := range b.held {
				held[m] = true
			}
		}
		elsewhere := map[string]bool{}
		for m, text := range words {
			if !held[m] {
				elsewhere[text] = true
			}
		}
		rest := slices.DeleteFunc(slices.Clone(group), func(b *box) bool {
			return slices.ContainsFunc(b.held, func(m *message) bool { return elsewhere[words[m]] })
		})
		if len(rest) == len(group) {
			return rest
		}
		group = rest
	}
}

// only is the one message of a box; nil where none is read.
func (b *box) only() *message {
	if len(b.held) == 0 {
		return nil
	}
	return b.held[0]
}

// isText: the box is about text messages.
func (c *cell) isText(b *box) bool {
	return b.traffic == HTTP && slices.ContainsFunc(b.methods, func(m int) bool {
		return slices.Contains(c.requests.methods[m].names, textMethod)
	})
}

// messages describes what the box holds; nil: whatever it is.
func (b *box) messages(c *cell) []string {
	if b.held == nil {
		return nil
	}
	return c.requests.kinds.describe(b.held, b.is < b.was)
}

// merge joins boxes of one change and key, in the order of the first.
func merge(list []*box, key func(*box) string, join func(to, from *box)) []*box {
	byKey := map[string]*box{}
	var out []*box
	for _, b := range list {
		k := fmt.Sprint(b.traffic, b.was, b.is, " ", key(b))
		if first := byKey[k]; first != nil {
			join(first, b)
			continue
		}
		byKey[k] = b
		out = append(out, b)
	}
	return out
}

func sorted(list []int) []int {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// portGroup are the hosts of a cell that have the same ports there.
type portGroup struct {
	ports   []uint16
	classes []*hostClass
}

func (a *analysis) byPorts(c *cell) []portGroup {
	byKey := map[string]int{}
	var out []portGroup
	for _, p := range c.places {
		key := fmt.Sprint(p.ports)
		i, ok := byKey[key]
		if !ok {
			i = len(out)
			byKey[key] = i
			out = append(out, portGroup{ports: p.ports})
		}
		out[i].classes = append(out[i].classes, p.host)
	}
	return out
}

// policies names the network policies that take some of the callers at some of
// the hosts.
func (c *cell) policies(group portGroup, callers []int) []string {
	var taken groupSet
	for _, i := range callers {
		taken = taken.or(c.who.list[i].taken)
	}
	some := &caller{taken: taken}
	var out []string
	for _, class := range group.classes {
		for _, ep := range class.endpoints {
			at := ep.ports == nil || slices.ContainsFunc(group.ports, func(p uint16) bool { return slices.Contains(ep.ports, p) })
			if at && c.who.takes(some, ep.net.who) && !slices.Contains(out, ep.net.key) {
				out = append(out, ep.net.key)
			}
		}
	}
	slices.Sort(out)
	return out
}

// credentials say what the last side's endpoints do with what a box lets through.
func (c *cell) credentials(b *box) []string {
	var out []string
	for i, ep := range c.sides[len(c.sides)-1] {
		if ep.spec == nil || !slices.ContainsFunc(b.callers, func(k int) bool { return c.who.list[k].taken.has(c.groups[len(c.sides)-1][i]) }) ||
			b.traffic == HTTP && ep.inspect && b.paths != nil && !slices.ContainsFunc(b.paths, func(p int) bool { return c.requests.selects(ep, p) }) {
			continue
		}
		for _, text := range credentialTexts(&ep.spec.Credentials) {
			if !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}
