package graphql

import "github.com/creel-run/creel/policy/internal/strictjson"

// Message is one text message of a client over a WebSocket. Either it is
// control, which every policy that lets the connection through permits, or it
// runs the operations of Request.
type Message struct {
	Type    string
	Control bool
	Request Request
}

// ParseMessage reads a text message of graphql-transport-ws or of the protocol
// before it. Types that only servers send, and unknown ones, are errors.
func ParseMessage(message []byte, maxBytes int) (Message, error) {
	v, err := strictjson.Read(message, maxBytes)
	if err != nil {
		return Message{}, &Error{NoJSON, err}
	}
	if v.Kind != strictjson.Object {
		return Message{}, fault(NotEnvelope)
	}
	m, err := v.Pick("type", "id", "payload")
	if err != nil {
		return Message{}, &Error{Keys, err}
	}
	kind, id, payload := m[0], m[1], m[2]
	if kind.Kind != strictjson.String {
		return Message{}, fault(WrongType)
	}
	switch kind.Text {
	case "connection_init", "connection_terminate", "ping", "pong", "complete", "stop":
		return Message{Type: kind.Text, Control: true}, nil
	case "subscribe", "start":
	default:
		return Message{}, fault(MessageType)
	}
	switch {
	case id.Kind != strictjson.String || id.Text == "":
		return Message{}, fault(MessageID)
	case payload.Kind != strictjson.Object:
		return Message{}, fault(NoPayload)
	}
	op, err := parseEnvelope(payload)
	if err != nil {
		return Message{}, err
	}
	return Message{Type: kind.Text, Request: Request{[]Operation{op}}}, nil
}
