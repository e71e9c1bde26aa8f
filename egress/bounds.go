package egress

import "time"

// Bounds on what an agent can make grow. Reaching one is a denial that is
// audited, never a hang.
const (
	// maxConns is how many connections a sandbox may have at once. Browsers and
	// package managers stay below 300; each costs about 60 KB when inspected. A
	// stream of HTTP/2 beside the first of its connection counts as one, until its
	// answer is sent: it costs as much, and may take as many descriptors.
	maxConns = 1024

	// maxHead is the longest request head, in bytes. Common servers stop at 8 to 32 KiB.
	maxHead = 16 << 10

	// maxFields is the largest number of header fields, as in common servers.
	maxFields = 100

	// tlsPort is the port on which HTTP without TLS is refused where requests are
	// inspected: who sends it there would show to everyone on the way what the
	// operator takes for encrypted, and a server there that answers is not the
	// one that its certificate vouches for.
	tlsPort = 443

	// maxMethod is the longest method name, in bytes; the longest registered
	// one (UPDATEREDIRECTREF) has 17.
	maxMethod = 32

	// maxChunkLine is the longest line with a chunk size, in bytes: 15 hex digits and CRLF.
	maxChunkLine = 17

	// maxTrailer bounds the trailer section of a chunked body, which is dropped, in bytes.
	maxTrailer = 4 << 10

	// maxResponseHead bounds what an upstream may send as a head, in bytes; every request
	// that waits for its answer (maxConns) may hold as much. Common proxies stop at 8 to 64 KiB.
	maxResponseHead = 64 << 10

	// maxHello is the longest ClientHello, in bytes with record headers. Those
	// with post-quantum key shares have about 2 KB, with early data tickets 6.
	maxHello = 20 << 10

	// maxSessions is how many servers' sessions of TLS are kept to be resumed, of 3
	// to 8 KB each with their certificates. Those of more than maxSession bytes are
	// not: a server may send 256 KiB of certificates, and as much again as a ticket.
	maxSessions = 256
	maxSession  = 32 << 10

	// maxPassedOver is how much of the rest of a body is passed over, in bytes,
	// after an answer that did not wait for it.
	maxPassedOver = 64 << 10

	// halfClosed is how long a client that ended its stream may wait for an
	// answer, in seconds: most are gone.
	halfClosed = 30

	// smallBody is how much of a body is read before the upstream is spoken to, in bytes.
	smallBody = 16 << 10

	// sentTimeout is how long the end of a request that was answered may take to be
	// sent, before its connection is given up.
	sentTimeout = 100 * time.Millisecond

	// maxInterim is how many 1xx responses come before a final one.
	maxInterim = 16

	// bodyTimeout bounds the reading of a body that is judged, and maxBodies what
	// all of those hold at once, in bytes.
	bodyTimeout = 30 * time.Second
	maxBodies   = 64 << 20

	// maxScreened bounds a message of a server that is looked into, in bytes, as a
	// screenshot from a tool; what is beyond screenedFree counts as a body that is
	// held. maxTools is how many tools are remembered, of all servers, and
	// maxServerTools of one, so that none can take the room of the others; the
	// largest that are known have some hundred.
	maxScreened    = 16 << 20
	screenedFree   = 64 << 10
	maxTools       = 4096
	maxServerTools = 1024

	// maxSpool is the longest push whose commits are looked at, and maxSpools what
	// all of them hold at once, in bytes of files; spoolTime bounds how long one
	// may take. A push that may leave commits behind is not looked at.
	maxSpool  = 256 << 20
	maxSpools = 512 << 20
	spoolTime = 10 * time.Minute

	// maxMetadata bounds what is read of a registry's answer about a package, in
	// bytes (the longest that are known have 30 MB), registryTime how long one may
	// take, and maxPublished how many times of publication are remembered.
	maxMetadata  = 64 << 20
	registryTime = 30 * time.Second
	maxPublished = 4096

	// maxReadings is how often a request is read for a policy that changes meanwhile.
	maxReadings = 4

	// answerTime is how long an answer is waited for that middlewares look at as a
	// whole, and how long a part of a message of a server of MCP is held.
	answerTime = 2 * time.Minute

	// maxText and maxBinary bound a message of a WebSocket that an agent sends,
	// which is held while it is judged; maxFragments are the frames behind its
	// first. maxAnswer bounds a message to the agent, which passes piece by piece.
	maxText, maxBinary = 4 << 20, 16 << 20
	maxFragments       = 4096
	maxAnswer          = 256 << 20

	// openTimeout bounds the way to a WebSocket of an upstream, with its answer.
	openTimeout = 40 * time.Second

	// messageIdle is the longest silence inside a message of an agent, messageTime
	// the longest way from its first byte to its last. socketWrite is how long one
	// write may take. After a close frame, closeTimeout is the longest silence of
	// the peer, who may still have something to say, for messageTime at most.
	messageIdle  = 30 * time.Second
	messageTime  = 2 * time.Minute
	socketWrite  = time.Minute
	closeTimeout = 10 * time.Second

	// socketBuffer is the read buffer of each side of a WebSocket, in bytes, and
	// maxPings how many pings may be unanswered at once.
	socketBuffer = 4 << 10
	maxPings     = 16

	// helloTimeout bounds a ClientHello after its first byte, handshakeTimeout
	// the whole handshake, headTimeout a request head.
	helloTimeout     = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	headTimeout      = 10 * time.Second

	// firstByteTimeout is how long an inspected connection may stay silent:
	// browsers open connections ahead of need.
	firstByteTimeout = 30 * time.Second

	// denyTimeout is how long the first bytes of a denied connection are waited
	// for, to tell whether its client can read a reason.
	denyTimeout = time.Second

	// dismissTime is how long a denied connection of HTTP/2 stays after its first
	// answer: for clients to have read it, and for others that they asked for at once.
	dismissTime = time.Second

	// idleTimeout is how long an inspected connection may be kept alive without
	// a request; relayIdle the silence on a relayed one (shells stay quiet for
	// long; dead peers are found by TCP keep-alive).
	idleTimeout = 10 * time.Minute
	relayIdle   = time.Hour

	// resolveTimeout and dialTimeout bound the way to an upstream: the name, all
	// addresses together. attemptDelay is how long one address is waited for
	// before the next is tried beside it (RFC 8305 §5).
	resolveTimeout = 10 * time.Second
	dialTimeout    = 15 * time.Second
	attemptDelay   = 250 * time.Millisecond

	// maxAttempts is how many of the checked addresses are tried, and may be at once:
	// with the client's, no more descriptors than a relay takes (supervisor connFiles).
	maxAttempts = 5

	// upstreamIdle is how long an upstream connection is kept for the next
	// request, maxUpstreamIdle how many per host, and maxAllIdle how many in all:
	// an agent can ask many hosts. Servers close after 5 to 75 s.
	upstreamIdle    = 20 * time.Second
	maxUpstreamIdle = 32
	maxAllIdle      = 96

	// continueTimeout is how long a body is held back for the upstream's 100.
	continueTimeout = time.Second

	// drainTimeout is how long Run lets connections end by themselves after its
	// context did; lingerTimeout how long a refused client is read from, so that
	// a reset does not overtake the answer.
	drainTimeout  = 500 * time.Millisecond
	lingerTimeout = 300 * time.Millisecond
)
