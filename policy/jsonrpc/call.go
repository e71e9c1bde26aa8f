package jsonrpc

// Request is what a body asks for.
type Request struct {
	Calls         []Call // in the order of the body
	Batch         bool
	Response      bool // holds a response to the server
	ReceiveStream bool // MCP's server-to-client stream (GET)
}

// Call is one call or notification. Tool is the tool of MCP's tools/call, and
// empty for every other method.
type Call struct{ Method, Tool string }
