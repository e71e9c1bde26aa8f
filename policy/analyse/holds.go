package analyse

import (
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/registry"
)

// Holds is what an assertion describes of a request's body, of what its path
// means, or of a text message. Texts are globs as in rules. Empty fields stand for
// every request.
type Holds struct {
	// GraphQL is a type, or TYPE:FIELD,FIELD with globs over root fields, or
	// hash:KEY or id:KEY. Never looks for one of the fields in an operation, only and
	// always want all of its fields to be among them: as deny and allow rules do.
	GraphQL    string `json:"graphql,omitempty"`
	Operation  string `json:"operation,omitempty"`  // name of a GraphQL operation
	RPC        string `json:"rpc_method,omitempty"` // of a call
	Tool       string `json:"tool,omitempty"`
	Repository string `json:"repository,omitempty"`
	Ref        string `json:"ref,omitempty"` // that a push changes; a branch, if it does not begin with refs/
	Force      bool   `json:"force,omitempty"`
	Delete     bool   `json:"delete,omitempty"`
	Package    string `json:"package,omitempty"`
	Version    string `json:"version,omitempty"`
	Publish    bool   `json:"publish,omitempty"`
	Text       bool   `json:"text,omitempty"` // text messages alone
}

var holdsKeys = []string{"graphql", "operation", "rpc_method", "tool", "repository", "ref", "force", "delete", "package", "version", "publish", "text"}

func (h *Holds) text(key string) *string {
	switch key {
	case "graphql":
		return &h.GraphQL
	case "operation":
		return &h.Operation
	case "rpc_method":
		return &h.RPC
	case "tool":
		return &h.Tool
	case "repository":
		return &h.Repository
	case "ref":
		return &h.Ref
	case "package":
		return &h.Package
	case "version":
		return &h.Version
	}
	return nil
}

func (h *Holds) flag(key string) *bool {
	switch key {
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
	case "repository", "ref", "package", "version":
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
func (h *Holds) ofCalls() bool      { return h.RPC != "" || h.Tool != "" }
func (h *Holds) ofGit() bool        { return h.Repository != "" || h.Ref != "" || h.Force || h.Delete }
func (h *Holds) ofPackages() bool   { return h.Package != "" || h.Version != "" || h.Publish }

// conflict says why no request is all that is described; "": one may be.
func (h *Holds) conflict(method string) string {
	n := 0
	for _, about := range []bool{h.ofOperations(), h.ofCalls(), h.ofGit(), h.ofPackages()} {
		if about {
			n++
		}
	}
	_, fields, _ := strings.Cut(h.GraphQL, ":")
	switch {
	case n > 1:
		return "keys of several protocols in one description"
	case h.Text && (n > 0 && !h.ofOperations()):
		return "text with keys that are about requests"
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
	any        bool // one of the fields is enough
	operation  *operationRule
	key        string // of a stored operation
	method     *pattern
	tool       *pattern
	repository *pattern
	ref        *pattern
	name       *pattern
	version    *pattern
}

// lowerHolds also gives rules that make the analysis tell apart what is described.
func (a *analysis) lowerHolds(h Holds, word Word) (*messageRules, *wants, error) {
	w := &wants{Holds: h, any: word == Never}
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
	if h.ofCalls() {
		one := callRule{method: w.method}
		if w.tool != nil {
			one.tooled, one.tools = true, []*pattern{w.tool}
		}
		m.calls = &callRules{mcp: true, loose: true, allow: []callRule{one}}
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
		one := packageRule{name: w.name}
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
		m.packages = &packageRules{allow: []packageRule{one}}
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
		return w.operation != nil && w.operation.takes(m, w.any)
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
				in := w.operation.takes(o, w.any)
				if known && in != described {
					return w.any
				}
				described, known = in, true
			}
		}
		return described
	case w.ofOperations():
		return false
	case w.ofCalls():
		return m.form == call && (w.method == nil || w.method.match(m.method)) && (w.tool == nil || m.method == toolsCall && m.tool != "" && w.tool.match(m.tool))
	case w.ofGit():
		if m.form != fetch && m.form != push || w.repository != nil && !w.repository.match(m.repository) {
			return false
		}
		if w.ref != nil || w.Force || w.Delete {
			return m.ref != "" && (w.ref == nil || w.ref.match(m.ref)) && (!w.Force || m.forced) && (!w.Delete || m.delete)
		}
		return true
	case w.ofPackages():
		return m.form == packaged && slices.ContainsFunc(c.requests.kinds.registries, func(r registryKinds) bool {
			p, err := registry.Parse(r.kind, r.prefix, c.requests.methods[q.method].example(c.requests.methods), m.path)
			return err == nil && p.Action != registry.Index && (w.name == nil || w.name.match(p.Name)) &&
				(!w.Publish || p.Action == registry.Publish) && (w.version == nil || p.Version != "" && w.version.match(p.Version))
		})
	}
	return true // text: by its method
}
