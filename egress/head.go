package egress

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/creel-run/creel/netname"
)

// httpFault is a request that is not taken, before any policy is asked.
type httpFault struct {
	status int
	reason string // one line, without foreign text
}

func (f *httpFault) Error() string { return f.reason }

func bad(reason string) *httpFault { return &httpFault{http.StatusBadRequest, reason} }

// head is a request head that was read strictly (RFC 9112). Its framing is
// unambiguous: at most one of chunked and length is meant.
type head struct {
	method string // as the client wrote it, as is target
	target string
	minor  int // HTTP/1.minor
	fields []field

	host    string // of the Host field
	hasHost bool
	hasType bool // there is a Content-Type field

	chunked bool
	length  int64 // -1: no Content-Length

	close     bool     // Connection: close
	keepAlive bool     // Connection: keep-alive
	nominated []string // other names in Connection, lower case
	upgrade   string
}

type field struct{ name, value string }

// verb is the method in the one form that is judged, recorded and sent: rules
// name methods without case, but servers tell "get" from "GET".
func (h *head) verb() string { return strings.ToUpper(h.method) }

// hasBody reports whether the message has a body section.
func (h *head) hasBody() bool { return h.chunked || h.length > 0 }

// parseHead reads a complete head, its last empty line included. What two
// readers of HTTP might understand in two ways is a fault.
func parseHead(b []byte) (*head, *httpFault) {
	text, ok := bytes.CutSuffix(b, []byte("\r\n\r\n"))
	if !ok {
		return nil, bad("the head has no end")
	}
	line, rest, _ := cutLine(string(text))
	h := &head{length: -1}
	if f := h.requestLine(line); f != nil {
		return nil, f
	}
	for rest != "" {
		line, rest, _ = cutLine(rest)
		if f := h.field(line); f != nil {
			return nil, f
		}
	}
	return h, h.frame()
}

// checkStart refuses what can no longer become a head, so that a client that
// speaks something else need not wait for a timeout.
func checkStart(b []byte) *httpFault {
	for i, c := range b {
		if c == ' ' && i > 0 {
			break
		}
		if !isTokenByte(c) || i >= maxMethod {
			return bad("what the client sends is not HTTP")
		}
	}
	for i, c := range b {
		if c == '\n' && (i == 0 || b[i-1] != '\r') {
			return bad("a line ends without a carriage return")
		}
	}
	if line, _, whole := bytes.Cut(b, []byte("\r\n")); whole {
		return new(head).requestLine(string(line)) // SSH and SMTP begin like a method
	}
	return nil
}

// cutLine splits at CRLF. A CR or LF on its own stays in the line, where it is
// a control character and refused.
func cutLine(s string) (line, rest string, found bool) { return strings.Cut(s, "\r\n") }

func (h *head) requestLine(line string) *httpFault {
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || target == "" || !isToken(method) {
		return bad("the request line is malformed")
	}
	if len(method) > maxMethod {
		return bad("the method is too long")
	}
	for i := range len(target) {
		if target[i] <= ' ' || target[i] >= 0x7f {
			return bad("the request target has a control character or is not ASCII")
		}
	}
	switch version {
	case "HTTP/1.1":
		h.minor = 1
	case "HTTP/1.0":
	case "HTTP/2.0":
		return &httpFault{http.StatusHTTPVersionNotSupported, "HTTP/2 without TLS is not served"}
	default:
		if strings.Contains(version, " ") {
			return bad("the request line is malformed")
		}
		return &httpFault{http.StatusHTTPVersionNotSupported, "the HTTP version is not 1.0 or 1.1"}
	}
	h.method, h.target = method, target
	return nil
}

func (h *head) field(line string) *httpFault {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) { // a space before the colon, obs-fold and an empty name end here
		return bad("a header field is malformed")
	}
	return h.add(name, strings.Trim(value, " \t"))
}

// add takes a field whose name is a token.
func (h *head) add(name, value string) *httpFault {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return bad("a header field has a control character")
		}
	}
	if !utf8.ValidString(value) { // read as Latin-1 by one, and as something else by the next
		return bad("a header field is not UTF-8")
	}
	if len(h.fields) == maxFields {
		return &httpFault{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("more than %d header fields", maxFields)}
	}
	name = strings.ToLower(name)
	switch name {
	case "host":
		if h.hasHost {
			return bad("two Host fields")
		}
		h.host, h.hasHost = value, true
		return nil
	case "content-length":
		n, err := strconv.ParseUint(value, 10, 62)
		if h.length >= 0 || err != nil || len(value) > 18 || value[0] < '0' || value[0] > '9' {
			return bad("Content-Length is not one decimal number")
		}
		h.length = int64(n)
	case "transfer-encoding":
		if h.chunked || !strings.EqualFold(value, "chunked") {
			return bad("Transfer-Encoding is not exactly chunked")
		}
		h.chunked = true
	case "connection":
		return h.connection(value)
	case "upgrade":
		switch {
		case h.upgrade != "":
			h.upgrade += ", " + value // two of them are none that is taken
		case value == "":
			h.upgrade = "?"
		default:
			h.upgrade = value
		}
		return nil
	case "content-type":
		if h.hasType {
			return bad("two Content-Type fields")
		}
		h.hasType = true
	case "expect":
		if !strings.EqualFold(value, "100-continue") {
			return &httpFault{http.StatusExpectationFailed, "an expectation other than 100-continue"}
		}
	}
	h.fields = append(h.fields, field{name, value})
	return nil
}

// decline takes an offer to go on in HTTP/2 for not made, as a server may (RFC 9110
// §7.8): Java's client makes it with whatever it asks for without TLS. Over TLS
// nobody may make it (RFC 9113 §3.1), and it is refused like other upgrades.
func (h *head) decline() {
	if strings.EqualFold(h.upgrade, "h2c") {
		h.upgrade = ""
	}
}

func (h *head) connection(value string) *httpFault {
	for _, token := range strings.Split(value, ",") {
		token = strings.ToLower(strings.Trim(token, " \t"))
		switch {
		case !isToken(token):
			return bad("Connection holds something else than names")
		case token == "host" || token == "content-length" || token == "transfer-encoding":
			return bad("Connection names a field that every message needs")
		case token == "close":
			h.close = true
		case token == "keep-alive":
			h.keepAlive = true
		default:
			h.nominated = append(h.nominated, token)
		}
	}
	return nil
}

func (h *head) frame() *httpFault {
	switch {
	case h.chunked && h.length >= 0:
		return bad("both Content-Length and Transfer-Encoding")
	case h.chunked && h.minor == 0:
		return bad("Transfer-Encoding in HTTP/1.0")
	case h.minor == 1 && !h.hasHost:
		return bad("no Host field")
	case h.hasHost && h.host == "":
		return bad("an empty Host field")
	}
	return nil
}

// dropped names the fields that are for one hop, or that would let an upstream
// take a request for another one than was judged.
func dropped(name string) bool {
	switch name {
	case "keep-alive", "te", "trailer", "http2-settings",
		// Frameworks take method, path and authority from these.
		"x-http-method-override", "x-http-method", "x-method-override", "x-original-method", "x-method",
		"x-original-url", "x-rewrite-url",
		"forwarded", "x-forwarded-host", "x-forwarded-server", "x-forwarded-scheme", "x-forwarded-proto",
		"x-forwarded-port", "x-forwarded-prefix", "x-host", "x-http-host-override":
		return true
	}
	if strings.HasPrefix(name, "proxy-") {
		return true
	}
	// Servers with a CGI past read an underscore as a hyphen.
	if strings.Contains(name, "_") {
		folded := strings.ReplaceAll(name, "_", "-")
		switch folded {
		case "content-length", "transfer-encoding", "host", "connection", "upgrade", "expect", "content-type":
			return true
		}
		return dropped(folded)
	}
	return false
}

// hopByHop reports whether a field is not passed on.
func (h *head) hopByHop(name string) bool {
	if dropped(name) {
		return true
	}
	for _, n := range h.nominated {
		// A client may not have framing or expectations dropped, and those two
		// are the message's own anyhow.
		if n == name && n != "expect" {
			return true
		}
	}
	return false
}

// authority is a host with its port, canonical.
type authority struct {
	host netname.Host
	port uint16
}

var errAuthority = errors.New("not a host and a port")

// parseAuthority reads host[:port]. Brackets stand around IPv6 and nothing
// else; fallback 0 means that the port must be written.
func parseAuthority(s string, fallback uint16) (authority, error) {
	name, port := s, ""
	hasPort := false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return authority{}, errAuthority
		}
		name = s[1:end]
		if a, err := netip.ParseAddr(name); err != nil || !a.Is6() || a.Zone() != "" {
			return authority{}, errAuthority
		}
		switch after := s[end+1:]; {
		case after == "":
		case after[0] == ':':
			port, hasPort = after[1:], true
		default:
			return authority{}, errAuthority
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		name, port, hasPort = s[:i], s[i+1:], true // a second colon fails as a port
	}
	h, err := netname.ParseHost(name)
	if err != nil {
		return authority{}, errAuthority
	}
	a := authority{host: h, port: fallback}
	if hasPort {
		if port == "" || len(port) > 5 || port[0] < '1' || port[0] > '9' {
			return authority{}, errAuthority
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return authority{}, errAuthority
		}
		a.port = uint16(n)
	}
	if a.port == 0 {
		return authority{}, errAuthority
	}
	return a, nil
}

// String leaves the port of the scheme out.
func (a authority) text(scheme string) string {
	name := a.host.String()
	if a.host.IsAddr() && a.host.Addr().Is6() {
		name = "[" + name + "]"
	}
	if a.port == defaultPort(scheme) {
		return name
	}
	return name + ":" + strconv.Itoa(int(a.port))
}

func defaultPort(scheme string) uint16 {
	if scheme == "https" {
		return 443
	}
	return 80
}

// parseAbsolute splits an absolute-form target: scheme in lower case, what
// stands between "//" and the path, and the origin-form that remains.
func parseAbsolute(s string) (scheme, auth, origin string, ok bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || strings.ContainsFunc(scheme, notLetter) { // no scheme that is taken has more than letters
		return "", "", "", false
	}
	auth = rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		auth, origin = rest[:i], rest[i:]
	}
	if auth == "" || strings.ContainsAny(auth, "@\\#%") || strings.Contains(origin, "#") {
		return "", "", "", false
	}
	if origin == "" || origin[0] == '?' {
		origin = "/" + origin
	}
	return strings.ToLower(scheme), auth, origin, true
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }

// origin checks that the head is for the given authority and returns the
// origin-form of its target. A client names the authority up to three times
// (connection, Host, absolute-form): all must be equal.
func (h *head) origin(scheme string, want authority) (string, *httpFault) {
	elsewhere := &httpFault{http.StatusMisdirectedRequest, "the request is for another authority than its connection"}
	target := h.target
	absolute := false
	if !strings.HasPrefix(target, "/") {
		s, auth, origin, ok := parseAbsolute(target)
		if !ok {
			return "", bad("the request target is neither a path nor a URL")
		}
		a, err := parseAuthority(auth, defaultPort(s))
		switch {
		case err != nil:
			return "", bad("the request target names no valid host")
		case s != scheme || a != want:
			return "", elsewhere
		}
		target, absolute = origin, true
	}
	if !h.hasHost {
		if !absolute {
			return "", bad("no Host field")
		}
		return target, nil
	}
	a, err := parseAuthority(h.host, defaultPort(scheme))
	switch {
	case err != nil:
		return "", bad("the Host field is no valid host")
	case a != want:
		return "", elsewhere
	}
	return target, nil
}

// isToken: RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
