package inference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A model service can be told to fetch addresses and to run programs by itself:
// by tools that it runs (web search, web fetch, code, MCP) and by inputs that
// are URLs. What is asked of them leaves by the operator's own door, to whatever
// address the agent names. So tools that the service runs are taken out of a
// request, and one with a URL as an input is refused, unless the policy lists
// them (inference.server_tools, inference.remote_inputs).

// clientTools are the types of tools that the agent runs itself. Types that are
// not known are taken for the service's.
var clientTools = []string{
	"", "custom", "function", // described by the agent
	"bash", "text_editor", "computer", "memory", // Anthropic's schema, run by the client
	"computer_use", "local_shell", "apply_patch", // OpenAI's
	"tool_search_tool_regex", "tool_search_tool_bm25", "tool_search", // search in the request's own list
	"namespace", // a group; its members are looked at
}

// serverMembers are members of a body by which a service is told to go out.
var serverMembers = map[string]string{
	"mcpservers":       "mcp", // Anthropic
	"websearchoptions": "web_search",
	"searchparameters": "web_search", // xAI
	"enablesearch":     "web_search", // DashScope
	"plugins":          "plugins",    // OpenRouter
}

// urlMembers are the ends of the paths where an input may be a URL.
var urlMembers = []string{".source.url", ".imageurl", ".imageurl.url", ".fileurl", ".fileuri", ".videourl", ".videourl.url", ".audiourl", ".audiourl.url", ".documenturl"}

// freeForm are members whose content means nothing to a service: arguments and
// results of the agent's own tools, and their schemas.
var freeForm = []string{"content[].input.", ".functioncall.args.", ".functionresponse.response.", ".inputschema.", ".parameters.", ".jsonschema.", ".arguments."}

// remote is what a body asks the service to do by itself, and may not.
type remote struct {
	tools   []string // names of those that it is to run, sorted
	members []string // likewise, but asked for by a member of the body
	url     bool     // an input is a URL
	deep    bool     // it is nested too deep to be looked through
	keep    []span   // the elements of the list of tools that stay
	list    span     // the list of tools, with its brackets
	lists   int      // how many there are
}

// versioned are the endings that tell versions of one tool apart.
var versioned = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(_preview)?([_-]\d{4}[_-]?\d{2}[_-]?\d{2})?$`) })

// toolName is the type of a tool without its version.
func toolName(text string) string { return versioned().ReplaceAllString(text, "") }

// findRemote looks through a body that is valid JSON. Members are compared as a
// careless backend compares them: without case and underscores.
func findRemote(raw []byte, p protocol, allowed func(tool string) bool) remote {
	w := &walker{scanner: scanner{raw: raw}, gemini: p == gemini, allowed: allowed}
	w.walk("")
	slices.Sort(w.found.tools)
	w.found.tools = slices.Compact(w.found.tools)
	return w.found
}

const (
	// maxDepth bounds the nesting of a body: schemas of tools have about 20 levels,
	// and what stands at a level is judged by its whole path.
	maxDepth = 64
	// maxStep bounds one step of a path in bytes: no member that is looked for is longer.
	maxStep = 32
	// maxTools bounds how many names of tools are told.
	maxTools = 64
)

type walker struct {
	scanner
	depth   int
	gemini  bool
	allowed func(tool string) bool
	found   remote
	server  bool // the element of the list of tools that is looked at runs at the service
}

// walk looks at one value. path is that of the value, with [] for an element.
func (w *walker) walk(path string) {
	if w.depth++; w.depth > maxDepth {
		w.found.deep = true
		w.at = len(w.raw)
		return
	}
	defer func() { w.depth-- }()
	w.space()
	from := w.at
	switch w.peek() {
	case '{':
		w.at++
		for w.space(); w.peek() != '}' && w.at < len(w.raw); w.space() {
			if w.peek() == ',' {
				w.at++
				w.space()
			}
			key, err := w.text()
			if err != nil {
				return // it was valid: this cannot be
			}
			w.space()
			w.at++ // the colon
			step := fold(key)
			if len(step) > maxStep {
				step = "…"
			}
			w.member(path, step)
			w.walk(path + "." + step)
		}
		w.at++
	case '[':
		w.at++
		list := path == ".tools"
		if list {
			w.found.lists++
			w.found.keep = nil
		}
		for w.space(); w.peek() != ']' && w.at < len(w.raw); w.space() {
			if w.peek() == ',' {
				w.at++
				w.space()
			}
			start := w.at
			w.walk(path + "[]")
			if list {
				if !w.server {
					w.found.keep = append(w.found.keep, span{start, w.at})
				}
				w.server = false
			}
		}
		w.at++
		if list {
			w.found.list = span{from, w.at}
		}
	case '"':
		v := w.value()
		switch {
		case isTool(path, ".type"):
			var text string
			if json.Unmarshal(w.raw[v.from:v.to], &text) == nil && !slices.Contains(clientTools, toolName(text)) {
				w.tool(toolName(text))
			}
		case isURLMember(path):
			var text string
			if json.Unmarshal(w.raw[v.from:v.to], &text) == nil && isURL(text) {
				w.found.url = true
			}
		}
	default:
		w.value()
	}
}

// member looks at a member before its value.
func (w *walker) member(path, key string) {
	switch {
	case path == "":
		if name := serverMembers[key]; name != "" && !w.allowed(name) {
			w.found.members = append(w.found.members, name)
		}
	case w.gemini && path == ".tools[]" && key != "functiondeclarations":
		w.tool(key)
	}
}

func (w *walker) tool(name string) {
	if w.allowed(name) {
		return
	}
	if len(w.found.tools) < maxTools {
		w.found.tools = append(w.found.tools, name)
	}
	w.server = true
}

// isTool reports whether a path is that of a member of a tool or of one in a group.
func isTool(path, member string) bool {
	return path == ".tools[]"+member || path == ".tools[].tools[]"+member
}

func isURLMember(path string) bool {
	return slices.ContainsFunc(urlMembers, func(m string) bool { return strings.HasSuffix(path, m) }) &&
		!slices.ContainsFunc(freeForm, func(f string) bool { return strings.Contains(path, f) })
}

// isURL: data that is in the request itself is none.
func isURL(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	return strings.Contains(text, ":") && !strings.HasPrefix(text, "data:") || strings.HasPrefix(text, "//")
}

func fold(key string) string { return strings.ToLower(strings.ReplaceAll(key, "_", "")) }

// remoteAllowed takes out of the body what the service would do by itself and
// the route does not allow. It gives the names of the tools that were taken out.
func (c *exchange) remoteAllowed() (removed []string, err error) {
	found := findRemote(c.body, c.end.protocol, c.route.allowsTool)
	if found.deep {
		return nil, fmt.Errorf("the body is nested deeper than %d levels", maxDepth)
	}
	if found.url && !c.route.conf.RemoteInputs {
		return nil, errors.New("an input is a URL, which the model service would fetch; send the data itself (the operator can allow it: inference.remote_inputs)")
	}
	if len(found.members) > 0 {
		return nil, fmt.Errorf("the body asks the model service to use %s by itself (the operator can allow it: inference.server_tools)", found.members[0])
	}
	for _, name := range found.tools {
		removed = append(removed, printableTool(name))
	}
	switch {
	case len(removed) == 0:
		return nil, nil
	case found.lists != 1 || len(found.keep) == 0:
		// Nothing would be left, or what is to stay cannot be told from the rest.
		return nil, fmt.Errorf("the model service would run %s by itself (the operator can allow it: inference.server_tools)", strings.Join(removed, ", "))
	}
	elements := make([][]byte, 0, len(found.keep))
	for _, s := range found.keep {
		elements = append(elements, c.body[s.from:s.to])
	}
	c.body = bytes.Join([][]byte{c.body[:found.list.from], []byte("["), bytes.Join(elements, []byte(",")), []byte("]"), c.body[found.list.to:]}, nil)
	return removed, nil
}

func (r *Route) allowsTool(name string) bool {
	for _, t := range r.conf.ServerTools {
		if fold(t) == fold(name) {
			return true
		}
	}
	return false
}

// printableTool: a reason holds nothing of a body but a name of this form.
func printableTool(name string) string {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.' {
			return "a tool of another name"
		}
	}
	if len(name) > 64 {
		return "a tool of another name"
	}
	return name
}
