package naive

import "strings"

// rpcAllows: a POST of which every call is taken by an allow rule. MCP also lets
// through answers to the server, the stream by which the client listens, and
// under the method profile every method; there, tool rules narrow tools/call.
func rpcAllows(e Endpoint, q Question) bool {
	if q.RPC == nil || q.RPC.Faulty {
		return false
	}
	mcp := e.Protocol == "mcp"
	if q.RPC.ReceiveStream {
		return mcp && strings.EqualFold(q.Method, "GET")
	}
	if !strings.EqualFold(q.Method, "POST") || q.RPC.Response && !mcp || len(q.RPC.Calls) == 0 && !q.RPC.Response {
		return false
	}
	toolRules := false
	for _, r := range e.Allow {
		toolRules = toolRules || len(r.Tool) > 0
	}
	for _, c := range q.RPC.Calls {
		taken := mcp && e.AllMCPMethods && !(c.Method == "tools/call" && toolRules)
		for _, r := range e.Allow {
			taken = taken || callTaken(e, r, c)
		}
		if !taken {
			return false
		}
	}
	return true
}

// rpcDenies: a deny rule takes one of the calls of a POST, or an answer is sent
// to a plain JSON-RPC server.
func rpcDenies(e Endpoint, q Question) bool {
	if q.RPC == nil {
		return false
	}
	if q.RPC.Response && e.Protocol == "json-rpc" {
		return true
	}
	if !strings.EqualFold(q.Method, "POST") {
		return false
	}
	for _, c := range q.RPC.Calls {
		for _, r := range e.Deny {
			if callTaken(e, r, c) {
				return true
			}
		}
	}
	return false
}

func callTaken(e Endpoint, r Rule, c Call) bool {
	method := r.Method
	if method == "" && e.Protocol == "mcp" && e.AllMCPMethods {
		method = "*" // the profile fills the method in
		if len(r.Tool) > 0 {
			method = "tools/call"
		}
	}
	switch {
	case method == "":
		return false
	case method == "*":
	case e.Protocol == "mcp":
		if !anyGlob([]string{method}, c.Method) {
			return false
		}
	case method != c.Method:
		return false
	}
	return len(r.Tool) == 0 || c.Tool != "" && anyGlob(r.Tool, c.Tool)
}
