package analyse

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/registry"
)

// Proof is the answer to one assertion.
type Proof struct {
	Assertion Assertion `json:"assertion"`
	Holds     bool      `json:"holds"`
	// Counterexample is a request that the assertion is wrong about, and Grant
	// what the engine does with it.
	Counterexample *Witness `json:"counterexample,omitempty"`
	Grant          Grant    `json:"grant"`
	// Unknown is what could not be looked at exactly: then nothing is proved.
	Unknown []Unknown `json:"unknown,omitempty"`
}

// Prove decides assertions about a document: each holds for every request from a
// time on (zero: at all times), or has a counterexample that the engine confirms,
// or cannot be told.
func Prove(doc *policy.Document, list []Assertion, from time.Time) ([]Proof, error) {
	runs, err := newRun(doc)
	if err != nil {
		return nil, err
	}
	out := make([]Proof, 0, len(list))
	for _, one := range list {
		p := Proof{Assertion: one}
		kinds := registriesOf(doc, one)
		if one.ofPackages() && len(kinds) == 0 {
			return nil, policy.Faults{{At: one.At, Path: string(one.Word), Kind: policy.Missing, Want: "registry, because no endpoint of the policy has protocol: package",
				Hint: "say which registry the hosts are looked at as: registry: " + kindTexts()}}
		}
		for _, at := range startsFrom(from, doc) {
			now, err := prove(doc, one, kinds, at)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", one, err)
			}
			p.Counterexample, p.Grant = now.Counterexample, now.Grant
			p.Unknown = dedupe(append(p.Unknown, now.Unknown...))
			if p.Counterexample != nil {
				break
			}
		}
		p.Holds = p.Counterexample == nil && len(p.Unknown) == 0
		if p.Counterexample != nil {
			if err := confirm(runs, *p.Counterexample, p.Grant); err != nil {
				return nil, err
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// The sides of a proof.
const (
	theDocument = iota
	theInside   // what the assertion describes
	theScope    // of only: where nothing else may be
)

// registriesOf are the kinds of registries that an assertion is about where no endpoint
// says which one a host is: that which it names, or all of the policy.
func registriesOf(doc *policy.Document, one Assertion) []registry.Kind {
	if one.Registry != "" {
		return []registry.Kind{registry.Kind(one.Registry)}
	}
	var list []registry.Kind
	for i := range doc.Networks {
		for _, e := range doc.Networks[i].Endpoints {
			if e.Registry != "" && !slices.Contains(list, e.Registry) {
				list = append(list, e.Registry)
			}
		}
	}
	return list
}

func prove(doc *policy.Document, one Assertion, kinds []registry.Kind, at time.Time) (Proof, error) {
	p := Proof{Assertion: one}
	a := newAnalysis(at)
	s, err := a.lower(doc)
	if err != nil {
		return p, err
	}
	inside, err := a.assertion(one, kinds, doc.Version)
	if err != nil {
		return p, err
	}
	a.sides = []*side{s, inside}
	if one.Word == Only {
		scope := Assertion{}
		if one.Binary != "" || one.requests() {
			scope.Host, scope.Port = one.Host, one.Port
		}
		outside, err := a.assertion(scope, nil, doc.Version)
		if err != nil {
			return p, err
		}
		a.sides = append(a.sides, outside)
	}
	if err := a.partition(); err != nil {
		return p, err
	}
	p.Unknown = append(p.Unknown, s.unknown...)
	for _, c := range a.cells {
		if len(c.sides[len(c.sides)-1]) == 0 || one.Word != Always && len(c.sides[theDocument]) == 0 {
			continue // the assertion says nothing here, or the document allows nothing
		}
		if unknown := c.unknown(); len(unknown) > 0 {
			p.Unknown = append(p.Unknown, unknown...)
			continue
		}
		if err := a.prepare(c); err != nil {
			return p, err
		}
		if w, g, found := c.violation(one, inside.endpoints[0].wants); found {
			p.Counterexample, p.Grant = &w, g
			return p, nil
		}
	}
	return p, nil
}

// requests reports whether the assertion is about requests, not connections.
func (one Assertion) requests() bool {
	return one.Method != "" || one.Path != "" || one.Holds != (Holds{})
}

// assertion is an assertion in the form of a policy with one endpoint.
func (a *analysis) assertion(one Assertion, kinds []registry.Kind, version int) (*side, error) {
	who := &condition{any: one.Binary == "", ancestors: version == 1 && one.Binary != ""}
	if one.Binary != "" {
		who.programs = []program{{text: one.Binary, glob: strings.Contains(one.Binary, "*")}}
	}
	who.print = fmt.Sprintf("%v %v %s", who.any, who.ancestors, fingerprint(who.programs))
	ep := &endpoint{net: &network{key: "assertion", who: who}, content: fmt.Sprint("assertion ", one), protocol: policy.REST}
	ep.print = who.print + "|" + ep.content
	switch h, err := netname.ParseHost(one.Host); {
	case one.Host == "" || one.Host == "**":
		ep.host.every = true
	case err == nil:
		ep.host.literal = h
	case !strings.Contains(one.Host, "*"):
		return nil, errors.New("not a host")
	default:
		ep.host.text = one.Host
	}
	if one.Port != 0 {
		ep.ports = []uint16{one.Port}
	}
	if one.requests() {
		r := rule{method: one.Method, path: one.Path}
		if r.method == "" {
			r.method = "*"
		}
		if r.path == "" {
			r.path = "**"
		}
		if one.Text {
			r.method = textMethod
		}
		if key, value, some := strings.Cut(one.Query, "="); some {
			name, err := a.matcher([]string{value})
			if err != nil {
				return nil, err
			}
			r.query, r.oneValue = []queryRule{{key, name}}, one.Word == Never
		}
		ep.inspect, ep.allow = true, []rule{r}
		if one.ofMessages() {
			var err error
			if ep.messages, ep.wants, err = a.lowerHolds(one.Holds, one.Word, kinds); err != nil {
				return nil, err
			}
		}
	}
	return &side{endpoints: []*endpoint{ep}}, nil
}

// violation looks for a connection or request of a cell that the assertion is
// wrong about.
func (c *cell) violation(one Assertion, wants *wants) (Witness, Grant, bool) {
	at := c.places[0]
	for i := range c.who.list {
		who := &c.who.list[i]
		described, judged := c.view(theInside, who), c.view(theDocument, who)
		inside, doc := &described.base, &judged.base
		if one.Word != Always && doc.bound && (inside.hit == (one.Word == Never) || one.Word == Only && one.requests()) {
			return c.witness(at, who, Bound, nil), Allowed, true // it may be any request
		}
		switch one.Word {
		case Never, Always:
			if !inside.hit {
				continue
			}
		case Only:
			if !doc.hit {
				continue
			}
		}
		if !one.requests() || one.Word == Only && !inside.hit {
			g := doc.grant(Connection, false)
			bad := g != Denied
			switch one.Word {
			case Always:
				bad = !bad
			case Only:
				bad = bad && !inside.hit
			}
			if bad {
				return c.witness(at, who, Connection, nil), g, true
			}
			continue
		}
		if (one.Word == Only || one.Word == Never && one.ofPackages()) && doc.grant(Bytes, false) != Denied {
			return c.witness(at, who, Bytes, nil), Allowed, true
		}
		if one.Word == Always && one.Text && doc.grant(Bytes, false) == Denied {
			if q := c.noText(&described, &judged); q != nil {
				return c.witness(at, who, HTTP, q), Denied, true
			}
		}
		for k := range c.requests.list {
			q := &c.requests.list[k]
			in := described.request(q).allow && wants.takes(c, q)
			g := judged.grant(q)
			bad := in && g != Denied
			switch one.Word {
			case Always:
				bad = in && g == Denied
			case Only:
				bad = !in && g != Denied
			}
			if bad {
				return c.witness(at, who, HTTP, q), g, true
			}
		}
	}
	return Witness{}, Denied, false
}

// noText is a text message that is described and denied, on a path where no endpoint
// reads any, so that none is among the requests; nil if there is no such path.
func (c *cell) noText(described, judged *view) *request {
	r := c.requests
	method := r.method(textMethod)
	listed := make([]bool, len(r.classes.List))
	for i := range r.list {
		if r.list[i].method == method {
			listed[r.list[i].path] = true
		}
	}
	for p, class := range r.classes.List {
		q := &request{path: p, method: method}
		if !listed[p] && !tooLong(class.Witness) && described.request(q).allow && judged.grant(q) == Denied {
			return q
		}
	}
	return nil
}
