package jsonrpc

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/creel-run/creel/policy/internal/strictjson"
)

const (
	toolsCall   = "tools/call"
	maxToolName = 128
)

// checkParams checks the parameters of methods that MCP defines for clients,
// and notes the tool of tools/call. Methods that it does not define are
// extensions, with any parameters.
func (c *Call) checkParams(hasID bool, params strictjson.Value, o Options) error {
	if c.Method == toolsCall {
		if !hasID {
			return fault(Notification)
		}
		return c.tool(params, o)
	}
	if p, known := profileOf(c.Method); known && !p.holds(params) {
		return fault(Params)
	}
	return nil
}

// tool notes params.name and the arguments. A positional params is no object, and
// refused.
func (c *Call) tool(params strictjson.Value, o Options) error {
	if params.Kind != strictjson.Object {
		return fault(Params)
	}
	p, err := params.Pick("name", "arguments")
	if err != nil {
		return &Error{Keys, err}
	}
	name, arguments := p[0], p[1]
	if name.Kind != strictjson.String || !toolName(name.Text, o) {
		return fault(ToolName)
	}
	c.Tool = name.Text
	if arguments.Kind == strictjson.Object { // else none that a rule could match
		c.Arguments = &Arguments{members: arguments.Members}
	}
	return nil
}

func toolName(s string, o Options) bool {
	if s == "" {
		return false
	}
	if o.LaxToolNames {
		return !strings.ContainsFunc(s, unicode.IsControl)
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return len(s) <= maxToolName
}

// profile is what the params of a method hold: members and the check of each.
// Where it is optional, the params may be absent or null as well.
type profile struct {
	optional bool
	members  []member
}

type member struct {
	key  string
	test func(strictjson.Value) bool
}

func (p profile) holds(v strictjson.Value) bool {
	if !v.Given() {
		return p.optional
	}
	return hasMembers(v, p.members...)
}

// hasMembers reports an object whose members pass. A member that is not there
// is tested as an absent value.
func hasMembers(v strictjson.Value, members ...member) bool {
	if v.Kind != strictjson.Object {
		return false
	}
	for _, m := range members {
		got, err := v.Pick(m.key)
		if err != nil || !m.test(got[0]) {
			return false
		}
	}
	return true
}

// profileOf is what MCP defines for the methods that clients send. It is a
// function, so that nothing is built at start.
func profileOf(method string) (_ profile, known bool) {
	needs := func(members ...member) (profile, bool) { return profile{members: members}, true }
	may := func(members ...member) (profile, bool) { return profile{optional: true, members: members}, true }
	switch method {
	case "initialize":
		return needs(member{"protocolVersion", isString}, member{"capabilities", isObject}, member{"clientInfo", isImplementation})
	case "prompts/get":
		return needs(member{"name", isString})
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		return needs(member{"uri", isString})
	case "logging/setLevel":
		return needs(member{"level", isLevel})
	case "completion/complete":
		return needs(member{"ref", isReference}, member{"argument", isArgument})
	case "tasks/get", "tasks/result", "tasks/cancel":
		return needs(member{"taskId", isString})
	case "notifications/progress":
		return needs(member{"progressToken", isToken}, member{"progress", isNumber})
	case "notifications/cancelled":
		return needs(member{"requestId", isTokenOrAbsent})
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list", "tasks/list":
		return may(member{"cursor", isStringOrNone})
	case "ping", "notifications/initialized", "notifications/roots/list_changed":
		return may()
	}
	return profile{}, false
}

func isString(v strictjson.Value) bool { return v.Kind == strictjson.String }
func isObject(v strictjson.Value) bool { return v.Kind == strictjson.Object }
func isNumber(v strictjson.Value) bool { return v.Kind == strictjson.Number }

func isStringOrNone(v strictjson.Value) bool { return !v.Given() || isString(v) }

func isTokenOrAbsent(v strictjson.Value) bool { return v.Kind == strictjson.Absent || isToken(v) }

func isImplementation(v strictjson.Value) bool {
	return hasMembers(v, member{"name", isString}, member{"version", isString})
}

func isArgument(v strictjson.Value) bool {
	return hasMembers(v, member{"name", isString}, member{"value", isString})
}

// isToken takes MCP's ids and progress tokens: strings, and integers that are
// written as such and fit into 64 bits.
func isToken(v strictjson.Value) bool {
	if v.Kind == strictjson.Number {
		_, err := strconv.ParseInt(v.Text, 10, 64)
		return err == nil
	}
	return v.Kind == strictjson.String
}

func isLevel(v strictjson.Value) bool {
	switch v.Text {
	case "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency":
		return v.Kind == strictjson.String
	}
	return false
}

// isReference takes what can be completed: a prompt or a resource.
func isReference(v strictjson.Value) bool {
	return hasMembers(v, member{"type", isType("ref/prompt")}, member{"name", isString}) ||
		hasMembers(v, member{"type", isType("ref/resource")}, member{"uri", isString})
}

func isType(name string) func(strictjson.Value) bool {
	return func(v strictjson.Value) bool { return isString(v) && v.Text == name }
}
