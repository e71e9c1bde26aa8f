package jsonrpc

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"

	"github.com/creel-run/creel/policy/internal/strictjson"
)

// Tool is one tool as a server of MCP defines it.
type Tool struct {
	Name string
	// SHA256 is of the whole definition, with the members of every object in the
	// order of their keys and without spaces; lower-case digits.
	SHA256 string
}

// Screen decides what of a server's messages reaches its client. A nil function
// lets nothing through.
type Screen struct {
	LaxToolNames bool
	Tool         func(Tool) bool          // whether a list may show the tool; asked once for each name of a list
	Request      func(method string) bool // whether the server may ask this of the client
}

// DeniedMethod stands for a request of the server's that does not reach the
// client. No client knows it, so each answers that there is no such method, and
// the server need not wait.
const DeniedMethod = "creel/denied"

// Apply reads what a server says in one JSON text, one message or a batch, of at
// most Limit(maxBytes) bytes, and gives the text that its client may have: as it
// came, if all of it may pass. Every result that has tools counts as a list of
// them, whatever was asked for. Messages are read as strictly as those of clients.
func (s Screen) Apply(text []byte, maxBytes int) ([]byte, error) {
	v, err := strictjson.Read(text, maxBytes)
	if err != nil {
		return nil, &Error{NoJSON, err}
	}
	changed := false
	if v.Kind == strictjson.Array {
		for i := range v.Items {
			c, err := s.message(&v.Items[i])
			if err != nil {
				return nil, err
			}
			changed = changed || c
		}
	} else if changed, err = s.message(&v); err != nil {
		return nil, err
	}
	if !changed {
		return text, nil
	}
	return v.Append(nil), nil
}

// message takes out of a message what may not pass.
func (s Screen) message(v *strictjson.Value) (changed bool, err error) {
	if v.Kind != strictjson.Object {
		return false, fault(NotMessage)
	}
	m, err := v.Pick("jsonrpc", "id", "method", "params", "result", "error")
	if err != nil {
		return false, &Error{Keys, err}
	}
	version, id, method, result, failure := m[0], m[1], m[2], m[4], m[5]
	hasResult, hasFailure := result.Kind != strictjson.Absent, failure.Kind != strictjson.Absent
	switch {
	case version.Kind != strictjson.String || version.Text != "2.0":
		return false, fault(Version)
	case method.Kind != strictjson.Absent && (hasResult || hasFailure), hasResult && hasFailure:
		return false, fault(Ambiguous)
	case !plainID(id):
		return false, fault(BadID)
	case hasFailure:
		return false, nil
	case hasResult:
		return s.result(v)
	case method.Kind != strictjson.String || method.Text == "":
		return false, fault(NoMethod)
	case strings.ContainsFunc(method.Text, unicode.IsControl):
		return false, fault(MethodName)
	case id.Kind == strictjson.Absent, method.Text == "ping": // a notification; and whether the client is there
		return false, nil
	case s.Request != nil && s.Request(method.Text):
		return false, nil
	}
	*v = strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{
		{Key: "jsonrpc", Value: version}, {Key: "id", Value: id},
		{Key: "method", Value: strictjson.Value{Kind: strictjson.String, Text: DeniedMethod}},
	}}
	return true, nil
}

// result takes the tools that may not be shown out of a result.
func (s Screen) result(message *strictjson.Value) (changed bool, err error) {
	for i := range message.Members {
		if message.Members[i].Key != "result" || message.Members[i].Value.Kind != strictjson.Object {
			continue
		}
		result := &message.Members[i].Value
		p, err := result.Pick("tools")
		if err != nil {
			return false, &Error{Keys, err}
		}
		if !p[0].Given() {
			return false, nil
		}
		if p[0].Kind != strictjson.Array {
			return false, fault(Tools)
		}
		var kept []strictjson.Value
		seen := map[string]bool{}
		for _, t := range p[0].Items {
			tool, ok := s.tool(t)
			if ok && !seen[tool.Name] && s.Tool != nil && s.Tool(tool) {
				kept = append(kept, t)
			}
			seen[tool.Name] = true
		}
		if len(kept) == len(p[0].Items) {
			return false, nil
		}
		for k := range result.Members {
			if result.Members[k].Key == "tools" {
				result.Members[k].Value.Items = kept
			}
		}
		return true, nil
	}
	return false, nil
}

// tool reads a definition; one whose name no call can have is none.
func (s Screen) tool(v strictjson.Value) (Tool, bool) {
	if v.Kind != strictjson.Object {
		return Tool{}, false
	}
	p, err := v.Pick("name")
	if err != nil || p[0].Kind != strictjson.String || !toolName(p[0].Text, Options{LaxToolNames: s.LaxToolNames}) {
		return Tool{}, false
	}
	sum := sha256.Sum256(v.Sorted().Append(nil))
	return Tool{p[0].Text, hex.EncodeToString(sum[:])}, true
}
