package middleware

import (
	"context"
	"net/http"

	"github.com/creel-run/creel/netname"
)

// Direction is a kind of message, or a set of them.
type Direction uint8

// The zero Direction is none, and is refused.
const (
	Request       Direction = 1 << iota // an HTTP request
	Response                            // the answer to one
	AgentMessage                        // a WebSocket message of the agent
	ServerMessage                       // one of the server
)

func (d Direction) String() string {
	switch d {
	case Request:
		return "request"
	case Response:
		return "response"
	case AgentMessage:
		return "message"
	case ServerMessage:
		return "server_message"
	}
	return "none"
}

// Message is what is about to be sent, before credentials are put in. Those who
// get one change nothing in it.
type Message struct {
	Direction Direction // exactly one

	// The request, also of a response and of a WebSocket message.
	Method   string
	Scheme   string // http, https, ws, wss
	Host     netname.Host
	Port     uint16
	Path     string // canonical, as it was judged
	RawQuery string // without the question mark

	Status int         // of a response
	Header http.Header // of a request or response; the coding of Body stands in it
	Body   []byte      // whole
	Binary bool        // of a WebSocket message

	// Unseen says why there is no Body to look at (too large, opaque); empty:
	// there is one. Every middleware fails then.
	Unseen string
}

// Target is path and query as they are sent.
func (m *Message) Target() string {
	if m.RawQuery == "" {
		return m.Path
	}
	return m.Path + "?" + m.RawQuery
}

// Middleware looks at messages. It is safe for concurrent use.
type Middleware interface {
	// Takes gives the directions that it looks at.
	Takes() Direction
	// MaxBody is the largest body that it looks at, in bytes.
	MaxBody() int
	// Check looks at one message, until ctx ends. An error stands for no answer.
	// Neither it nor the answer holds a part of the message, but Body.
	Check(ctx context.Context, m *Message) (Answer, error)
}

// Factory makes a middleware from the config of its entry in the policy, which
// is nil if none is written. Errors name keys, and say what is wanted.
type Factory func(config map[string]any) (Middleware, error)

// Action is what becomes of a message.
type Action uint8

// The zero Action denies.
const (
	Deny Action = iota
	Pass
	Change // the body is another one; all else stays
)

func (a Action) String() string {
	switch a {
	case Pass:
		return "pass"
	case Change:
		return "change"
	}
	return "deny"
}

// Answer is what one middleware says.
type Answer struct {
	Action   Action
	Reason   string // of Deny, for the agent and the log
	Body     []byte // of Change; without content coding
	Findings []Finding
}

// Part is a part of a message.
type Part uint8

const (
	Body Part = iota
	Target
	Header
)

func (p Part) String() string {
	switch p {
	case Target:
		return "target"
	case Header:
		return "header"
	}
	return "body"
}

// Finding says that something stands somewhere, and not what it is.
type Finding struct {
	Rule string // as secrets/github-pat
	Part Part
	Name string // of the header
	// From and To are the bytes of the part, without content coding; of what is
	// encoded in it, those of the encoded text. Both are 0 if it is not known where.
	From, To int
	// Via says how it was hidden, from outside to inside: base64, escapes, gzip.
	Via []string
	// Scattered: it was put together from pieces that stand apart, so that it
	// cannot be replaced.
	Scattered bool
}
