package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/netname"
)

// Bounds of network_middlewares, which are OpenShell's.
const (
	maxMiddlewares = 10
	maxSelectors   = 32 // include and exclude of one together
)

// builtInMiddlewares need no registration; their prefixes are kept for them.
var builtInMiddlewares = map[string][]string{
	"openshell/": {"openshell/regex"},
	"creel/":     {"creel/pii", "creel/secrets"},
}

func (d *decoder) middlewares(v value, networks []Network) []Middleware {
	var list []Middleware
	orders, left := make(map[int]string), maxCompared
	d.mapping(v, "of middlewares", func(key *yaml.Node, val value) {
		k := value{key, val.path}
		if strings.TrimSpace(key.Value) == "" {
			d.fault(k, Missing, "", "a name for the middleware", "")
		}
		m, order, selection := d.middleware(k, val)
		if first, dup := orders[m.Order]; dup {
			d.fault(order, Duplicate, fmt.Sprintf("order %d, which %s has", m.Order, first), "", "give every middleware an order of its own")
		} else {
			orders[m.Order] = val.path
		}
		if !m.FailOpen {
			left = d.skipped(&m, selection, networks, left)
		}
		list = append(list, m)
	})
	if len(list) > maxMiddlewares {
		d.fault(v, TooMuch, strconv.Itoa(len(list))+" middlewares", "at most "+strconv.Itoa(maxMiddlewares), "")
	}
	slices.SortStableFunc(list, func(a, b Middleware) int { return cmp.Compare(a.Order, b.Order) })
	return list
}

// middleware decodes one entry, and says where its order and its selectors stand.
func (d *decoder) middleware(key, v value) (m Middleware, order, selection value) {
	m = Middleware{Key: key.n.Value, Name: key.n.Value, At: d.at(key.n)}
	order, selection = value{key.n, pathKey(v.path, "order")}, value{key.n, pathKey(v.path, "endpoints")}
	s, ok := d.section(v, "a middleware", middlewareWords)
	if !ok {
		return m, order, selection
	}
	if n, ok := s.given("name"); ok {
		m.Name, _ = d.text(n, "a text")
	}
	if i, ok := s.given("middleware"); ok {
		m.Implementation = d.implementation(i)
	} else {
		d.fault(value{key.n, pathKey(v.path, "middleware")}, Missing, "", "the name of an implementation", "write middleware: creel/secrets, or what is registered")
	}
	if o, ok := s.get("order"); ok {
		order = o
		m.Order, _ = d.number(o, math.MinInt32, math.MaxInt32, "a whole number")
	}
	if c, ok := s.get("config"); ok && !isNull(c.n) {
		if m.Config, ok = d.anything(c).(map[string]any); !ok {
			d.fault(c, WrongType, describe(c.n), "a mapping", "")
		}
	}
	if o, ok := s.given("on_error"); ok {
		const want = "fail_closed or fail_open"
		text, ok := d.text(o, want)
		switch {
		case !ok || text == "fail_closed":
		case text == "fail_open":
			m.FailOpen = true
			d.warn(o, Weak, "on_error: fail_open lets traffic pass that the middleware could not look at", "write fail_closed")
		default:
			d.fault(o, BadValue, show(text), want, didYouMean(text, "fail_closed", "fail_open"))
		}
	}
	if e, ok := s.get("endpoints"); ok {
		selection = e
		d.selection(e, &m)
	} else {
		d.fault(selection, Missing, "", "the hosts that it is applied to", "write endpoints: {include: [api.example.com]}")
	}
	return m, order, selection
}

func (d *decoder) implementation(v value) string {
	text, ok := d.text(v, "the name of an implementation")
	if ok && strings.TrimSpace(text) == "" {
		d.fault(v, Missing, "", "the name of an implementation", "")
	}
	for prefix, names := range builtInMiddlewares {
		if strings.HasPrefix(text, prefix) && !slices.Contains(names, text) {
			d.fault(v, Reserved, show(text), strings.Join(names, ", ")+", or a name without "+prefix, didYouMean(text, names...))
		}
	}
	return text
}

func (d *decoder) selection(v value, m *Middleware) {
	s, ok := d.section(v, "endpoints of a middleware", selectionWords)
	if !ok {
		return
	}
	n := 0
	read := func(key string) (list []netname.Selector) {
		l, ok := s.get(key)
		if !ok {
			return nil
		}
		d.list(l, "host patterns", func(_ int, item value) {
			n++
			const want = "a host name, or a pattern like *.example.com"
			text, ok := d.text(item, want)
			if !ok {
				return
			}
			sel, err := netname.ParseSelector(text)
			if err != nil {
				d.fault(item, BadValue, show(text)+" ("+plainError(err)+")", want, "")
				return
			}
			list = append(list, sel)
		})
		return list
	}
	before := len(d.faults)
	m.Include = read("include")
	if n == 0 && len(d.faults) == before {
		at, ok := s.get("include")
		if !ok {
			at = value{v.n, pathKey(v.path, "include")}
		}
		d.fault(at, Missing, "", "at least one host pattern", "")
	}
	m.Exclude = read("exclude")
	if n > maxSelectors {
		d.fault(v, TooMuch, strconv.Itoa(n)+" patterns", "at most "+strconv.Itoa(maxSelectors)+" in include and exclude", "use wildcards")
	}
}

// maxCompared bounds the selectors that are compared with endpoints.
const maxCompared = 1 << 17

// skipped: what is opaque cannot be looked at, so a middleware that has to
// look would deny all of it. It gives back how many comparisons are left.
func (d *decoder) skipped(m *Middleware, at value, networks []Network, left int) int {
	for i := range networks {
		for j := range networks[i].Endpoints {
			e := &networks[i].Endpoints[j]
			if e.TLS != TLSSkip || e.Host != "" && e.Pattern.String() == "" {
				continue
			}
			if left -= len(m.Include) + len(m.Exclude); left < 0 {
				d.fault(at, TooMuch, "too many tls: skip endpoints to compare with", "fewer", "")
				return 0
			}
			if m.mayTake(e) {
				d.fault(at, Conflict, fmt.Sprintf("a fail_closed middleware over the tls: skip endpoint on line %d", e.At.Line), "",
					"exclude its host, remove tls: skip, or write on_error: fail_open")
				return left
			}
		}
	}
	return left
}

// anything decodes a value whose meaning is not the policy's: text, number,
// boolean, nil, list or mapping.
func (d *decoder) anything(v value) any {
	switch {
	case isNull(v.n):
		return nil
	case v.n.Kind == yaml.MappingNode:
		m := make(map[string]any)
		d.mapping(v, "of settings", func(key *yaml.Node, val value) { m[key.Value] = d.anything(val) })
		return m
	case v.n.Kind == yaml.SequenceNode:
		list := []any{}
		d.list(v, "values", func(_ int, item value) { list = append(list, d.anything(item)) })
		return list
	}
	switch v.n.ShortTag() {
	case "!!bool":
		return d.boolean(v)
	case "!!int", "!!float":
		if n, err := strconv.ParseFloat(v.n.Value, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n
		}
		d.fault(v, BadValue, show(v.n.Value), "a decimal number", "")
		return nil
	}
	if v.n.ShortTag() != "!!str" || len(v.n.Value) > maxText {
		text, _ := d.text(v, "a text")
		return text
	}
	return v.n.Value // of any characters, line ends too
}
