package jsonrpc

// Call is one request or notification.
type Call struct {
	Method string
	Tool   string // MCP: the name that tools/call asks for
}

// Request is one HTTP request of a client.
type Request struct {
	Calls         []Call
	Batch         bool
	Response      bool // holds a response to the server
	ReceiveStream bool // MCP's server-to-client stream (GET)
}
