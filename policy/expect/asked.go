package expect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/grpc"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// Asked is a request in words: what a list, or a command line, says of it. The
// zero value asks for no more than the connection.
type Asked struct {
	Method string // of HTTP; empty with operations or calls: POST
	Path   string // as a client sends it, with its query

	GraphQL   []string // operations, one or a batch: TYPE:FIELD,FIELD, hash:KEY or id:KEY
	Operation string   // name of them
	RPC       []string // methods of JSON-RPC or MCP calls, one or a batch
	Tool      string   // what tools/call names; alone it is such a call
	Arguments []string // of the tool, all of them text: NAME=TEXT
	Response  bool     // an answer to the server of MCP
	Stream    bool     // the opening of MCP's stream from the server; its method is GET
	Ends      bool     // the end of a session of MCP; its method is DELETE
	Service   string   // of a gRPC call, whose path is /Service/GRPC and whose method is POST
	GRPC      string   // method of the service
	Refs      []string // that a Git push changes
	Force     bool     // the push may leave commits behind
	Delete    bool     // the push removes the refs
	Text      bool     // a text message of the WebSocket that was opened with the path

	Published time.Time // when the version of a package appeared; zero: that is not known
}

// Inspects reports that a request is asked for, and not the connection alone.
func (a Asked) Inspects() bool {
	return a.Method != "" || a.Text || len(a.GraphQL) > 0 || len(a.RPC) > 0 || a.Tool != "" || a.sessions() > 0 || a.Service != ""
}

// sessions counts what of MCP is said that is no call.
func (a Asked) sessions() int {
	n := 0
	for _, said := range []bool{a.Response, a.Stream, a.Ends} {
		if said {
			n++
		}
	}
	return n
}

// Whole is a with what follows from its words: the method, and the path of a gRPC call.
func (a Asked) Whole() Asked {
	switch {
	case a.Service != "":
		a.Method, a.Path = "POST", "/"+a.Service+"/"+a.GRPC
	case a.Method != "" || a.Text:
	case a.Stream:
		a.Method = "GET"
	case a.Ends:
		a.Method = "DELETE"
	}
	return a
}

// Check is nil if one request can be all that is said.
func (a Asked) Check() error {
	calls := len(a.RPC) > 0 || a.Tool != ""
	n := a.sessions()
	switch {
	case n > 1, n > 0 && (calls || len(a.GraphQL) > 0 || len(a.Refs) > 0):
		return errors.New("a response, a stream, the end of a session, calls, operations and pushes come in requests of their own")
	case n > 0 && a.Text:
		return errors.New("a response, a stream and the end of a session come in requests, and not in text messages")
	case (a.Service == "") != (a.GRPC == ""):
		return errors.New("service and grpc_method belong together")
	case a.Service != "" && (a.Method != "" || a.Path != "" || calls || n > 0 || len(a.GraphQL) > 0 || len(a.Refs) > 0 || a.Text):
		return errors.New("a gRPC call is told by service and grpc_method alone: they are its path")
	case len(a.GraphQL) > 0 && calls:
		return errors.New("GraphQL operations and calls cannot be in one request")
	case a.Operation != "" && len(a.GraphQL) == 0:
		return errors.New("the name of an operation belongs to a GraphQL operation")
	case a.Text && calls:
		return errors.New("calls come in requests, and not in text messages")
	case a.Text && a.Method != "":
		return errors.New("a text message has no method")
	case a.Tool != "" && len(a.RPC) > 0 && !slices.Contains(a.RPC, "tools/call"):
		return errors.New("a tool belongs to the call tools/call")
	case len(a.Arguments) > 0 && a.Tool == "":
		return errors.New("an argument belongs to a tool")
	case slices.ContainsFunc(a.Arguments, func(s string) bool { return strings.Index(s, "=") < 1 }):
		return errors.New("an argument is like NAME=TEXT")
	case (a.Force || a.Delete) && len(a.Refs) == 0:
		return errors.New("force and delete belong to a push, which changes a ref")
	case len(a.Refs) > 0 && (a.Text || len(a.GraphQL) > 0 || calls):
		return errors.New("a ref belongs to a Git push, which has a method and a path alone")
	case len(a.Refs) > 0 && (a.Method == "" || a.Path == ""):
		return errors.New("a ref belongs to a Git push, whose method is POST and whose path ends in /git-receive-pack")
	}
	for _, text := range a.GraphQL {
		if _, err := a.operation(text); err != nil {
			return err
		}
	}
	return nil
}

// Request is what a policy would be given for what was asked on a connection, and
// the endpoint that says how it is read (nil: nothing reads it). The words must
// have passed Check and the target must be that of Path. A Git operation, a
// gRPC method or a package that method and path do not name stays unread, which denies.
func (a Asked) Request(e *policy.Engine, c policy.Connection, t target.Target) (*policy.Request, *policy.Endpoint) {
	a = a.Whole()
	r := &policy.Request{Method: a.Method, Target: t, Text: a.Text}
	if r.Method == "" && !a.Text {
		r.Method = "POST"
	}
	for _, text := range a.GraphQL {
		o, err := a.operation(text)
		if err != nil {
			return r, nil // Check has told; with no operation it is denied
		}
		if r.GraphQL == nil {
			r.GraphQL = &graphql.Request{}
		}
		r.GraphQL.Operations = append(r.GraphQL.Operations, o)
	}
	r.RPC = a.calls()
	governing := e.Governing(c, t.Path)
	switch method := strings.ToUpper(r.Method); {
	case a.Text:
	case len(a.Refs) > 0 || governing != nil && governing.Protocol == policy.Git:
		g, err := git.ParseTarget(method, t.Path, t.Query)
		if err != nil {
			break
		}
		for _, ref := range a.Refs {
			g.Updates = append(g.Updates, git.Update{Ref: ref, Forced: a.Force, Delete: a.Delete})
		}
		r.Git = g
	case governing != nil && governing.Protocol == policy.GRPC:
		if g, err := grpc.Parse(method, t.Path, t.HasQuery); err == nil {
			r.GRPC = &g
		}
	case governing != nil && governing.Protocol == policy.Package:
		if p, err := registry.Parse(governing.Registry, governing.RegistryPath, method, t.Path); err == nil {
			p.Published = a.Published
			r.Package = p
		}
	}
	return r, governing
}

// Unread are the words that are said and that nothing reads at the endpoint that
// governs, each with the hint what to do instead. At a connection that nobody
// inspects (nil) all that is said may be so: it passes as it is.
func (a Asked) Unread(governing *policy.Endpoint) []Unread {
	if governing == nil {
		return nil
	}
	p := governing.Protocol
	operations := p == policy.GraphQL || p == policy.WebSocket && a.Text && governing.GraphQLMessages()
	calls := p == policy.MCP || p == policy.JSONRPC
	var list []Unread
	for _, w := range []struct {
		word       string
		said, read bool
		hint       string
	}{
		{"graphql", len(a.GraphQL) > 0, operations, "protocol: graphql judges operations"},
		{"operation", a.Operation != "", operations, "protocol: graphql judges operations"},
		{"rpc_method", len(a.RPC) > 0, calls, "protocol: mcp and json-rpc judge calls"},
		{"tool", a.Tool != "", p == policy.MCP, "protocol: mcp judges tools"},
		{"response", a.Response, p == policy.MCP, "protocol: mcp judges responses"},
		{"stream", a.Stream, p == policy.MCP, "protocol: mcp judges streams"},
		{"ends", a.Ends, p == policy.MCP, "protocol: mcp judges the ends of sessions"},
		{"service", a.Service != "", p == policy.GRPC, "protocol: grpc judges services"},
		{"published", !a.Published.IsZero(), p == policy.Package, "protocol: package judges the age of versions"},
		{"ref", len(a.Refs) > 0, p == policy.Git, "protocol: git judges refs"},
		{"force", a.Force, p == policy.Git, "protocol: git judges what a push does"},
		{"delete", a.Delete, p == policy.Git, "protocol: git judges what a push does"},
		// Elsewhere a text message is denied, which is an answer.
		{"text", a.Text, p != policy.REST, "protocol: websocket judges text messages"},
	} {
		switch {
		case !w.said || w.read:
		case p == policy.WebSocket && governing.GraphQLMessages() && (w.word == "graphql" || w.word == "operation"):
			list = append(list, Unread{w.word, "operations come in text messages there: say text as well"})
		case p == policy.JSONRPC && w.word == "tool":
			list = append(list, Unread{w.word, "json-rpc judges the method alone: say rpc_method tools/call; " + w.hint})
		default:
			list = append(list, Unread{w.word, "remove it, or change the endpoint: " + w.hint})
		}
	}
	return list
}

// Unread is one word of a request that nothing reads, as a list spells it.
type Unread struct{ Word, Hint string }

func (a Asked) calls() *jsonrpc.Request {
	methods := a.RPC
	if a.Tool != "" && len(methods) == 0 {
		methods = []string{"tools/call"}
	}
	if a.sessions() > 0 {
		return &jsonrpc.Request{Response: a.Response, ReceiveStream: a.Stream, EndSession: a.Ends}
	}
	if len(methods) == 0 {
		return nil
	}
	r := &jsonrpc.Request{Batch: len(methods) > 1}
	for _, m := range methods {
		c := jsonrpc.Call{Method: m}
		if m == "tools/call" {
			c.Tool = a.Tool
			texts := map[string]string{}
			for _, text := range a.Arguments {
				name, value, _ := strings.Cut(text, "=")
				texts[name] = value
			}
			c.Arguments = jsonrpc.TextArguments(texts)
		}
		r.Calls = append(r.Calls, c)
	}
	return r
}

// operation reads TYPE:FIELD,FIELD, hash:KEY or id:KEY.
func (a Asked) operation(text string) (graphql.Operation, error) {
	kind, rest, _ := strings.Cut(text, ":")
	o := graphql.Operation{Name: a.Operation}
	switch {
	case kind == "hash" && rest != "":
		o.Hash = rest
	case kind == "id" && rest != "":
		o.ID = rest
	case kind == "query" || kind == "mutation" || kind == "subscription":
		o.Type = kind
		for field := range strings.SplitSeq(rest, ",") {
			if field = strings.TrimSpace(field); field != "" {
				o.Fields = append(o.Fields, field)
			}
		}
		slices.Sort(o.Fields)
	}
	if o.Hash == "" && o.ID == "" && len(o.Fields) == 0 {
		return o, fmt.Errorf("no operation: %s; it is like query:viewer, mutation:createIssue, hash:KEY or id:KEY", policy.Show(text))
	}
	return o, nil
}

// words is the request without what could be a secret: its query and the texts of
// arguments are left out.
func (a Asked) words() (before, after string) {
	var parts []string
	switch {
	case a.Text:
		parts = append(parts, "text message")
	case a.Method != "":
		parts = append(parts, a.Method)
	}
	parts = append(parts, a.GraphQL...)
	if a.Operation != "" {
		parts = append(parts, "named "+a.Operation)
	}
	parts = append(parts, a.RPC...)
	if a.Tool != "" {
		parts = append(parts, "tool "+a.Tool)
	}
	for _, text := range a.Arguments {
		name, _, _ := strings.Cut(text, "=")
		parts = append(parts, "argument "+name)
	}
	for _, one := range []struct {
		said bool
		word string
	}{{a.Response, "response"}, {a.Stream, "stream"}, {a.Ends, "end of a session"}} {
		if one.said {
			parts = append(parts, one.word)
		}
	}
	if !a.Published.IsZero() {
		parts = append(parts, "published "+a.Published.Format(time.RFC3339))
	}
	if a.Force {
		parts = append(parts, "force")
	}
	if a.Delete {
		parts = append(parts, "delete")
	}
	parts = append(parts, a.Refs...)
	if len(parts) > 0 {
		before = strings.Join(parts, " ") + " "
	}
	after, _, _ = strings.Cut(a.Path, "?")
	return before, after
}
