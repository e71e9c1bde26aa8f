package policygen

import (
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
)

// message draws what was read from the body of a request to an endpoint of a
// protocol that has more to it than method and path, or from a text message.
func message(t *rapid.T, e policy.Endpoint, rule policy.RequestRule, r *policy.Request) {
	switch e.Protocol {
	case policy.WebSocket:
		if r.Text = once(t, 2, "text message") || rule.Method == policy.MethodText; r.Text && e.GraphQLMessages() && !once(t, 6, "no operations") {
			r.GraphQL = operations(t, e, rule)
		}
	case policy.GraphQL:
		if r.Method = "POST"; once(t, 4, "by get") {
			r.Method = "GET"
		}
		if !once(t, 6, "no operations") {
			r.GraphQL = operations(t, e, rule)
		}
	case policy.JSONRPC, policy.MCP:
		if r.Method = "POST"; once(t, 6, "by get") {
			r.Method = "GET"
		}
		if !once(t, 6, "no calls") {
			r.RPC = calls(t, e, rule, r)
		}
	}
}

func operations(t *rapid.T, e policy.Endpoint, rule policy.RequestRule) *graphql.Request {
	g := &graphql.Request{}
	for range rapid.IntRange(1, 2).Draw(t, "operations") {
		o := graphql.Operation{Type: rule.OperationType, Name: Instance(t, rule.OperationName, '.')}
		if o.Type == "" || o.Type == "*" || once(t, 4, "other type") {
			o.Type = rapid.SampledFrom([]string{"query", "mutation", "subscription"}).Draw(t, "type")
		}
		for _, f := range rule.Fields {
			if !once(t, 3, "without the field") {
				o.Fields = append(o.Fields, Instance(t, f, '.'))
			}
		}
		if once(t, 3, "more fields") {
			o.Fields = append(o.Fields, rapid.SampledFrom([]string{"viewer", "deleteAll", "a"}).Draw(t, "field"))
		}
		slices.Sort(o.Fields)
		if len(e.GraphQL.Registry) > 0 && once(t, 6, "document and id") {
			o.ID = rapid.SampledFrom(e.GraphQL.Registry).Draw(t, "id").Key
		}
		if len(e.GraphQL.Registry) > 0 && once(t, 3, "persisted") {
			o = graphql.Operation{Hash: rapid.SampledFrom(e.GraphQL.Registry).Draw(t, "registered").Key}
			if once(t, 3, "by id") {
				o.Hash, o.ID = "", o.Hash
			}
		}
		g.Operations = append(g.Operations, o)
	}
	return g
}

// calls are such as the reader of bodies gives: a tool stands with tools/call and
// nowhere else.
func calls(t *rapid.T, e policy.Endpoint, rule policy.RequestRule, r *policy.Request) *jsonrpc.Request {
	if e.Protocol == policy.MCP && once(t, 10, "stream") {
		r.Method = "GET"
		return &jsonrpc.Request{ReceiveStream: true}
	}
	q := &jsonrpc.Request{Response: once(t, 8, "answer")}
	for range rapid.IntRange(0, 2).Draw(t, "calls") {
		c := jsonrpc.Call{Method: Instance(t, rule.Method, '/')}
		if len(rule.Tools) > 0 {
			c.Method = "tools/call"
		}
		if c.Method == "" || once(t, 4, "other method") {
			c.Method = rapid.SampledFrom([]string{"initialize", "tools/list", "tools/call", "a.b"}).Draw(t, "call")
		}
		if e.Protocol == policy.MCP && c.Method == "tools/call" {
			if len(rule.Tools) > 0 {
				c.Tool = strings.ReplaceAll(Instance(t, rapid.SampledFrom(rule.Tools).Draw(t, "tool glob"), '.'), "/", "-")
			}
			if c.Tool == "" || once(t, 4, "other tool") {
				c.Tool = rapid.SampledFrom([]string{"search", "delete_all"}).Draw(t, "tool")
			}
		}
		q.Calls = append(q.Calls, c)
	}
	q.Batch = len(q.Calls) > 1
	return q
}
