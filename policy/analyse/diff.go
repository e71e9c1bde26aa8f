package analyse

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy"
)

// Difference is what one policy changes against another.
type Difference struct {
	Allowed  []Class   `json:"newly_allowed"` // what was denied and is not any more
	Denied   []Class   `json:"newly_denied"`
	Recorded []Class   `json:"changed"`  // let through by both, by a rule or by audit alone
	Sections []Setting `json:"sections"` // files, limits, inference and so on
	// Unknown is what could not be compared exactly; if there is any, the rest
	// may not be all.
	Unknown []Unknown `json:"unknown"`
}

// Equal reports whether the policies mean the same. It is a proof.
func (d *Difference) Equal() bool {
	return len(d.Allowed)+len(d.Denied)+len(d.Recorded)+len(d.Sections)+len(d.Unknown) == 0
}

// Class is a set of connections or requests that one change applies to, with
// one of them. The set is the product of its parts; an empty part stands for
// all there are.
type Class struct {
	Traffic Traffic  `json:"traffic"`
	Was     Grant    `json:"was"`
	Is      Grant    `json:"is"`
	Hosts   []string `json:"hosts"`
	Ports   []uint16 `json:"ports"`
	Callers []string `json:"callers"`
	Methods []string `json:"methods,omitempty"`
	Paths   []string `json:"paths,omitempty"`
	Query   []string `json:"query,omitempty"`
	// Messages say what of a request's body, or of a text message, matters.
	Messages []string `json:"messages,omitempty"`
	Address  bool     `json:"addresses,omitempty"` // of what the host resolves to, some are treated otherwise
	// From and Until say when: from a time on, and before a time. Zero: there is no such bound.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// RequestsUnknown, of a connection: some endpoint there reads requests in a way
	// that this package cannot judge, so more than the connection may pass.
	RequestsUnknown bool `json:"requests_unknown,omitempty"`
	// Policies are the keys of the network policies, of both sides, that speak
	// of the hosts, ports and callers.
	Policies []string `json:"policies,omitempty"`
	Witness  Witness  `json:"witness"`

	credentials []string // of the endpoints of the last side that take some of it
}

// UnconfirmedError says that an engine does not do with a witness what the
// analysis says: a defect of one of them.
type UnconfirmedError struct {
	Witness    Witness
	Want, Have Grant
}

func (e *UnconfirmedError) Error() string {
	return fmt.Sprintf("analyse policy: internal error: the analysis says %s, the engine %s: %s", e.Want, e.Have, e.Witness)
}

// Diff compares two documents from a time on (zero: at all times). Every witness
// of the answer was confirmed by the engines of both.
func Diff(a, b *policy.Document, from time.Time) (*Difference, error) {
	runs := newRuns(a, b)
	defer runs()
	d := &Difference{Allowed: []Class{}, Denied: []Class{}, Recorded: []Class{}, Unknown: []Unknown{}}
	d.Sections = settings(a, b)
	starts := startsFrom(from, a, b)
	var before [3]map[string]int // the classes that lasted until now, by what they are
	for i, at := range starts {
		now, err := diffAt(a, b, at)
		if err != nil {
			return nil, err
		}
		d.Unknown = append(d.Unknown, now.Unknown...)
		for k, list := range []struct{ all, now *[]Class }{{&d.Allowed, &now.Allowed}, {&d.Denied, &now.Denied}, {&d.Recorded, &now.Recorded}} {
			last := map[string]int{}
			for _, c := range *list.now {
				key := c.key()
				n, lasts := before[k][key]
				if !lasts {
					n = len(*list.all)
					if i > 0 {
						c.From = at
					}
					*list.all = append(*list.all, c)
				}
				if i+1 < len(starts) {
					(*list.all)[n].Until = starts[i+1]
				} else {
					(*list.all)[n].Until = time.Time{}
				}
				last[key] = n
			}
			before[k] = last
		}
	}
	d.Unknown = append([]Unknown{}, dedupe(d.Unknown)...)
	return d, d.confirm(runs)
}

// key is all of a class but its witness and its time.
func (c Class) key() string {
	c.Witness, c.From, c.Until, c.credentials = Witness{}, time.Time{}, time.Time{}, nil
	return fingerprint(c)
}

// startsFrom cuts the time from a time on where some rule ends: these are the
// beginnings of the parts, in none of which a rule ends.
func startsFrom(from time.Time, docs ...*policy.Document) []time.Time {
	var ends []time.Time
	for _, doc := range docs {
		for i := range doc.Networks {
			for k := range doc.Networks[i].Endpoints {
				ends = append(ends, endsOf(&doc.Networks[i], &doc.Networks[i].Endpoints[k])...)
			}
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	if from.IsZero() {
		from = anyTime
		if len(ends) > 0 {
			from = ends[0].Add(-time.Second)
		}
	}
	starts := []time.Time{from}
	for _, t := range ends {
		if t.After(starts[len(starts)-1]) {
			starts = append(starts, t)
		}
	}
	return starts
}

// diffAt compares at one time.
func diffAt(a, b *policy.Document, at time.Time) (*Difference, error) {
	x := newAnalysis(at)
	for _, doc := range []*policy.Document{a, b} {
		s, err := x.lower(doc)
		if err != nil {
			return nil, err
		}
		x.sides = append(x.sides, s)
	}
	if err := x.partition(); err != nil {
		return nil, err
	}
	d := &Difference{}
	differ := false
	for _, c := range x.cells {
		if c.same(0, 1) {
			continue
		}
		differ = true
		open := c.unknown()
		if len(open) > 0 {
			d.Unknown = append(d.Unknown, open...)
			if slices.ContainsFunc(open, func(u Unknown) bool { return !u.requests }) {
				continue
			}
		}
		if err := x.prepare(c); err != nil {
			return nil, err
		}
		classes, unknown := x.compare(c)
		d.Unknown = append(d.Unknown, unknown...)
		for _, one := range classes {
			one.RequestsUnknown = one.Traffic == Connection && len(open)+len(unknown) > 0
			switch {
			case one.Was == Denied:
				d.Allowed = append(d.Allowed, one)
			case one.Is == Denied:
				d.Denied = append(d.Denied, one)
			default:
				d.Recorded = append(d.Recorded, one)
			}
		}
	}
	// A section that is not understood may say what happens to everything that
	// no endpoint names.
	print := func(doc *policy.Document) string { return strings.Join(unknownPrints(doc, documentFields), "|") }
	if differ || print(a) != print(b) {
		d.Unknown = append(d.Unknown, x.sides[0].unknown...)
		d.Unknown = append(d.Unknown, x.sides[1].unknown...)
	}
	return d, nil
}

// confirm asks the engines of both sides about every witness.
func (d *Difference) confirm(of func() ([]*run, error)) error {
	if len(d.Allowed)+len(d.Denied)+len(d.Recorded) == 0 {
		return nil
	}
	runs, err := of()
	if err != nil {
		return err
	}
	for _, list := range [][]Class{d.Allowed, d.Denied, d.Recorded} {
		for _, c := range list {
			for i, r := range runs {
				if err := confirm(r, c.Witness, []Grant{c.Was, c.Is}[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func confirm(r *run, w Witness, want Grant) error {
	have, err := r.judge(w)
	if err != nil {
		return fmt.Errorf("analyse policy: internal error: witness %s: %w", w, err)
	}
	if have != want {
		return &UnconfirmedError{w, want, have}
	}
	return nil
}

// item is one combination of a cell that two sides judge differently.
type item struct {
	caller  int
	traffic Traffic
	request int // index, for HTTP
	was, is Grant
}

// compare lists how two sides treat a cell differently.
func (a *analysis) compare(c *cell) ([]Class, []Unknown) {
	var items []item
	var classes []Class
	var unknown []Unknown
	known := len(c.unknown()) == 0
	for i := range c.who.list {
		who := &c.who.list[i]
		left, right := c.view(0, who), c.view(1, who)
		x, y := &left.base, &right.base
		if !known {
			// What is certain all the same: whether the connection is opened.
			if was, is := x.grant(Connection, false), y.grant(Connection, false); was != is {
				items = append(items, item{caller: i, traffic: Connection, was: was, is: is})
			}
			continue
		}
		items = append(items, a.compareCaller(c, i, &left, &right)...)
		if x.hit && y.hit && destPrint(x.dest) != destPrint(y.dest) {
			more, inexact := a.addresses(c, who, i, x, y)
			classes = append(classes, more...)
			unknown = append(unknown, inexact...)
		}
	}
	return append(a.boxes(c, c.minimal(items)), classes...), unknown
}

func (a *analysis) compareCaller(c *cell, caller int, left, right *view) []item {
	var items []item
	x, y := &left.base, &right.base
	found := func(t Traffic) *item {
		was, is := x.grant(t, false), y.grant(t, false)
		if was == is {
			return nil
		}
		return &item{caller: caller, traffic: t, was: was, is: is}
	}
	bytes, opaque := found(Bytes), found(Opaque)
	switch {
	case bytes != nil && (opaque == nil || bytes.is == Denied):
		items = append(items, *bytes)
	case opaque != nil:
		items = append(items, *opaque)
	}
	if x.inspect || y.inspect {
		for i := range c.requests.list {
			q := &c.requests.list[i]
			was, is := left.grant(q), right.grant(q)
			// What may send any bytes may send every request.
			if was != is && (bytes == nil || is < was) {
				items = append(items, item{caller, HTTP, i, was, is})
			}
		}
	}
	if was, is := c.bound(left, right); was != is {
		items = append(items, item{caller: caller, traffic: Bound, was: was, is: is})
	}
	if c := found(Connection); c != nil {
		implied := false
		for _, one := range items {
			implied = implied || (one.is > one.was) == (c.is > c.was)
		}
		if !implied {
			items = append(items, *c)
		}
	}
	return items
}

// minimal leaves out what callers with ancestors share with one of the programs
// that they are put together of.
func (c *cell) minimal(items []item) []item {
	type change struct {
		traffic Traffic
		request int
		was, is Grant
	}
	simple := map[change][]groupSet{}
	for _, i := range items {
		if who := &c.who.list[i.caller]; len(who.ancestors) == 0 {
			k := change{i.traffic, i.request, i.was, i.is}
			simple[k] = append(simple[k], who.taken)
		}
	}
	var out []item
next:
	for _, i := range items {
		who := &c.who.list[i.caller]
		if len(who.ancestors) > 0 {
			for _, taken := range simple[change{i.traffic, i.request, i.was, i.is}] {
				if taken.within(who.taken) {
					continue next
				}
			}
		}
		out = append(out, i)
	}
	return out
}
