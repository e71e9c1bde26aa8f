package policy

// Engine is a compiled policy. The zero Engine denies everything.
type Engine struct{}

// Connect judges a connection. It never returns Reroute: model hosts are
// claimed by the inference route before the engine is asked.
func (e *Engine) Connect(c Connection) ConnectDecision { return ConnectDecision{} }

// Request judges one request on an inspected connection.
func (e *Engine) Request(r Request) Decision { return Decision{} }
