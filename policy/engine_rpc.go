package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/target"
)

// calls are the rules of a json-rpc or mcp endpoint.
type calls struct {
	allow, deny []callRule
	profile     bool // mcp: every method, but tools/call where rules name tools
	narrowed    bool // some allow rule names tools
	// What is allowed without a rule of its own.
	byProfile, stream, answers, ends cited
}

type callRule struct {
	cited
	method  string // empty: methods; "*" of json-rpc is every
	every   bool
	methods glob.Glob
	tooled  bool
	tools   target.Matcher

	arguments []argumentRule // all have to match; of allow rules alone
}

type argumentRule struct {
	name  string
	globs []glob.Glob
}

const (
	reasonNoCall    = "the request holds no call that could be read"
	reasonRPCMethod = "calls come with POST alone"
	reasonAnswer    = "a client of JSON-RPC sends no responses"
	reasonToolName  = "tools/call without a tool name of letters, digits, _ - . (strict_tool_names)"
	reasonNoTool    = "tools/call without the name of a tool"
	reasonStream    = "a stream of the server's messages comes with GET, and holds no calls"
	reasonEnds      = "a session ends with DELETE, which holds no calls"
	reasonArgument  = "no rule of the network policies allows this tool with these arguments"
	reasonCall      = "no rule of the network policies allows this method or tool"
	reasonCallAudit = "no rule allows this method or tool; enforcement is audit, so it is forwarded"
)

func (c *compiler) calls(allow []RequestRule, ep *endpoint) (calls, error) {
	var k calls
	var err error
	if k.allow, err = c.callRules(allow, ep, "allows"); err != nil {
		return k, err
	}
	if k.deny, err = c.callRules(ep.spec.Deny, ep, "denies"); err != nil {
		return k, err
	}
	if ep.spec.Protocol == MCP {
		k.profile = ep.spec.MCP.AllMethods
		for i := range k.allow {
			k.narrowed = k.narrowed || k.allow[i].tooled
		}
		at := RequestRule{At: ep.spec.At}
		k.byProfile = cite(at, ep, "allows", "every MCP method (allow_all_known_mcp_methods)")
		k.stream = cite(at, ep, "allows", "the stream of the server's messages")
		k.ends = cite(at, ep, "allows", "the end of a session")
		k.answers = cite(at, ep, "allows", "responses to the server")
	}
	return k, nil
}

func (c *compiler) callRules(specs []RequestRule, ep *endpoint, verb string) ([]callRule, error) {
	var list []callRule
	for _, s := range specs {
		r := callRule{cited: cite(s, ep, verb, callText(s)), method: s.Method, tooled: s.Tools != nil}
		if r.tooled && r.method == "" {
			r.method = toolsCall
		}
		switch {
		case r.method == "" && ep.spec.Protocol == MCP && ep.spec.MCP.AllMethods && verb == "allows":
			continue // the profile itself
		case r.method == "":
			continue // matches nothing, and Parse has refused it
		case r.method == "*" && ep.spec.Protocol == JSONRPC:
			r.every = true
		case strings.ContainsAny(r.method, globSigns):
			if ep.spec.Protocol != MCP || !strings.HasPrefix(r.method, "tools/") {
				return nil, fmt.Errorf("method %s: a glob that is not below tools/", show(r.method))
			}
			g, err := glob.Compile(r.method, '.')
			if err != nil {
				return nil, fmt.Errorf("method %s: %w", show(r.method), err)
			}
			r.method, r.methods = "", g
		}
		if r.tooled && ep.spec.Protocol != MCP {
			return nil, fmt.Errorf("tools on protocol %s", ep.spec.Protocol)
		}
		if len(s.Tools) > 0 {
			m, err := target.ParseMatcher(s.Tools...)
			if err != nil {
				return nil, fmt.Errorf("tool: %w", err)
			}
			r.tools = m
		}
		for _, a := range s.Arguments {
			one := argumentRule{name: a.Name}
			for _, text := range a.Any {
				g, err := glob.Compile(text, '/')
				if err != nil {
					return nil, fmt.Errorf("arguments: %w", err)
				}
				one.globs = append(one.globs, g)
			}
			r.arguments = append(r.arguments, one)
		}
		list = append(list, r)
	}
	return list, nil
}

func callText(s RequestRule) string {
	switch {
	case s.Tools != nil:
		return "calls of the tools " + strings.Join(s.Tools, ", ")
	case s.Method == "*":
		return "every method"
	}
	return "the method " + show(s.Method)
}

func (rule *callRule) takes(c *jsonrpc.Call) bool {
	return rule.takesTool(c) && rule.takesArguments(c.Arguments)
}

func (rule *callRule) takesTool(c *jsonrpc.Call) bool {
	return rule.takesMethod(c.Method) && (!rule.tooled || rule.tools.Match(c.Tool))
}

// takesArguments: what is not there, or is no text, matches nothing.
func (rule *callRule) takesArguments(a *jsonrpc.Arguments) bool {
	if len(rule.arguments) == 0 || a.Open() {
		return true
	}
	for i := range rule.arguments {
		if text, ok := a.Text(rule.arguments[i].name); !ok || !rule.arguments[i].takes(text) {
			return false
		}
	}
	return true
}

// takes: a text that leads elsewhere than it reads matches nothing.
func (rule *argumentRule) takes(text string) bool {
	if climbs(text) {
		return false
	}
	for _, g := range rule.globs {
		if g.Match(text) {
			return true
		}
	}
	return false
}

// climbs reports a text with "." or ".." between slashes of either kind, also
// percent-encoded once or twice, or with a NUL, which ends it for some.
func climbs(text string) bool {
	for range 3 {
		for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == '\\' }) {
			if part == "." || part == ".." {
				return true
			}
		}
		if strings.ContainsRune(text, 0) {
			return true
		}
		plain := percentDecoded(text)
		if plain == text {
			return false
		}
		text = plain
	}
	return true // encoded again and again
}

// percentDecoded decodes what is well formed and leaves the rest.
func percentDecoded(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func (rule *callRule) takesMethod(method string) bool {
	switch {
	case method == "":
		return false
	case rule.every:
		return true
	case rule.method != "":
		return rule.method == method
	}
	return rule.methods.Match(method)
}

// judgeCalls: each call has to be allowed by a rule of its own.
func (e *Engine) judgeCalls(selected *endpoint, r *Request, j *judgement) {
	j.none, j.noneAudit = reasonCall, reasonCallAudit
	mcp, rpc := selected.spec.Protocol == MCP, r.RPC
	switch {
	case rpc == nil:
		j.hard = reasonNoCall
		return
	case rpc.ReceiveStream:
		if !mcp || r.Method != "GET" || len(rpc.Calls) > 0 || rpc.Response || rpc.Batch {
			j.hard = reasonStream
			return
		}
		e.same(selected, r, func(ep *endpoint) {
			if ep.grants(r) {
				j.offers(&ep.calls.stream, ep, r)
			}
		})
		j.settle()
		return
	case rpc.EndSession:
		if !mcp || r.Method != "DELETE" || len(rpc.Calls) > 0 || rpc.Response || rpc.Batch {
			j.hard = reasonEnds
			return
		}
		e.same(selected, r, func(ep *endpoint) {
			if ep.grants(r) {
				j.offers(&ep.calls.ends, ep, r)
			}
		})
		j.settle()
		return
	case rpc.Response && !mcp:
		j.hard = reasonAnswer
		return
	case len(rpc.Calls) == 0 && !rpc.Response:
		j.hard = reasonNoCall
		return
	}
	// What audit does not lift is looked at before the method, which it does lift.
	for i := range rpc.Calls {
		c := &rpc.Calls[i]
		switch {
		case !mcp || c.Method != toolsCall:
		case c.Tool == "":
			j.hard = reasonNoTool
		case !selected.spec.MCP.LooseToolNames && !strictToolName(c.Tool):
			j.hard = reasonToolName
		}
	}
	refused := false
	if rpc.Response {
		e.taking(r, func(ep *endpoint) {
			switch {
			case !ep.grants(r):
			case ep.spec.Protocol == JSONRPC:
				j.hard = reasonAnswer
			case ep.spec.Protocol == MCP:
				j.offers(&ep.calls.answers, ep, r)
			}
		})
		refused = !j.settle()
	}
	if r.Method != "POST" {
		j.allow, j.none = nil, reasonRPCMethod
		return
	}
	for i := range rpc.Calls {
		if !e.judgeCall(selected, r, &rpc.Calls[i], j) {
			refused = true
		}
	}
	if refused {
		j.allow = nil
	}
}

// judgeCall reports whether some endpoint of the governing one's protocol
// allows the call. Deny rules of the other protocol about calls count, too.
func (e *Engine) judgeCall(selected *endpoint, r *Request, c *jsonrpc.Call, j *judgement) bool {
	e.taking(r, func(ep *endpoint) {
		if !ep.ofCalls() {
			return
		}
		k := &ep.calls
		for i := range k.deny {
			if k.deny[i].takes(c) {
				j.denies(&k.deny[i].cited, ep)
				break
			}
		}
		if ep.spec.Protocol != selected.spec.Protocol || !ep.grants(r) {
			return
		}
		by, almost := k.allowing(c)
		if by != nil {
			j.offers(by, ep, r)
		} else if almost && j.none == reasonCall {
			j.none = reasonArgument
		}
	})
	return j.settle()
}

// allowing is what allows a call, if anything does. almost: a rule would with
// other arguments.
func (k *calls) allowing(c *jsonrpc.Call) (by *cited, almost bool) {
	for i := range k.allow {
		if !k.allow[i].takesTool(c) {
			continue
		}
		if k.allow[i].takesArguments(c.Arguments) {
			return &k.allow[i].cited, false
		}
		almost = true
	}
	if k.profile && c.Method != "" && (!k.narrowed || c.Method != toolsCall) {
		return &k.byProfile, false
	}
	return nil, almost
}
