package websocket

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 names it; nothing is kept secret with it
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// maxProtocols is how many subprotocols a client may offer; those that exist offer three at most.
const maxProtocols = 32

// Offer is what a client's handshake asks for.
type Offer struct {
	Protocols []string // subprotocols, in order
	Deflate   Deflate  // as it is offered to the server
}

// Deflate is permessage-deflate as it was offered or agreed. The zero value: it was not.
//
// The client never keeps a context here: so a message is compressed by itself,
// and one compressor serves all connections. An offer that does not permit that
// is not passed on.
type Deflate struct {
	On              bool
	ServerNoContext bool // the server keeps none either
}

// String is the value of Sec-WebSocket-Extensions; empty: the field is not sent.
func (d Deflate) String() string {
	switch {
	case !d.On:
		return ""
	case d.ServerNoContext:
		return "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	}
	return "permessage-deflate; client_no_context_takeover"
}

// IsHandshake reports whether a request has a part of a WebSocket handshake:
// then it must be a whole one. upgrade is its Upgrade field.
func IsHandshake(upgrade string, h http.Header) bool {
	return strings.EqualFold(strings.TrimSpace(upgrade), "websocket") || len(h["Sec-Websocket-Key"]) > 0 || len(h["Sec-Websocket-Version"]) > 0
}

// Request is what of a request ParseOffer judges.
type Request struct {
	Method     string
	HTTP11     bool
	Upgrade    string   // the only value of Upgrade; several are joined by ", "
	Connection []string // its tokens, in lower case
	Body       bool
	Header     http.Header
}

// ParseOffer checks the handshake of a client (RFC 6455 §4.2.1).
func ParseOffer(q Request) (Offer, error) {
	switch key := q.Header["Sec-Websocket-Key"]; {
	case q.Method != http.MethodGet || !q.HTTP11 || q.Body:
		return Offer{}, errors.New("a WebSocket is opened by a GET of HTTP/1.1 without a body")
	case !strings.EqualFold(q.Upgrade, "websocket"):
		return Offer{}, errors.New("a WebSocket handshake without Upgrade: websocket")
	case !slices.Contains(q.Connection, "upgrade"):
		return Offer{}, errors.New("a WebSocket handshake without Connection: Upgrade")
	case slices.ContainsFunc(q.Connection, func(t string) bool { return strings.HasPrefix(t, "sec-websocket-") }):
		return Offer{}, errors.New("the field Connection names one of the WebSocket handshake")
	case len(key) != 1 || !validKey(key[0]):
		return Offer{}, errors.New("Sec-WebSocket-Key is not 16 bytes in base64")
	case len(q.Header["Sec-Websocket-Version"]) != 1 || q.Header["Sec-Websocket-Version"][0] != "13":
		return Offer{}, errors.New("Sec-WebSocket-Version is not 13")
	case len(q.Header["Sec-Websocket-Accept"]) > 0:
		return Offer{}, errors.New("a request with Sec-WebSocket-Accept")
	}
	var o Offer
	for _, name := range list(q.Header["Sec-Websocket-Protocol"]) {
		switch {
		case !isToken(name):
			return Offer{}, errors.New("Sec-WebSocket-Protocol holds something else than names")
		case slices.Contains(o.Protocols, name):
			return Offer{}, errors.New("Sec-WebSocket-Protocol names one protocol twice")
		case len(o.Protocols) == maxProtocols:
			return Offer{}, errors.New("Sec-WebSocket-Protocol names too many protocols")
		}
		o.Protocols = append(o.Protocols, name)
	}
	for _, e := range list(q.Header["Sec-Websocket-Extensions"]) {
		if !isExtension(e) {
			return Offer{}, errors.New("Sec-WebSocket-Extensions is malformed")
		}
		if !o.Deflate.On {
			o.Deflate = parseDeflate(e)
		}
	}
	return o, nil
}

// parseDeflate reads one element of an offer. It is on if the client keeps no
// context, and asks for nothing that cannot be kept here.
func parseDeflate(element string) Deflate {
	seen, ok := deflateParameters(element)
	_, sized := seen["server_max_window_bits"]
	_, client := seen["client_no_context_takeover"]
	_, server := seen["server_no_context_takeover"]
	return Deflate{On: ok && client && !sized, ServerNoContext: server}
}

// deflateParameters reads an element of Sec-WebSocket-Extensions, which may have
// each of three parameters once: client_max_window_bits is neither promised nor
// asked for, because the compressor has one size.
func deflateParameters(element string) (seen map[string]string, ok bool) {
	parts := strings.Split(element, ";")
	if !strings.EqualFold(strings.TrimSpace(parts[0]), "permessage-deflate") {
		return nil, false
	}
	seen = make(map[string]string, 3)
	for _, p := range parts[1:] {
		name, value, valued := strings.Cut(strings.ToLower(strings.TrimSpace(p)), "=")
		if _, twice := seen[name]; twice {
			return nil, false
		}
		switch name {
		case "client_no_context_takeover", "server_no_context_takeover":
			ok = !valued
		case "server_max_window_bits":
			ok = slices.Contains([]string{"8", "9", "10", "11", "12", "13", "14", "15"}, value)
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
		seen[name] = value
	}
	return seen, true
}

// Answer is what a server's handshake agreed to.
type Answer struct {
	Protocol string // empty: none
	Deflate  Deflate
}

// ParseAnswer checks a response with status 101 to the handshake with a key and
// an offer (RFC 6455 §4.1).
func ParseAnswer(h http.Header, key string, o Offer) (Answer, error) {
	accept, protocol, extensions := h["Sec-Websocket-Accept"], h["Sec-Websocket-Protocol"], list(h["Sec-Websocket-Extensions"])
	var connection []string
	for _, t := range list(h["Connection"]) {
		connection = append(connection, strings.ToLower(t))
	}
	switch {
	case len(h["Upgrade"]) != 1 || !strings.EqualFold(h["Upgrade"][0], "websocket"):
		return Answer{}, errors.New("no Upgrade: websocket")
	case !slices.Contains(connection, "upgrade"):
		return Answer{}, errors.New("no Connection: Upgrade")
	case len(accept) != 1 || accept[0] != Accept(key):
		return Answer{}, errors.New("Sec-WebSocket-Accept does not belong to the key")
	case len(h["Content-Length"]) > 0 || len(h["Transfer-Encoding"]) > 0:
		return Answer{}, errors.New("it announces a body")
	case len(protocol) > 1 || len(protocol) == 1 && !slices.Contains(o.Protocols, protocol[0]):
		return Answer{}, errors.New("a subprotocol that was not offered")
	case len(extensions) > 1:
		return Answer{}, errors.New("an extension that was not offered")
	}
	var a Answer
	if len(protocol) == 1 {
		a.Protocol = protocol[0]
	}
	if len(extensions) == 1 {
		seen, ok := deflateParameters(extensions[0])
		_, a.Deflate.ServerNoContext = seen["server_no_context_takeover"]
		if !ok || !o.Deflate.On || o.Deflate.ServerNoContext && !a.Deflate.ServerNoContext {
			return Answer{}, errors.New("an extension that was not offered")
		}
		a.Deflate.On = true
	}
	return a, nil
}

// Accept is Sec-WebSocket-Accept for a key.
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func validKey(key string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(key)
	return err == nil && len(b) == 16
}

// list splits fields at their commas. An empty element stays one, and is neither
// a name nor an extension. Parameters with quoted commas are of no extension
// that is taken.
func list(fields []string) []string {
	var all []string
	for _, f := range fields {
		for _, e := range strings.Split(f, ",") {
			all = append(all, strings.Trim(e, " \t"))
		}
	}
	return all
}

// isExtension reports whether an element of Sec-WebSocket-Extensions is a name
// with parameters, whose values are not quoted.
func isExtension(element string) bool {
	name, parameters, more := strings.Cut(element, ";")
	if !isToken(strings.Trim(name, " \t")) {
		return false
	}
	for more {
		var p string
		p, parameters, more = strings.Cut(parameters, ";")
		key, value, valued := strings.Cut(strings.Trim(p, " \t"), "=")
		if !isToken(key) || valued && !isToken(value) {
			return false
		}
	}
	return true
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 { // RFC 9110 §5.6.2
			return false
		}
	}
	return s != ""
}
