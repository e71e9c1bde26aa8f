package jsonrpc

import (
	"strings"
	"unicode"

	"github.com/creel-run/creel/policy/internal/strictjson"
)

const (
	// DefaultBytes is the limit for a body when Options has none.
	DefaultBytes = strictjson.DefaultBytes
	// MaxBytes is the largest limit; larger ones count as this.
	MaxBytes = strictjson.MaxBytes
)

// Options says how a body is read. The zero value is plain JSON-RPC with the
// default limit.
type Options struct {
	MCP          bool
	LaxToolNames bool // tools may have any name without control characters
	MaxBytes     int  // 0: DefaultBytes
}

// Limit is the number of bytes up to which a body is worth reading.
func (o Options) Limit() int { return strictjson.Limit(o.MaxBytes) }

// Reason is why a request is refused.
type Reason string

const (
	NoJSON       Reason = "it is not strict JSON"
	BadHead      Reason = "its body cannot be inspected"
	Method       Reason = "only POST carries messages"
	NotMessage   Reason = "a message is not an object"
	EmptyBatch   Reason = "the batch is empty"
	Version      Reason = `"jsonrpc" is not "2.0"`
	Keys         Reason = "a key of a message can be read in two ways"
	Ambiguous    Reason = "a message is both call and response"
	NoMethod     Reason = `"method" is not a string with text`
	MethodName   Reason = `"method" holds a control character`
	BadID        Reason = `"id" is missing or of the wrong type`
	ErrorObject  Reason = `"error" is not an object`
	Params       Reason = `"params" does not hold what the method needs`
	ToolName     Reason = "the tool has no name, or one with characters that tool names may not have"
	Notification Reason = "tools/call without an id"
	Tools        Reason = `"tools" of a result is not a list`
	Mirror       Reason = "Mcp-Method or Mcp-Name is not what the body calls"
)

// Error is a refused request, or an answer to one. It does not repeat it: it may hold
// secrets. Cause says more about JSON that is not strict.
type Error struct {
	Reason Reason
	Cause  error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return "parse JSON-RPC: " + string(e.Reason) + ": " + e.Cause.Error()
	}
	return "parse JSON-RPC: " + string(e.Reason)
}

func (e *Error) Unwrap() error { return e.Cause }

func fault(r Reason) error { return &Error{Reason: r} }

// ParseBody reads the body of a POST.
func ParseBody(body []byte, o Options) (Request, error) {
	v, err := strictjson.Read(body, o.MaxBytes)
	if err != nil {
		return Request{}, &Error{NoJSON, err}
	}
	var r Request
	if v.Kind != strictjson.Array {
		return r.with(v, o)
	}
	r.Batch = true
	if len(v.Items) == 0 {
		return Request{}, fault(EmptyBatch)
	}
	for _, item := range v.Items {
		if r, err = r.with(item, o); err != nil {
			return Request{}, err
		}
	}
	return r, nil
}

// with adds a message.
func (r Request) with(v strictjson.Value, o Options) (Request, error) {
	if v.Kind != strictjson.Object {
		return Request{}, fault(NotMessage)
	}
	m, err := v.Pick("jsonrpc", "id", "method", "params", "result", "error")
	if err != nil {
		return Request{}, &Error{Keys, err}
	}
	version, id, method, params, result, failure := m[0], m[1], m[2], m[3], m[4], m[5]
	hasResult, hasFailure := result.Kind != strictjson.Absent, failure.Kind != strictjson.Absent
	switch {
	case version.Kind != strictjson.String || version.Text != "2.0":
		return Request{}, fault(Version)
	case method.Kind != strictjson.Absent && (hasResult || hasFailure), hasResult && hasFailure:
		return Request{}, fault(Ambiguous)
	case hasResult || hasFailure:
		if id.Kind == strictjson.Absent || !plainID(id) {
			return Request{}, fault(BadID)
		}
		if hasFailure && failure.Kind != strictjson.Object {
			return Request{}, fault(ErrorObject)
		}
		r.Response = true
		return r, nil
	case method.Kind != strictjson.String || method.Text == "":
		return Request{}, fault(NoMethod)
	case strings.ContainsFunc(method.Text, unicode.IsControl):
		return Request{}, fault(MethodName)
	case !plainID(id):
		return Request{}, fault(BadID)
	}
	call := Call{Method: method.Text}
	if o.MCP {
		if id.Kind != strictjson.Absent && !isToken(id) {
			return Request{}, fault(BadID)
		}
		if err = call.checkParams(id.Kind != strictjson.Absent, params, o); err != nil {
			return Request{}, err
		}
	}
	r.Calls = append(r.Calls, call)
	return r, nil
}

// plainID takes what JSON-RPC allows as an id, and none.
func plainID(id strictjson.Value) bool {
	switch id.Kind {
	case strictjson.Absent, strictjson.Null, strictjson.Number, strictjson.String:
		return true
	}
	return false
}
