package naive

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rpcAllows: a POST of which every call is taken by an allow rule. MCP also lets
// through answers to the server, the stream by which the client listens, the end of
// its session, and under the method profile every method; there, tool rules narrow tools/call.
func rpcAllows(e Endpoint, q Question) bool {
	if q.RPC == nil || q.RPC.Faulty {
		return false
	}
	mcp := e.Protocol == "mcp"
	if q.RPC.ReceiveStream {
		return mcp && strings.EqualFold(q.Method, "GET")
	}
	if q.RPC.EndSession {
		return mcp && q.Method == "DELETE"
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
	return (len(r.Tool) == 0 || c.Tool != "" && anyGlob(r.Tool, c.Tool)) && argumentsTaken(r, c)
}

// argumentsTaken: each argument that the rule names is a text that one of its globs
// takes, and that leads where it reads.
func argumentsTaken(r Rule, c Call) bool {
	for _, want := range r.Arguments {
		if c.Argument == nil {
			return false
		}
		text, ok := c.Argument(want.Key)
		if !ok || climbs(text) || !slices.ContainsFunc(want.Any, func(pattern string) bool {
			matches, err := Glob(pattern, text, '/')
			return err == nil && matches
		}) {
			return false
		}
	}
	return true
}

var (
	escape   = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	climbing = regexp.MustCompile(`(^|[/\\])\.\.?($|[/\\])|\x00`)
)

// climbs: the text, also decoded once and twice, has a NUL or dots between slashes,
// or is encoded even then.
func climbs(text string) bool {
	for range 3 {
		if climbing.MatchString(text) {
			return true
		}
		if !escape.MatchString(text) {
			return false
		}
		text = escape.ReplaceAllStringFunc(text, func(e string) string {
			b, err := strconv.ParseUint(e[1:], 16, 8)
			if err != nil {
				panic(err) // it is two digits
			}
			return string([]byte{byte(b)})
		})
	}
	return true
}
