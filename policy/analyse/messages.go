package analyse

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// form is what a request holds beside its method, path and query.
type form uint8

const (
	unread    form = iota // nothing that any of the protocols in question can read
	operation             // a GraphQL operation whose document is sent
	stored                // a GraphQL operation that the server keeps
	call                  // of JSON-RPC or MCP
	answer                // to the server, of MCP
	stream                // the opening of MCP's stream from the server
	ending                // of a session of MCP
	fetch                 // of Git; with discovery, the question for the refs before it
	push                  // of one ref; with discovery, the question before it
	packaged              // a question to a package registry, told from the path
	called                // a method of gRPC, told from the path
)

// message is one member of what a request holds. A batch of operations, calls
// or ref updates is let through if every member would be alone (and if rules with
// max_uses do not share it out), so kinds of single members tell all.
type message struct {
	form form

	kind, name string   // of an operation
	fields     []string // root fields; of a rule's registry they may be none
	key        string   // of a stored operation

	method, tool string // of a call; of gRPC the method
	service      string // of gRPC
	arguments    *jsonrpc.Arguments
	texts        map[string]string // the same of a kind, by name: those that are text

	repository     string // of Git
	discovery      bool
	ref            string
	forced, delete bool

	path     string // that the message is told from; empty: any of its class
	asks     *registry.Request
	age      time.Duration // of a download
	ageKnown bool

	query map[string][]string // that the message is told from; nil: any
	other bool                // one more key of the query keeps others from reading it

	parts []part // for reports
	atoms []int  // classes of root fields
}

// messageRules are the rules of an endpoint about messages, and what else of it
// is about them.
type messageRules struct {
	operations *operationRules
	calls      *callRules
	git        *gitRules
	packages   *packageRules
	services   *serviceRules
}

type operationRules struct {
	allow, deny []operationRule
	registry    map[string]*message
	overHTTP    bool // of requests
	overSockets bool // of text messages
}

type operationRule struct {
	kind   string // "*": every type
	name   *pattern
	fields []*pattern
}

type callRules struct {
	mcp, loose  bool
	allow, deny []callRule
	every       bool // what no rule names is allowed, but tools/call where rules name tools
	narrowed    bool
}

type callRule struct {
	method *pattern // nil: every one
	tooled bool
	tools  []*pattern

	arguments []argumentRule // all have to hold
}

// argumentRule wants an argument of a tool to be a text of a set.
type argumentRule struct {
	name  string
	texts *pattern
}

type gitRules struct{ allow, deny []gitRule }

type gitRule struct {
	push          bool
	repository    *pattern
	refs          []*pattern
	force, delete bool
}

type packageRules struct {
	kind        registry.Kind
	prefix      string
	allow, deny []packageRule
	instead     []registry.Kind // of an assertion: what a host is looked at as where no endpoint says it
}

type packageRule struct {
	name     *pattern
	versions []*pattern
	minAge   time.Duration
	publish  bool
}

// pattern is a set of texts that rules speak of.
type pattern struct {
	text string
	glob glob.Glob // zero: the text itself
	set  *automaton.Automaton
}

func (p *pattern) match(text string) bool { return p.set.Match(text) }

func (a *analysis) pattern(text string, sep byte) (*pattern, error) {
	key := string(sep) + text
	if p := a.patternBy[key]; p != nil {
		return p, nil
	}
	p := &pattern{text: text}
	var err error
	if sep == 0 {
		p.set, err = automaton.Texts(text)
	} else if p.glob, err = glob.Compile(text, sep); err == nil {
		p.set, err = automaton.Glob(p.glob)
	}
	if err != nil {
		return nil, err
	}
	a.patternBy[key] = p
	return p, a.spend(p.set.Work() / stepsOfAutomata)
}

func (a *analysis) patterns(list []string, sep byte) ([]*pattern, error) {
	var out []*pattern
	for _, text := range list {
		p, err := a.pattern(text, sep)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func anyMatch(list []*pattern, text string) bool {
	return slices.ContainsFunc(list, func(p *pattern) bool { return p.match(text) })
}

// textMethod is what rules call a text message of a WebSocket client.
const textMethod = policy.MethodText

func (a *analysis) lowerMessages(spec *policy.Endpoint) (*messageRules, error) {
	m := &messageRules{}
	var err error
	switch spec.Protocol {
	case policy.GraphQL, policy.WebSocket:
		m.operations, err = a.lowerOperations(spec)
	case policy.JSONRPC, policy.MCP:
		m.calls, err = a.lowerCalls(spec)
	case policy.Git:
		m.git, err = a.lowerGit(spec)
	case policy.Package:
		m.packages, err = a.lowerPackages(spec)
	case policy.GRPC:
		m.services, err = a.lowerServices(spec)
	}
	return m, err
}

func (a *analysis) lowerOperations(spec *policy.Endpoint) (*operationRules, error) {
	o := &operationRules{overHTTP: spec.Protocol == policy.GraphQL, registry: map[string]*message{}}
	var kinds []string
	if o.overHTTP {
		switch spec.Access {
		case "read-only":
			kinds = []string{"query"}
		case "read-write":
			kinds = []string{"query", "mutation"}
		case "full":
			kinds = []string{"*"}
		}
	}
	for _, k := range kinds {
		o.allow = append(o.allow, operationRule{kind: k})
	}
	for _, list := range []struct {
		from []policy.RequestRule
		to   *[]operationRule
	}{{spec.Allow, &o.allow}, {spec.Deny, &o.deny}} {
		for _, r := range list.from {
			if !o.overHTTP && (r.OperationType != "" || r.OperationName != "" || len(r.Fields) > 0) {
				o.overSockets = true
			}
			if r.OperationType == "" {
				continue // takes nothing
			}
			one := operationRule{kind: r.OperationType}
			var err error
			if r.OperationName != "" {
				if one.name, err = a.pattern(r.OperationName, '.'); err != nil {
					return nil, err
				}
			}
			if one.fields, err = a.patterns(r.Fields, '.'); err != nil {
				return nil, err
			}
			*list.to = append(*list.to, one)
		}
	}
	o.overSockets = o.overSockets || !o.overHTTP && (spec.GraphQL.AllowRegistered || len(spec.GraphQL.Registry) > 0)
	if spec.GraphQL.AllowRegistered {
		for _, p := range spec.GraphQL.Registry {
			if p.Key != "" && p.Type != "" {
				o.registry[p.Key] = &message{form: operation, kind: p.Type, name: p.Name, fields: p.Fields}
			}
		}
	}
	return o, nil
}

func (a *analysis) lowerCalls(spec *policy.Endpoint) (*callRules, error) {
	c := &callRules{mcp: spec.Protocol == policy.MCP, loose: spec.MCP.LooseToolNames}
	c.every = c.mcp && spec.MCP.AllMethods
	for _, list := range []struct {
		from []policy.RequestRule
		to   *[]callRule
	}{{spec.Allow, &c.allow}, {spec.Deny, &c.deny}} {
		for _, r := range list.from {
			one := callRule{tooled: r.Tools != nil}
			text := r.Method
			if text == "" && one.tooled {
				text = toolsCall
			}
			var err error
			switch {
			case text == "":
				continue // the profile, or nothing
			case text == "*" && !c.mcp:
			case strings.ContainsAny(text, `*?[]{}\`):
				if !c.mcp || !strings.HasPrefix(text, "tools/") {
					return nil, fmt.Errorf("method %q: a glob that is not below tools/", text)
				}
				one.method, err = a.pattern(text, '.')
			default:
				one.method, err = a.pattern(text, 0)
			}
			if err != nil {
				return nil, err
			}
			if len(r.Tools) > 0 {
				if _, err := target.ParseMatcher(r.Tools...); err != nil {
					return nil, err
				}
			}
			if one.tools, err = a.patterns(r.Tools, '.'); err != nil {
				return nil, err
			}
			for _, arg := range r.Arguments {
				texts, err := a.argument(arg)
				if err != nil {
					return nil, err
				}
				one.arguments = append(one.arguments, argumentRule{arg.Name, texts})
			}
			*list.to = append(*list.to, one)
		}
	}
	for _, r := range c.allow {
		c.narrowed = c.narrowed || r.tooled
	}
	return c, nil
}

func (a *analysis) lowerGit(spec *policy.Endpoint) (*gitRules, error) {
	g := &gitRules{}
	for _, list := range []struct {
		from []policy.RequestRule
		to   *[]gitRule
	}{{spec.Allow, &g.allow}, {spec.Deny, &g.deny}} {
		for _, r := range list.from {
			if r.Operation != "fetch" && r.Operation != "push" {
				return nil, fmt.Errorf("operation %q is not known", r.Operation)
			}
			one := gitRule{push: r.Operation == "push", force: r.Force, delete: r.Delete}
			var err error
			if one.repository, err = a.pattern(r.Repository, '/'); err != nil {
				return nil, err
			}
			if one.refs, err = a.patterns(r.Refs, '/'); err != nil {
				return nil, err
			}
			*list.to = append(*list.to, one)
		}
	}
	return g, nil
}

func (a *analysis) lowerPackages(spec *policy.Endpoint) (*packageRules, error) {
	p := &packageRules{kind: spec.Registry, prefix: spec.RegistryPath}
	for _, list := range []struct {
		from []policy.RequestRule
		to   *[]packageRule
	}{{spec.Allow, &p.allow}, {spec.Deny, &p.deny}} {
		for _, r := range list.from {
			one := packageRule{minAge: r.MinAge, publish: r.Publish}
			var err error
			if one.name, err = a.pattern(r.Package, '/'); err != nil {
				return nil, err
			}
			if one.versions, err = a.patterns(r.Versions, '/'); err != nil {
				return nil, err
			}
			*list.to = append(*list.to, one)
		}
	}
	return p, nil
}
