package analyse

import (
	"fmt"
	"slices"
	"strings"
)

// box is a product: these callers may do these methods on these paths.
type box struct {
	traffic Traffic
	was, is Grant
	callers []int
	methods []int
	paths   []int
	query   []string
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
		}
		list = append(list, b)
	}
	list = merge(list, func(b *box) string { return fmt.Sprint(b.callers, b.methods, b.paths) },
		func(to, from *box) { to.query = append(to.query, from.query...) })
	for _, b := range list {
		if b.traffic == HTTP && len(b.query) == c.requests.byPlace[[2]int{b.paths[0], b.methods[0]}].count {
			b.query = nil
		}
		slices.Sort(b.query)
	}
	list = merge(list, func(b *box) string { return fmt.Sprint(b.callers, b.paths, strings.Join(b.query, "|")) },
		func(to, from *box) { to.methods = append(to.methods, from.methods...) })
	list = merge(list, func(b *box) string { return fmt.Sprint(b.callers, sorted(b.methods), strings.Join(b.query, "|")) },
		func(to, from *box) { to.paths = append(to.paths, from.paths...) })
	list = merge(list, func(b *box) string {
		return fmt.Sprint(sorted(b.methods), sorted(b.paths), strings.Join(b.query, "|"))
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
				one.Paths = c.requests.describePaths(b.paths)
				one.Query = b.query
			}
			one.Policies = c.policies(group, b.callers)
			at := place{group.classes[0], group.ports}
			one.Witness = c.witness(at, &c.who.list[b.example.caller], b.traffic, q)
			out = append(out, one)
		}
	}
	return out
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
