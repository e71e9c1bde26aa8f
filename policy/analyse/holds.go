package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// Holds is what an assertion describes of a request's query and body, of what its path
// means, or of a text message. Texts are globs as in rules. Empty fields stand for
// every request.
type Holds struct {
	// Query is KEY=GLOB over the decoded values of a key of the query. Never looks for
	// one such value, only and always want the key to be there and all of its values to be
	// such: as deny and allow rules do.
	Query string `json:"query,omitempty"`
	// GraphQL is a type, or TYPE:FIELD,FIELD with globs over root fields, or
	// hash:KEY or id:KEY. Never looks for one of the fields in an operation, only and
	// always want all of its fields to be among them: as deny and allow rules do.
	GraphQL   string `json:"graphql,omitempty"`
	Operation string `json:"operation,omitempty"`  // name of a GraphQL operation
	RPC       string `json:"rpc_method,omitempty"` // of a call
	Tool      string `json:"tool,omitempty"`
	// Argument is NAME=GLOB: the tool's argument is a text of the kind that leads where
	// it reads, as rules want it.
	Argument   string `json:"argument,omitempty"`
	Response   bool   `json:"response,omitempty"`    // an answer to the server of MCP
	Stream     bool   `json:"stream,omitempty"`      // the opening of MCP's stream from the server
	Ends       bool   `json:"ends,omitempty"`        // the end of a session of MCP
	Service    string `json:"service,omitempty"`     // of gRPC
	GRPCMethod string `json:"grpc_method,omitempty"` // of gRPC
	Repository string `json:"repository,omitempty"`
	Fetch      bool   `json:"fetch,omitempty"` // fetches alone, with the questions before them
	Ref        string `json:"ref,omitempty"`   // that a push changes; a branch, if it does not begin with refs/
	Force      bool   `json:"force,omitempty"`
	Delete     bool   `json:"delete,omitempty"`
	// Registry is the kind of the registry. Without it, where no endpoint says which one a
	// host is, it is looked at as each of the kinds that the policy speaks of.
	Registry string `json:"registry,omitempty"`
	Package  string `json:"package,omitempty"`
	Version  string `json:"version,omitempty"`
	Publish  bool   `json:"publish,omitempty"`
	Younger  string `json:"younger,omitempty"` // like 72h: downloads alone, of what is not known to be as old
	Text     bool   `json:"text,omitempty"`    // text messages alone
}

var holdsKeys = []string{"query", "graphql", "operation", "rpc_method", "tool", "argument", "response", "stream", "ends", "service", "grpc_method",
	"repository", "fetch", "ref", "force", "delete", "registry", "package", "version", "publish", "younger", "text"}

func (h *Holds) text(key string) *string {
	switch key {
	case "query":
		return &h.Query
	case "graphql":
		return &h.GraphQL
	case "operation":
		return &h.Operation
	case "rpc_method":
		return &h.RPC
	case "tool":
		return &h.Tool
	case "argument":
		return &h.Argument
	case "service":
		return &h.Service
	case "grpc_method":
		return &h.GRPCMethod
	case "repository":
		return &h.Repository
	case "ref":
		return &h.Ref
	case "registry":
		return &h.Registry
	case "package":
		return &h.Package
	case "version":
		return &h.Version
	case "younger":
		return &h.Younger
	}
	return nil
}

func (h *Holds) flag(key string) *bool {
	switch key {
	case "response":
		return &h.Response
	case "stream":
		return &h.Stream
	case "ends":
		return &h.Ends
	case "fetch":
		return &h.Fetch
	case "force":
		return &h.Force
	case "delete":
		return &h.Delete
	case "publish":
		return &h.Publish
	case "text":
		return &h.Text
	}
	return nil
}

func (h *Holds) each(add func(key, value string)) {
	for _, key := range holdsKeys {
		if t := h.text(key); t != nil {
			add(key, *t)
		} else if *h.flag(key) {
			add(key, "true")
		}
	}
}

type badText struct{ want, hint string }

// check is nil if a text can be what its key wants.
func (h *Holds) check(key string) *badText {
	text := *h.text(key)
	sep := byte('.')
	switch key {
	case "graphql":
		kind, fields, cut := strings.Cut(text, ":")
		bad := &badText{"an operation like query, mutation:createIssue or hash:KEY", ""}
		switch kind {
		case "hash", "id":
			if fields == "" {
				return bad
			}
			return nil
		case "query", "mutation", "subscription", "*":
		default:
			return bad
		}
		for f := range strings.SplitSeq(fields, ",") {
			if _, err := glob.Compile(f, '.'); cut && (err != nil || f == "") {
				return bad
			}
		}
		return nil
	case "registry":
		if !slices.Contains(registry.Kinds(), registry.Kind(text)) {
			return &badText{"a kind of registry: " + kindTexts(), ""}
		}
		return nil
	case "younger":
		if _, ok := policy.ParseDuration(text); !ok {
			return &badText{"a time like 12h or 7d, of at most 366d", ""}
		}
		return nil
	case "argument":
		name, value, ok := strings.Cut(text, "=")
		if text = value; !ok || name == "" {
			return &badText{"an argument like path=/work/**", ""}
		}
		sep = '/'
	case "query":
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return &badText{"a key of a query and a glob, like draft=true", ""}
		}
		if _, err := target.ParseMatcher(value); err != nil {
			return &badText{"a key of a query and a well-formed glob, like draft=true", "write a backslash before [ { * ? that stand for themselves"}
		}
		return nil
	case "repository", "ref", "package", "version", "grpc_method":
		sep = '/'
	}
	if _, err := glob.Compile(text, sep); err != nil {
		return &badText{"a well-formed glob", "write a backslash before [ { * ? that stand for themselves"}
	}
	if key == "repository" && (strings.HasPrefix(text, "/") || strings.HasSuffix(text, ".git")) {
		return &badText{"a repository without the slash before it and .git behind it, like team/app", ""}
	}
	return nil
}

func (h *Holds) ofOperations() bool { return h.GraphQL != "" || h.Operation != "" }
func (h *Holds) ofCalls() bool      { return h.RPC != "" || h.Tool != "" || h.Argument != "" }
func (h *Holds) ofServices() bool   { return h.Service != "" || h.GRPCMethod != "" }
func (h *Holds) ofGit() bool {
	return h.Repository != "" || h.Fetch || h.Ref != "" || h.Force || h.Delete
}
func (h *Holds) ofPackages() bool {
	return h.Registry != "" || h.Package != "" || h.Version != "" || h.Publish || h.Younger != ""
}

// ofMessages reports whether more is described than the query.
func (h Holds) ofMessages() bool {
	h.Query = ""
	return h != Holds{}
}

// ofSessions: what of MCP is no call.
func (h *Holds) ofSessions() bool { return h.Response || h.Stream || h.Ends }

func kindTexts() string {
	var list []string
	for _, k := range registry.Kinds() {
		list = append(list, string(k))
	}
	return strings.Join(list, ", ")
}

// conflict says why no request is all that is described; "": one may be.
func (h *Holds) conflict(method string) string {
	n := 0
	for _, about := range []bool{h.ofOperations(), h.ofCalls(), h.Response, h.Stream, h.Ends, h.ofServices(), h.ofGit(), h.ofPackages()} {
		if about {
			n++
		}
	}
	_, fields, _ := strings.Cut(h.GraphQL, ":")
	switch {
	case n > 1:
		return "keys of several protocols in one description"
	case h.Fetch && (h.Ref != "" || h.Force || h.Delete):
		return "fetch with keys that are about pushes"
	case h.Younger != "" && h.Publish:
		return "younger, which is about downloads, with publish"
	case h.Text && (n > 0 && !h.ofOperations()):
		return "text with keys that are about requests"
	case h.Text && h.Query != "":
		return "text with query, which no text message has"
	case h.Text && method != "":
		return "text with a method, which no text message has"
	case h.Operation != "" && fields != "" && (strings.HasPrefix(h.GraphQL, "hash:") || strings.HasPrefix(h.GraphQL, "id:")):
		return "the name of an operation beside the key of a stored one"
	}
	return ""
}

// wants is what an assertion describes of messages; nil: nothing, so all of them.
type wants struct {
	Holds
	never      bool // one of the fields of an operation is enough
	all        bool // every registry that reads a request has to say so
	operation  *operationRule
	key        string // of a stored operation
	method     *pattern
	tool       *pattern
	repository *pattern
	ref        *pattern
	name       *pattern
	version    *pattern
	argument   *argumentRule
	service    *serviceRule
	younger    time.Duration
}

// lowerHolds also gives rules that make the analysis tell apart what is described.
// kinds are those of registries that a host is looked at as where no endpoint says it.
func (a *analysis) lowerHolds(h Holds, word Word, kinds []registry.Kind) (*messageRules, *wants, error) {
	w := &wants{Holds: h, never: word == Never, all: word == Only}
	m := &messageRules{}
	for _, one := range []struct {
		text string
		sep  byte
		to   **pattern
	}{{h.RPC, '.', &w.method}, {h.Tool, '.', &w.tool}, {h.Repository, '/', &w.repository}, {branch(h.Ref), '/', &w.ref}, {h.Package, '/', &w.name}, {h.Version, '/', &w.version}} {
		if one.text == "" {
			continue
		}
		p, err := a.pattern(one.text, one.sep)
		if err != nil {
			return nil, nil, err
		}
		*one.to = p
	}
	if h.ofOperations() {
		m.operations = &operationRules{overHTTP: true, registry: map[string]*message{}}
		kind, rest, _ := strings.Cut(h.GraphQL, ":")
		switch kind {
		case "hash", "id":
			w.key = rest
			m.operations.registry[rest] = nil
		default:
			if kind == "" {
				kind = "*"
			}
			w.operation = &operationRule{kind: kind}
			var err error
			if h.Operation != "" {
				if w.operation.name, err = a.pattern(h.Operation, '.'); err != nil {
					return nil, nil, err
				}
			}
			if rest != "" {
				if w.operation.fields, err = a.patterns(strings.Split(rest, ","), '.'); err != nil {
					return nil, nil, err
				}
			}
			m.operations.allow = []operationRule{*w.operation}
		}
	}
	if h.ofSessions() {
		m.calls = &callRules{mcp: true, loose: true}
	}
	if h.ofCalls() {
		one := callRule{method: w.method}
		if w.tool != nil {
			one.tooled, one.tools = true, []*pattern{w.tool}
		}
		if h.Argument != "" {
			name, text, _ := strings.Cut(h.Argument, "=")
			texts, err := a.argument(policy.ArgumentRule{Name: name, Any: []string{text}})
			if err != nil {
				return nil, nil, err
			}
			w.argument = &argumentRule{name, texts}
			one.arguments = []argumentRule{*w.argument}
		}
		m.calls = &callRules{mcp: true, loose: true, allow: []callRule{one}}
	}
	if h.ofServices() {
		w.service = &serviceRule{}
		for _, one := range []struct {
			text string
			sep  byte
			to   **pattern
		}{{h.Service, '.', &w.service.service}, {h.GRPCMethod, '/', &w.service.method}} {
			var err error
			if *one.to, err = a.pattern(cmp.Or(one.text, "**"), one.sep); err != nil {
				return nil, nil, err
			}
		}
		m.services = &serviceRules{allow: []serviceRule{*w.service}}
	}
	if h.ofGit() {
		one := gitRule{repository: w.repository}
		if one.repository == nil {
			every, err := a.pattern("**", '/')
			if err != nil {
				return nil, nil, err
			}
			one.repository = every
		}
		if w.ref != nil {
			one.refs = []*pattern{w.ref}
		}
		m.git = &gitRules{allow: []gitRule{one}}
	}
	if h.ofPackages() {
		var ok bool
		if w.younger, ok = policy.ParseDuration(h.Younger); h.Younger != "" && !ok {
			return nil, nil, fmt.Errorf("younger %q is no time", h.Younger)
		}
		one := packageRule{name: w.name, minAge: w.younger}
		if one.name == nil {
			every, err := a.pattern("**", '/')
			if err != nil {
				return nil, nil, err
			}
			one.name = every
		}
		if w.version != nil {
			one.versions = []*pattern{w.version}
		}
		m.packages = &packageRules{allow: []packageRule{one}, instead: kinds}
	}
	return m, w, nil
}

// branch is the whole name of a ref, as rules write it.
func branch(ref string) string {
	if ref != "" && !strings.HasPrefix(ref, "refs/") && !strings.HasPrefix(ref, "**") {
		return "refs/heads/" + ref
	}
	return ref
}

// takes reports whether a request's message is described.
func (w *wants) takes(c *cell, q *request) bool {
	if w == nil {
		return true
	}
	m := q.message
	if m == nil {
		m = &message{}
	}
	switch {
	case w.ofOperations() && m.form == operation:
		return w.operation != nil && w.operation.takes(m, w.never)
	case w.ofOperations() && m.form == stored:
		if w.operation == nil {
			return m.key == w.key
		}
		// It is what the policy says that it is.
		described, known := false, false
		for _, ep := range c.sides[theDocument] {
			if ep.messages == nil || ep.messages.operations == nil {
				continue
			}
			if o := ep.messages.operations.registry[m.key]; o != nil {
				in := w.operation.takes(o, w.never)
				if known && in != described {
					return w.never
				}
				described, known = in, true
			}
		}
		return described
	case w.ofOperations():
		return false
	case w.Response:
		return m.form == answer
	case w.Stream:
		return m.form == stream
	case w.Ends:
		return m.form == ending
	case w.ofServices():
		return m.form == called && w.service.takes(m)
	case w.ofCalls():
		if m.form != call || w.method != nil && !w.method.match(m.method) {
			return false
		}
		ofTool := m.method == toolsCall && m.tool != ""
		return (w.tool == nil || ofTool && w.tool.match(m.tool)) &&
			(w.argument == nil || ofTool && (&callRule{arguments: []argumentRule{*w.argument}}).holds(m.arguments))
	case w.ofGit():
		if m.form != fetch && m.form != push || w.repository != nil && !w.repository.match(m.repository) {
			return false
		}
		if w.Fetch {
			return m.form == fetch
		}
		if w.ref != nil || w.Force || w.Delete {
			return m.ref != "" && (w.ref == nil || w.ref.match(m.ref)) && (!w.Force || m.forced) && (!w.Delete || m.delete)
		}
		return true
	case w.ofPackages():
		return m.form == packaged && w.takesPackage(c, q)
	}
	return true // text: by its method
}

// takesPackage asks the registries of a place what a request asks for.
func (w *wants) takesPackage(c *cell, q *request) bool {
	found := false
	for i := range c.requests.packages.registries {
		r := &c.requests.packages.registries[i]
		p, err := registry.Parse(r.kind, r.prefix, c.requests.methods[q.method].example(c.requests.methods), q.message.path)
		if err != nil {
			continue
		}
		in := (w.Registry == "" || string(r.kind) == w.Registry) && p.Action != registry.Index && (w.name == nil || w.name.match(p.Name)) &&
			(!w.Publish || p.Action == registry.Publish) && (w.version == nil || p.Version != "" && w.version.match(p.Version)) &&
			(w.younger == 0 || p.Action == registry.Download && (!q.message.ageKnown || q.message.age < w.younger))
		if in != w.all {
			return in
		}
		found = true
	}
	return found && w.all
}
