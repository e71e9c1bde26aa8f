package cli

import (
	"io"
	"slices"
	"strings"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
)

// body makes of the flags what would be read from a request: its method, and
// the operations or calls in it.
func (f explainFlags) body() (policy.Request, error) {
	const op = "read flags"
	r := policy.Request{Method: f.method}
	switch {
	case len(f.graphql) > 0 && (len(f.rpc) > 0 || f.tool != ""):
		return r, fault.UsageError(op, "--graphql and calls cannot be in one request")
	case f.operation != "" && len(f.graphql) == 0:
		return r, fault.UsageError(op, "--operation belongs to --graphql")
	case f.text && (len(f.rpc) > 0 || f.tool != ""):
		return r, fault.UsageError(op, "calls come in requests, and not with --text")
	case f.text && f.method != "":
		return r, fault.UsageError(op, "--text is a message, which has no --method")
	case f.tool != "" && len(f.rpc) > 0 && !slices.Contains(f.rpc, "tools/call"):
		return r, fault.UsageError(op, "--tool belongs to --rpc-method tools/call")
	}
	for _, text := range f.graphql {
		o, err := operation(text, f.operation)
		if err != nil {
			return r, err
		}
		if r.GraphQL == nil {
			r.GraphQL = &graphql.Request{}
		}
		r.GraphQL.Operations = append(r.GraphQL.Operations, o)
	}
	methods := f.rpc
	if f.tool != "" && len(methods) == 0 {
		methods = []string{"tools/call"}
	}
	if len(methods) > 0 {
		r.RPC = &jsonrpc.Request{Batch: len(methods) > 1}
	}
	for _, m := range methods {
		c := jsonrpc.Call{Method: m}
		if m == "tools/call" {
			c.Tool = f.tool
		}
		r.RPC.Calls = append(r.RPC.Calls, c)
	}
	if r.Method == "" && !f.text {
		r.Method = "POST"
	}
	return r, nil
}

// named fills in what method and path say where the endpoint reads them so: a Git
// operation, or a package. What is none stays unread, which denies.
func (f explainFlags) named(r *policy.Request, governing *policy.Endpoint) {
	switch {
	case governing == nil:
	case governing.Protocol == policy.Git:
		g, err := git.ParseTarget(strings.ToUpper(r.Method), r.Target.Path, r.Target.Query)
		if err != nil {
			return
		}
		for _, ref := range f.refs {
			g.Updates = append(g.Updates, git.Update{Ref: ref, Forced: f.force})
		}
		r.Git = g
	case governing.Protocol == policy.Package:
		r.Package, _ = registry.Parse(governing.Registry, governing.RegistryPath, strings.ToUpper(r.Method), r.Target.Path)
	}
}

// operation reads TYPE:FIELD,FIELD, hash:KEY or id:KEY.
func operation(text, name string) (graphql.Operation, error) {
	kind, rest, _ := strings.Cut(text, ":")
	o := graphql.Operation{Name: name}
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
	default:
		return o, fault.UsageError("read --graphql", "no operation: "+text, "--graphql query:viewer, mutation:createIssue, hash:KEY or id:KEY")
	}
	return o, nil
}

// remark says which flag is missing where the endpoint judges more than
// method and path.
func (f explainFlags) remark(w io.Writer, governing *policy.Endpoint) {
	switch {
	case governing == nil:
	case (governing.Protocol == policy.GraphQL || f.text && governing.GraphQLMessages()) && len(f.graphql) == 0:
		line(w, "note: what is asked there are GraphQL operations: add --graphql TYPE:FIELD")
	case governing.Protocol == policy.Git && len(f.refs) == 0 && strings.HasSuffix(f.path, "/git-receive-pack"):
		line(w, "note: a push is judged by the refs that it changes: add --ref refs/heads/NAME")
	case (governing.Protocol == policy.MCP || governing.Protocol == policy.JSONRPC) && len(f.rpc) == 0 && f.tool == "":
		line(w, "note: what is asked there are calls: add --rpc-method METHOD or --tool NAME")
	}
}
