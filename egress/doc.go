// Package egress is the data path of a sandbox: it accepts what the sandbox's
// network namespace redirects, judges it, and relays what is allowed.
//
// It may import leaves, audit, the chain of middlewares, and its own subpackages (egress/ca, egress/dns,
// egress/parent, egress/websocket); the supervisor hands it everything else behind
// the interfaces of Config.
// Every error on the way denies. See docs/ARCHITECTURE.md for the order of
// judgement.
//
// One connection (conn) is owned by the goroutine that accepted it. The HTTP/1
// requests of an inspected one are read and answered in it; one of HTTP/2 is
// handed to the server of net/http, and all of its streams are waited for. A
// relayed one has a second goroutine for the other direction. Server.Run waits
// for all of them. Judging happens under the lock of the connection, with the engine that
// is in force at that moment, so that Recheck, which the supervisor calls after
// it swapped the engine, either sees the verdict or comes before it.
//
// HTTP/1 is read strictly (requests.go, stream.go), and every request is written
// anew: what was judged is what is sent. HTTP/2 (h2.go) is read by net/http behind
// a gate (h2gate.go) that bounds what costs work and asks for nothing, counts what
// waits (h2room.go), and keeps what comes too late from ending more than it belongs to
// (h2late.go); each stream
// becomes a head of the same form, is judged by itself and ends by itself. The
// server is spoken to in the client's protocol, or in HTTP/1.1 if it has no
// HTTP/2 (h2upstream.go). Extended CONNECT is not offered, so that clients open
// WebSockets by HTTP/1.1 (docs/decisions/0073-no-websockets-over-http2.md). Trailers
// of requests go on from HTTP/2 to HTTP/2 alone (h2trailer.go); interim answers of
// servers of HTTP/2 are dropped. What is cut takes the connection along that carries
// it, unless that carries something else (carry.go).
//
// Where a protocol judges more than method and path, the message is read first
// (message.go, git.go, registry.go), while nothing is locked, and judged with what
// is in force then; what was read is what is sent. What takes longer to find out,
// whether a push keeps every commit and when a version was published, is found out
// only where the verdict hangs on it (judge.go). Answers of MCP servers are looked
// into as well (screen.go, events.go), and their tools remembered (tools.go).
//
// Middlewares (look.go, look_answer.go, websocket_look.go) are asked after the rules,
// before credentials are put in and before the event that says that a request may
// pass; a body that one of them changed is judged again. Their chain is that in force
// when the message comes. For a host that they take, every connection is inspected;
// what is no HTTP is refused, or relayed where all of them let that pass (unseen.go).
//
// A WebSocket that was opened is two of them (websocket_tunnel.go): a message of
// the agent is read whole, judged with what is in force then, recorded, and
// framed anew; the goroutine of the exchange does that, and a second one passes
// on what the server sends, until both are told to end.
//
// An upstream is dialled in dial.go: named by the operator, or resolved, checked and
// raced (race.go), straight or through a proxy of the operator's (egress/parent). The
// address that was checked is what is dialled, or what the proxy is asked for.
//
// Where a credential is bound, the answer is searched for it, uncompressed and
// whole, on its way back (respond.go). With secrets configured, what an agent
// sends over a relayed connection is searched for placeholders (relay.go), at the
// price of splice in that direction; so are bytes that a limit bounds. Limits are
// counted beside the revisions (quota.go), and so are uses (ending.go), which also
// judges a connection again when a rule that it rests on ends. Events about
// denials are bounded (limit.go); the denials are not.
//
// Sources: RFC 9110, RFC 9112, RFC 9113, gRPC over HTTP2, RFC 6455, RFC 7692, RFC 8446 §4 (ClientHello), RFC 6066 §3 (SNI),
// netfilter's SO_ORIGINAL_DST.
package egress
