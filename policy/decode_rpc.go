package policy

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/policy/glob"
)

// toolsCall is the one method of MCP that names a tool.
const toolsCall = "tools/call"

// globSigns make a text more than itself.
const globSigns = `*?[]{}\`

func (d *decoder) mcpSection(v value, e *Endpoint) {
	s, ok := d.section(v, "mcp", mcpWords)
	if !ok {
		return
	}
	if e.Protocol != MCP {
		d.fault(v, Conflict, "mcp on an endpoint of another protocol", "protocol: mcp", "remove it, or write protocol: mcp")
	}
	if m, ok := s.get("max_body_bytes"); ok {
		if e.MaxBody > 0 {
			d.fault(m, Conflict, "max_body_bytes in mcp and in json_rpc", "one of them", "")
		}
		e.MaxBody = d.bodyLimit(m)
	}
	if b, ok := s.get("strict_tool_names"); ok {
		before := len(d.faults)
		e.MCP.LooseToolNames = !d.boolean(b) && len(d.faults) == before
		if e.MCP.LooseToolNames {
			d.warn(b, Weak, "tool names of any form pass: two that look alike may be two tools", "remove it if the server's names are letters, digits, _ - .")
		}
	}
	if b, ok := s.get("allow_all_known_mcp_methods"); ok {
		e.MCP.AllMethods = d.boolean(b)
	}
	if p, ok := s.get("pins"); ok {
		d.pins(p, e)
	}
}

// pins decodes mcp.pins.
func (d *decoder) pins(v value, e *Endpoint) {
	if e.Protocol != MCP {
		return // said already
	}
	d.mapping(v, "of a tool to the SHA-256 of its definition", func(key *yaml.Node, val value) {
		pin := ToolPin{Tool: key.Value, At: d.at(key)}
		if val.n.Kind != yaml.ScalarNode || val.n.Value != "any" {
			var ok bool
			if pin.SHA256, ok = d.digest(val); !ok {
				return
			}
		}
		e.ToolPins = append(e.ToolPins, pin)
	})
	slices.SortFunc(e.ToolPins, func(a, b ToolPin) int { return strings.Compare(a.Tool, b.Tool) })
}

// callRules decodes rules and deny_rules of a json-rpc or mcp endpoint.
func (d *decoder) callRules(v value, s section, e *Endpoint) {
	r := ruleReader{
		optional: e.Protocol == MCP && e.MCP.AllMethods,
		example:  "write - allow: {method: initialize}",
		decode:   func(v value, _ bool) RequestRule { return d.rpcRule(v, e) },
		empty:    func(r RequestRule) bool { return r.Method == "" },
	}
	if e.Protocol == MCP {
		r.decode = func(v value, deny bool) RequestRule { return d.mcpRule(v, e, deny) }
		r.empty = func(r RequestRule) bool { return r.Method == "" && r.Tools == nil && !e.MCP.AllMethods }
	}
	d.endpointRules(v, s, e, r)
	if e.Protocol == MCP {
		d.broadRules(v, e)
	}
}

// rpcRule: a method, exactly, or "*" for every one.
func (d *decoder) rpcRule(v value, e *Endpoint) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	s, ok := d.ruleSection(v, e, "method")
	m, written := s.given("method")
	if !written && v.n.Kind == yaml.MappingNode {
		d.fault(value{v.n, pathKey(v.path, "method")}, Missing, "", "the name of a method, or \"*\"", "")
	}
	if !ok || !written {
		return r
	}
	text, ok := d.text(m, "the name of a method, or \"*\"")
	if ok && text != "*" && strings.ContainsAny(text, globSigns) {
		d.fault(m, BadValue, show(text), "the name of a method, or \"*\"", "methods are compared as they are: write one rule for each")
		return r
	}
	r.Method = text
	return r
}

func (d *decoder) mcpRule(v value, e *Endpoint, deny bool) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	s, ok := d.ruleSection(v, e, "method", "tool", "params", "arguments")
	if !ok {
		return r
	}
	m, hasMethod := s.given("method")
	if hasMethod {
		r.Method = d.mcpMethod(m)
	}
	tool, hasTool := s.get("tool") // an empty one is a fault, and not every tool
	if p, ok := s.given("params"); ok {
		if name, ok := d.toolParam(p); ok {
			if hasTool {
				d.fault(v, Conflict, "tool and params.name together", "one of them", "")
			}
			tool, hasTool = name, true
		}
	}
	if hasTool {
		r.Tools = d.tools(tool, e)
	}
	if a, ok := s.get("arguments"); ok {
		r.Arguments = d.arguments(a)
		switch {
		case deny:
			d.fault(a, Conflict, "arguments in a deny rule", "", "say in the allow rule which arguments are allowed")
		case !hasTool:
			d.fault(a, Conflict, "arguments without a tool", "a tool beside them", "")
		}
	}
	switch {
	case hasTool && hasMethod && r.Method != "" && r.Method != toolsCall:
		d.fault(m, Conflict, "a tool with the method "+show(r.Method), toolsCall, "")
	case !hasMethod && !e.MCP.AllMethods:
		hint := "only mcp.allow_all_known_mcp_methods: true makes it optional"
		if hasTool {
			hint = "write method: " + toolsCall + " beside the tool"
		}
		d.fault(value{v.n, pathKey(v.path, "method")}, Missing, "", "the name of a method", hint)
	case deny && !hasMethod && !hasTool:
		d.fault(v, Missing, "", "a method or a tool", "a deny rule without them would deny every call")
	case hasTool && r.Method == "":
		r.Method = toolsCall
	}
	return r
}

// arguments decodes the clauses about arguments of a tool.
func (d *decoder) arguments(v value) (list []ArgumentRule) {
	d.mapping(v, "of an argument to a matcher", func(key *yaml.Node, val value) {
		if globs, ok := d.matcherBy(val, '/'); ok {
			list = append(list, ArgumentRule{key.Value, globs})
		}
	})
	if len(list) == 0 {
		d.fault(v, Missing, "", "at least one argument with a glob", "remove arguments to take every call of the tool")
	}
	slices.SortFunc(list, func(a, b ArgumentRule) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (d *decoder) mcpMethod(v value) string {
	const want = "the name of a method, or a glob below tools/"
	text, ok := d.text(v, want)
	switch {
	case !ok || d.globFault(v, text, '.'):
		return ""
	case strings.ContainsAny(text, globSigns) && !strings.HasPrefix(text, "tools/"):
		d.fault(v, BadValue, show(text), want, "for every method leave it out and write mcp: {allow_all_known_mcp_methods: true}")
		return ""
	}
	return text
}

// toolParam decodes params, in which name is the other spelling of tool.
func (d *decoder) toolParam(v value) (name value, ok bool) {
	d.mapping(v, "of a parameter to a matcher", func(key *yaml.Node, val value) {
		if !slices.ContainsFunc(paramWords, func(w word) bool { return w.name == key.Value }) {
			d.fault(value{key, val.path}, Conflict, "the parameter "+show(key.Value), "params.name, which is the tool", "version 2 has arguments: beside tool, for the arguments of the tool")
			return
		}
		name, ok = val, true
	})
	return name, ok
}

func (d *decoder) tools(v value, e *Endpoint) []string {
	globs, ok := d.matcher(v)
	if !ok {
		return []string{} // matches no tool
	}
	for _, g := range globs {
		if e.MCP.LooseToolNames && strings.ContainsAny(g, globSigns) {
			d.fault(v, Conflict, show(g)+" with strict_tool_names: false", "tool names without wildcards", "a wildcard may match names that only look like what was meant")
			break
		}
	}
	return globs
}

// broadRules: a rule that takes every tool beside rules that name tools would
// make those look as if they limited something.
func (d *decoder) broadRules(v value, e *Endpoint) {
	if !slices.ContainsFunc(e.Allow, func(r RequestRule) bool { return r.Tools != nil }) {
		return
	}
	for _, r := range e.Allow {
		if r.Tools == nil && (takesToolsCall(r.Method) || r.Method == "" && e.MCP.AllMethods) {
			d.faultAt(r.At, v.path+".rules", Conflict, "a rule that allows every tool beside one that names tools", "one of them", "name the tools in both")
		}
	}
	for _, r := range e.Deny {
		if r.Tools == nil && takesToolsCall(r.Method) {
			d.faultAt(r.At, v.path+".deny_rules", Conflict, "a rule that denies every tool beside one that allows some", "one of them", "name the tools in the deny rule")
		}
	}
}

func takesToolsCall(method string) bool {
	if method == toolsCall {
		return true
	}
	g, err := glob.Compile(method, '.')
	return method != "" && err == nil && g.Match(toolsCall)
}
