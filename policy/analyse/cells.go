package analyse

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy/automaton"
)

// analysis holds what the steps of one comparison share.
type analysis struct {
	sides          []*side
	hostMap        *hostMap
	matchers       map[string]matcher
	prints         map[string]int
	callerBy       map[string]*callers
	valuesBy       map[string]*values
	pathBy         map[string]*automaton.Automaton
	cells          []*cell
	patternClasses map[string][]*hostClass
	byKey          map[string]*cell
	work           int
	at             time.Time // at which rules are alive or have lapsed
	timed          bool      // some rule ends
	patternBy      map[string]*pattern
}

func newAnalysis(at time.Time) *analysis {
	return &analysis{
		at: at, patternBy: map[string]*pattern{},
		matchers: map[string]matcher{}, prints: map[string]int{}, byKey: map[string]*cell{},
		callerBy: map[string]*callers{}, valuesBy: map[string]*values{}, pathBy: map[string]*automaton.Automaton{},
	}
}

// cell is a set of hosts and ports for which the sides hold the same endpoints,
// so that one judgement of callers and requests is good for all of them.
type cell struct {
	sides    [][]*endpoint // by side, in the order in which the engine asks them
	places   []place
	who      *callers
	requests *requests
	guarded  []bool    // by side: what nobody looks into is refused here
	groups   [][]int   // of the endpoints in sides: the group of their condition
	at       time.Time // zero: no rule ends
}

type place struct {
	host  *hostClass
	ports []uint16
}

// anyPort stands for the ports that no endpoint names.
const anyPort = 0

// partition makes the cells of all hosts and ports at which some side has an
// endpoint: ports that nothing names, too, if a side has one for every port.
func (a *analysis) partition() error {
	for i, s := range a.sides {
		for _, ep := range s.guards {
			ep.side = i
		}
		for _, ep := range s.endpoints {
			ep.side = i
			key := ep.print
			n, ok := a.prints[key]
			if !ok {
				n = len(a.prints)
				a.prints[key] = n
			}
			ep.id = n
		}
	}
	var err error
	if a.hostMap, err = a.hosts(a.sides); err != nil {
		return err
	}
	for i := range a.hostMap.classes {
		class := &a.hostMap.classes[i]
		ports := map[uint16][]*endpoint{}
		var allPorts []*endpoint
		for _, ep := range class.endpoints {
			if ep.ports == nil {
				allPorts = append(allPorts, ep)
			}
			for _, p := range ep.ports {
				if p != 0 {
					ports[p] = append(ports[p], ep)
				}
			}
		}
		if len(allPorts) > 0 {
			for p := range ports {
				ports[p] = append(ports[p], allPorts...)
			}
			ports[anyPort] = allPorts
		}
		list := make([]uint16, 0, len(ports))
		for p := range ports {
			list = append(list, p)
		}
		slices.Sort(list)
		for _, p := range list {
			c := a.cellOf(class, ports[p])
			if n := len(c.places); n > 0 && c.places[n-1].host == class {
				c.places[n-1].ports = append(c.places[n-1].ports, p)
			} else {
				c.places = append(c.places, place{class, []uint16{p}})
			}
		}
	}
	return nil
}

// cellOf is the cell of some endpoints of a host, made if there is none.
func (a *analysis) cellOf(class *hostClass, eps []*endpoint) *cell {
	sides := a.sorted(eps)
	guarded := class.guarded(sides)
	key := cellKey(sides, guarded)
	c := a.byKey[key]
	if c == nil {
		c = &cell{sides: sides, guarded: guarded}
		if a.timed {
			c.at = a.at
		}
		a.byKey[key] = c
		a.cells = append(a.cells, c)
	}
	return c
}

func cellKey(sides [][]*endpoint, guarded []bool) string {
	var b strings.Builder
	for i, list := range sides {
		if guarded[i] {
			b.WriteByte('g')
		}
		for _, ep := range list {
			fmt.Fprintf(&b, "%d ", ep.id)
		}
		b.WriteByte('|')
	}
	return b.String()
}

// sorted puts endpoints into the order in which the engine asks them: the named
// host, then patterns with a longer literal end, then hostless ones.
func (a *analysis) sorted(eps []*endpoint) [][]*endpoint {
	sides := make([][]*endpoint, len(a.sides))
	for _, ep := range eps {
		sides[ep.side] = append(sides[ep.side], ep)
	}
	rank := func(ep *endpoint) int {
		switch {
		case ep.host.every:
			return 1 << 20
		case ep.host.literal.IsZero():
			return 1<<10 - len(literalSuffix(ep.host.text))
		}
		return 0
	}
	for _, list := range sides {
		slices.SortFunc(list, func(x, y *endpoint) int { return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(x.order, y.order)) })
	}
	return sides
}

// same reports whether two sides hold equal endpoints: then they treat every
// caller and request of the cell alike, whatever it is.
func (c *cell) same(x, y int) bool {
	ids := func(side int) []int {
		list := make([]int, len(c.sides[side]))
		for i, ep := range c.sides[side] {
			list[i] = ep.id
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	return c.guarded[x] == c.guarded[y] && slices.Equal(ids(x), ids(y))
}

// unknown is what of some sides cannot be told exactly here.
func (c *cell) unknown() []Unknown {
	var list []Unknown
	for _, s := range c.sides {
		for _, ep := range s {
			list = append(list, ep.unknown...)
		}
	}
	return list
}

// prepare lists the callers and requests that the cell's endpoints tell apart.
func (a *analysis) prepare(c *cell) (err error) {
	if c.who != nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("rules for %s: %w", c.name(), err)
		}
	}()
	if c.who, err = a.callersOf(c); err != nil {
		return err
	}
	endpoints := 0
	for _, list := range c.sides {
		groups := make([]int, len(list))
		for i, ep := range list {
			groups[i] = c.who.group[ep.net.who.print]
		}
		c.groups = append(c.groups, groups)
		endpoints += len(list)
	}
	if c.requests, err = a.requestsOf(c); err != nil {
		return err
	}
	rules, open := 0, 0
	for i := range c.requests.list {
		rules += 1 + len(c.requests.rules[c.requests.list[i].path])
	}
	if c.requests.reads {
		rules += len(c.requests.list) * endpoints // each says something of each message
	}
	if err := a.spend(len(c.who.list) * (rules + endpoints)); err != nil {
		return err
	}
	for i := range c.who.list {
		for _, groups := range c.groups {
			for _, g := range groups {
				if c.who.list[i].taken.has(g) {
					open++
				}
			}
		}
	}
	return a.spend(open * len(c.requests.rules))
}

// maxWork bounds all cells of one comparison together, in steps of some tens
// of nanoseconds. Two policies of 1,000 rules that differ in each need about
// two millions.
const maxWork = 1 << 28

// TooMuchWorkError says that a comparison was given up.
type TooMuchWorkError struct{}

func (*TooMuchWorkError) Error() string {
	return "analyse policy: the rules overlap in too many ways to compare them all"
}

// AtBound reports whether an analysis ended because it reached one of its bounds.
func AtBound(err error) bool {
	var (
		many   *TooManyError
		work   *TooMuchWorkError
		states *automaton.TooLargeError
	)
	return errors.As(err, &many) || errors.As(err, &work) || errors.As(err, &states)
}

// stepsOfAutomata is how many steps of an automaton's construction are one here.
const stepsOfAutomata = 8

// classify is automaton.Classify, with its work counted.
func (a *analysis) classify(within *automaton.Automaton, sets []*automaton.Automaton) (*automaton.Classes, error) {
	c, err := automaton.Classify(within, sets)
	if err != nil {
		return nil, err
	}
	return c, a.spend(c.Work() / stepsOfAutomata)
}

func (a *analysis) spend(steps int) error {
	if a.work += steps; a.work > maxWork {
		return &TooMuchWorkError{}
	}
	return nil
}

// name is one host and port of the cell.
func (c *cell) name() string {
	at := c.places[0]
	host := at.host.witness.String()
	if len(at.ports) == 0 || at.ports[0] == anyPort {
		return host
	}
	return fmt.Sprintf("%s port %d", host, at.ports[0])
}
