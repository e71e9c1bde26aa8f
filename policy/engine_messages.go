package policy

import "strings"

// Reasons of denials of messages. They hold no foreign text.
const (
	reasonHandshake = "a websocket endpoint takes GET, which opens it, and text messages alone"
	reasonNoSocket  = "an endpoint with protocol: rest opens no WebSocket, so that no message comes there"
	reasonNoText    = "no rule of the network policies allows text messages on this path"
	reasonTextAudit = "no rule allows this text message; enforcement is audit, so it is forwarded"
)

// judgeMessage judges a request whose governing endpoint is not rest. Deny
// rules by method and path have been looked at.
func (e *Engine) judgeMessage(selected *endpoint, r *Request, j *judgement) {
	switch selected.spec.Protocol {
	case GraphQL:
		if !strings.EqualFold(r.Method, "GET") && !strings.EqualFold(r.Method, "POST") {
			j.hard = reasonGraphQLMethod
			return
		}
		e.judgeOperations(selected, r, j)
	case WebSocket:
		switch {
		case r.Text && selected.operations.messages:
			e.judgeOperations(selected, r, j)
			return
		case r.Text:
			j.none, j.noneAudit = reasonNoText, reasonTextAudit
		case !strings.EqualFold(r.Method, "GET"):
			j.hard = reasonHandshake
			return
		}
		e.same(selected, r, func(ep *endpoint) {
			if rule := firstMatch(ep.allow, r, false); rule != nil && ep.grants(r) {
				j.offers(&rule.cited, ep, r)
			}
		})
		j.settle()
	case JSONRPC, MCP:
		e.judgeCalls(selected, r, j)
	case Git:
		e.judgeGit(selected, r, j)
	case Package:
		e.judgePackage(selected, r, j)
	case GRPC:
		e.judgeGRPC(selected, r, j)
	case REST, L4, TCP, SQL:
		j.hard = reasonNoRule
	default:
		j.hard = reasonNoRule
	}
}

// taking calls f for every inspected endpoint that takes the request's path
// and caller.
func (e *Engine) taking(r *Request, f func(*endpoint)) {
	who := caller{c: &r.Connection}
	e.each(r.Host, r.Port, func(ep *endpoint) {
		if ep.inspect && who.matches(ep.net) && ep.takesPath(r.Target.Path) {
			f(ep)
		}
	})
}

// same is taking for endpoints of the governing one's protocol.
func (e *Engine) same(selected *endpoint, r *Request, f func(*endpoint)) {
	e.taking(r, func(ep *endpoint) {
		if ep.spec.Protocol == selected.spec.Protocol {
			f(ep)
		}
	})
}

// ofOperations: the endpoint has a say about every GraphQL operation on its
// path, in a request or in a message.
func (ep *endpoint) ofOperations() bool {
	return ep.spec.Protocol == GraphQL || ep.spec.Protocol == WebSocket
}

// ofCalls: its deny rules are about calls, whichever of the two protocols
// reads them.
func (ep *endpoint) ofCalls() bool { return ep.spec.Protocol == JSONRPC || ep.spec.Protocol == MCP }
