package jsonrpc

import "github.com/creel-run/creel/policy/internal/strictjson"

// Request is what a body asks for.
type Request struct {
	Calls         []Call // in the order of the body
	Batch         bool
	Response      bool // holds a response to the server
	ReceiveStream bool // MCP's server-to-client stream (GET)
	EndSession    bool // of MCP (DELETE)
}

// Call is one call or notification. Tool is the tool of MCP's tools/call, and
// empty for every other method.
type Call struct {
	Method, Tool string
	Arguments    *Arguments // of the tool; nil: none, or not known
}

// Arguments are the arguments of a tool by name. The zero value has none.
type Arguments struct {
	members []strictjson.Member
	open    bool
}

// AnyArguments stand for those of a call that is yet to come.
func AnyArguments() *Arguments { return &Arguments{open: true} }

// TextArguments are arguments that are all text.
func TextArguments(texts map[string]string) *Arguments {
	a := &Arguments{}
	for key, text := range texts {
		a.members = append(a.members, strictjson.Member{Key: key, Value: strictjson.Value{Kind: strictjson.String, Text: text}})
	}
	return a
}

// Open reports that the arguments are not known yet.
func (a *Arguments) Open() bool { return a != nil && a.open }

// Given reports that there is an argument of a name, be it text or not, or one
// that some server would take for it.
func (a *Arguments) Given(name string) bool {
	if a == nil {
		return false
	}
	v, err := strictjson.Value{Kind: strictjson.Object, Members: a.members}.Pick(name)
	return err != nil || v[0].Kind != strictjson.Absent
}

// Text is the argument of a name, if it is there and is text. An argument whose
// name some server would take for this one makes it none.
func (a *Arguments) Text(name string) (string, bool) {
	if a == nil {
		return "", false
	}
	v, err := strictjson.Value{Kind: strictjson.Object, Members: a.members}.Pick(name)
	if err != nil || v[0].Kind != strictjson.String {
		return "", false
	}
	return v[0].Text, true
}
