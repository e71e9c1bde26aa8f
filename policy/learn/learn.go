package learn

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/glob"
)

// Base is the policy that lacks something.
type Base struct {
	Name string // of its file, for positions
	Text []byte // nil: there is none, and a policy of the learned rules alone is made
	// Parse reads it with the layers that it extends, which stay as they are: rules
	// are learned for Text. Nil: it extends nothing.
	Parse   func(name string, data []byte) (*policy.Document, policy.Warnings, error)
	Options []policy.Option
	// Claims reports whether an inference route answers a host; may be nil.
	Claims func(netname.Host, uint16) bool
}

// Result is what was learned.
type Result struct {
	Policy  string // text of a whole policy
	Rules   []Rule // riskiest first
	Left    []Left // calls that it does not allow
	Already uint64 // calls that the base allows
}

// Rule is one learned rule.
type Rule struct {
	Key       string       `json:"key"`
	Host      netname.Host `json:"-"`
	Name      string       `json:"host"`
	Binary    string       `json:"binary,omitempty"` // empty: any
	Risk      Risk         `json:"risk"`
	Reasons   []string     `json:"reasons"`
	Endpoints []Endpoint   `json:"endpoints"`
	Calls     uint64       `json:"calls"` // that it allows

	points int
	calls  []Call
	draft  policy.Draft
}

// Endpoint is one port of a Rule.
type Endpoint struct {
	Port     uint16          `json:"port"`
	Protocol policy.Protocol `json:"protocol,omitempty"` // empty: not inspected
	Allow    []policy.Permit `json:"allow,omitempty"`
	Widened  bool            `json:"widened,omitempty"` // some path has a * in the place of ids
	Guessed  bool            `json:"guessed,omitempty"` // no request was read: reading alone is proposed
}

// Left is a call that nothing learned allows, and why.
type Left struct {
	Call Call
	Why  string
}

// Bounds: nobody reviews more, and an agent can ask for any number of things.
const (
	maxRules = 200
	maxGlobs = 50 // of one method on one endpoint
)

// header begins what was learned.
const header = "Learned from what was denied. REVIEW BEFORE USE: nothing here is trusted by itself, the agent\nchose what to ask for. Riskiest first; remove what you do not want."

// Learn makes a policy that allows the calls which the base does not. hosts
// may lack a host: then it counts as asked for once.
func Learn(base Base, calls []Call, hosts map[netname.Host]Host) (Result, error) {
	l := learner{base: base, hosts: hosts}
	if base.Text == nil {
		l.base.Name, l.base.Text = "learned", []byte("version: 2\n")
	}
	var err error
	if l.engine, err = l.compile(l.base.Text); err != nil {
		return Result{}, err
	}
	for _, g := range l.group(calls) {
		l.rule(g)
	}
	l.closed()
	slices.SortStableFunc(l.out.Rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(b.points, a.points), cmp.Compare(a.Key, b.Key))
	})
	if len(l.out.Rules) > maxRules {
		for _, r := range l.out.Rules[maxRules:] {
			l.leave(r.calls, fmt.Sprintf("more than %d rules: learn again when the first are in the policy", maxRules))
		}
		l.out.Rules = l.out.Rules[:maxRules]
	}
	if err := l.finish(); err != nil {
		return Result{}, err
	}
	return l.out, nil
}

type learner struct {
	base   Base
	hosts  map[netname.Host]Host
	engine *policy.Engine
	asked  map[Call]int // of messages: where each is in Left
	out    Result
}

func (l *learner) compile(text []byte) (*policy.Engine, error) {
	parse := l.base.Parse
	if parse == nil {
		parse = policy.Parse
	}
	doc, _, err := parse(l.base.Name, text)
	if err != nil {
		return nil, err
	}
	return policy.Compile(doc, l.base.Options...)
}

func (l *learner) leave(calls []Call, why string) {
	for _, c := range calls {
		l.out.Left = append(l.out.Left, Left{c, why})
	}
}

// group puts together what one rule can allow: the calls to one host by one
// program, of unknown ones by all. What cannot or need not be allowed is left.
func (l *learner) group(calls []Call) [][]Call {
	type owner struct {
		host   netname.Host
		binary string
	}
	groups := make(map[owner][]Call)
	var order []owner
	for _, c := range calls {
		if !c.Known {
			c.Binary = ""
		}
		if l.base.Claims != nil && l.base.Claims(c.Host, c.Port) {
			l.leave([]Call{c}, "the inference route answers this host; rules about it do not count")
			continue
		}
		if c.allowed(l.engine) {
			l.out.Already += c.Count
			continue
		}
		if c.Message != "" {
			l.message(c)
			continue
		}
		if why := l.engine.Refusal(c.connection(), c.Method, c.Path); why != "" {
			l.leave([]Call{c}, strings.TrimSpace(strings.TrimPrefix(why, "#")))
			continue
		}
		k := owner{c.Host, c.Binary}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], c)
	}
	out := make([][]Call, len(order))
	for i, k := range order {
		out[i] = groups[k]
	}
	return out
}

// message leaves a call that was denied by its message: one Left for an operation,
// whatever its path.
func (l *learner) message(c Call) {
	why := c.Message
	r := policy.Request{Connection: c.connection(), Method: c.Method}
	r.Target.Path = c.Path
	if l.engine.Unsure(r) != "" {
		why += " (the base may have it by now: the log does not keep the message)"
	}
	k := Call{Host: c.Host, Port: c.Port, Binary: c.Binary, Message: c.Message}
	if at, ok := l.asked[k]; ok {
		l.out.Left[at].Call.Count += c.Count
		return
	}
	if l.asked == nil {
		l.asked = make(map[Call]int)
	}
	l.asked[k] = len(l.out.Left)
	l.leave([]Call{c}, why)
}

// rule drafts the rule for the calls of one host and program.
func (l *learner) rule(calls []Call) {
	r := Rule{Host: calls[0].Host, Name: calls[0].Host.String(), Binary: calls[0].Binary}
	parts := []string{"allow", r.Name, "any"}
	if r.Binary != "" {
		parts[2] = path.Base(r.Binary)
	}
	for i, p := range parts {
		parts[i] = p[:min(len(p), 100)]
	}
	r.Key = l.engine.FreeKey(func(k string) bool {
		return slices.ContainsFunc(l.out.Rules, func(o Rule) bool { return o.Key == k })
	}, parts...)
	r.draft = policy.Draft{Key: r.Key, Host: r.Host, Binary: r.Binary}
	byPort := make(map[uint16][]Call)
	for _, c := range calls {
		byPort[c.Port] = append(byPort[c.Port], c)
	}
	var ports []uint16
	for p := range byPort {
		ports = append(ports, p)
	}
	slices.Sort(ports)
	for _, p := range ports {
		l.endpoint(&r, byPort[p])
	}
	if len(r.Endpoints) == 0 {
		return
	}
	r.assess(l.hosts[r.Host])
	l.out.Rules = append(l.out.Rules, r)
}

// closed leaves the rules that no layer above lets the policy add. A rule that
// only takes up what one above allows could be added all the same, so the policy
// with it is asked.
func (l *learner) closed() {
	l.out.Rules = slices.DeleteFunc(l.out.Rules, func(r Rule) bool {
		why := l.engine.Closed("", r.Key)
		if why == "" {
			return false
		}
		if _, _, err := l.write([]Rule{r}); err == nil {
			return false
		}
		l.leave(r.calls, why)
		return true
	})
}

// endpoint adds one port to a rule.
func (l *learner) endpoint(r *Rule, calls []Call) {
	e := Endpoint{Port: calls[0].Port}
	paths := make(map[string][]string)
	var methods []string
	for _, c := range calls {
		if c.Method == "" {
			continue
		}
		m := strings.ToUpper(c.Method)
		if paths[m] == nil {
			methods = append(methods, m)
		}
		if !slices.Contains(paths[m], c.Path) {
			paths[m] = append(paths[m], c.Path)
		}
	}
	slices.Sort(methods)
	left := make(map[string]bool)
	for _, m := range methods {
		if m == "HEAD" { // what GET allows, HEAD may too; it stands before HEAD
			paths[m] = slices.DeleteFunc(paths[m], func(p string) bool { return covers(e.Allow, p) })
		}
		globs := generalise(paths[m])
		if len(globs) > maxGlobs {
			// The ones that stand for most paths are kept; the others are told.
			slices.SortStableFunc(globs, func(a, b family) int { return cmp.Compare(b.paths, a.paths) })
			globs = globs[:maxGlobs]
			left[m] = true
		}
		for _, g := range globs {
			e.Allow = append(e.Allow, policy.Permit{Method: m, Path: g.text})
			e.Widened = e.Widened || g.wide
		}
	}
	draft := l.engine.DraftFor(calls[0].connection(), e.Allow)
	if len(e.Allow) == 0 && guessHTTP(e.Port, draft) {
		// Most likely HTTP, of which no request was read: reading, not everything.
		e.Allow = []policy.Permit{{Method: "GET", Path: "/**"}}
		e.Guessed = true
		draft = l.engine.DraftFor(calls[0].connection(), e.Allow)
	}
	e.Protocol = draft.Protocol()
	if e.Guessed {
		draft.Remarks = append(draft.Remarks, "No request was read, so this allows reading alone; narrow the path.")
	}
	if e.Widened {
		draft.Remarks = append(draft.Remarks, "A * stands where ids differed.")
	}
	for m := range left {
		draft.Remarks = append(draft.Remarks, fmt.Sprintf("%s asked for more than %d kinds of paths: the others are left out.", m, maxGlobs))
	}
	slices.Sort(draft.Remarks)
	r.Endpoints = append(r.Endpoints, e)
	r.draft.Endpoints = append(r.draft.Endpoints, draft)
	r.calls = append(r.calls, calls...)
}

// covers reports whether a GET that is permitted has the path.
func covers(permits []policy.Permit, path string) bool {
	return slices.ContainsFunc(permits, func(p policy.Permit) bool {
		g, err := glob.Compile(p.Path, '/')
		return err == nil && p.Method == "GET" && g.Match(path)
	})
}

// guessHTTP: a connection without a request is taken for one to a web server by
// its port, or because the policy inspects others to the same place.
func guessHTTP(port uint16, d policy.DraftEndpoint) bool {
	like, known := d.Like()
	if known {
		return like == policy.REST
	}
	return port == 80 || port == 443
}

// finish writes the policy and asks it again about every call.
func (l *learner) finish() error {
	text, engine, err := l.write(l.out.Rules)
	if err != nil {
		// One rule contradicts the base; the others are kept.
		var kept []Rule
		for _, r := range l.out.Rules {
			if _, _, one := l.write([]Rule{r}); one != nil {
				l.leave(r.calls, "no rule for it fits into the policy: "+plain(one))
				continue
			}
			kept = append(kept, r)
		}
		l.out.Rules = kept
		if text, engine, err = l.write(kept); err != nil {
			return fmt.Errorf("learn policy: %w", err)
		}
	}
	again := false
	for i := range l.out.Rules {
		r := &l.out.Rules[i]
		r.calls = slices.DeleteFunc(r.calls, func(c Call) bool {
			if c.allowed(engine) {
				r.Calls += c.Count
				return false
			}
			why := "the learned rules do not allow it"
			if d := c.verdict(engine); d.Reason != "" {
				why += ": " + d.Reason
			}
			l.leave([]Call{c}, why)
			return true
		})
		again = again || len(r.calls) == 0
	}
	if again {
		// A rule that allows nothing of what it was made for is no rule.
		l.out.Rules = slices.DeleteFunc(l.out.Rules, func(r Rule) bool { return len(r.calls) == 0 })
		if text, _, err = l.write(l.out.Rules); err != nil {
			return fmt.Errorf("learn policy: %w", err)
		}
	}
	l.out.Policy = text
	return nil
}

// plain is a fault without its places: they are in a text that nobody sees.
func plain(err error) string {
	var faults policy.Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		return err.Error()
	}
	f := faults[0]
	f.At, f.Path = policy.Position{}, ""
	text := f.Error()
	if before, rest, ok := strings.Cut(text, " (line "); ok {
		_, after, _ := strings.Cut(rest, ")")
		text = before + after
	}
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	return text
}

func (c Call) verdict(e *policy.Engine) policy.Decision {
	r := policy.Request{Connection: c.connection(), Method: c.Method}
	r.Target.Path = c.Path
	if c.Method == "" {
		return e.Connect(c.connection()).Decision
	}
	return e.Request(r)
}

// write gives the text of the base with rules, and the engine that it makes.
func (l *learner) write(rules []Rule) (string, *policy.Engine, error) {
	if len(rules) == 0 {
		return string(l.base.Text), l.engine, nil
	}
	text, err := policy.Splice(l.base.Text, func(indent string) string {
		var b strings.Builder
		for h := range strings.SplitSeq(header, "\n") {
			b.WriteString(indent + "# " + h + "\n")
		}
		for _, r := range rules {
			d := r.draft
			d.Remarks = append([]string{"risk: " + r.Risk.String()}, bullets(r.Reasons)...)
			b.WriteString(d.YAML(indent))
		}
		return b.String()
	})
	if err != nil {
		return "", nil, err
	}
	engine, err := l.compile(text)
	return string(text), engine, err
}

func bullets(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		// Reasons hold hosts and methods alone; quoted all the same if anything else gets in.
		if q := strconv.QuoteToASCII(s); q[1:len(q)-1] != s {
			s = q
		}
		out[i] = "  - " + s
	}
	return out
}
