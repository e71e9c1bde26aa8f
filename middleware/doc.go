// Package middleware is what looks at messages that the policy allowed, before
// they are sent: a chain of middlewares in the order of the policy's
// network_middlewares, each of which lets a message pass, changes its body,
// denies it, and reports what it found.
//
// A Chain belongs to one revision of a policy. Selected by host (Chain.For), it
// is asked once per message, whole: request, WebSocket message, response. It
// undoes the content coding of a body before the first middleware sees it.
// What goes wrong (an error, a panic, a time out, a body above the bound, a
// coding that is not known, an answer that makes no sense) denies the message,
// unless the policy says on_error: fail_open of that middleware.
//
// Scan is the part that built-in middlewares share: which parts of a message
// are looked at, and what happens then (redact, deny, report). What they look
// for is in middleware/secrets and middleware/pii, middleware/layers shows them
// what is encoded in a text, middleware/external asks a program of the
// operator's, and middleware/builtin knows them all by name.
//
// It may import policy and names. It starts no goroutines, and all of it is
// safe for concurrent use. A Finding says what was found where, never what it
// is: neither an error, a reason nor a report holds a part of the message.
package middleware
