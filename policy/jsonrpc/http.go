package jsonrpc

import (
	"strconv"
	"strings"

	"github.com/creel-run/creel/policy/internal/strictjson"
)

// CheckHead reports whether a request with these header fields can be inspected
// at all. It is asked before the body is read.
func CheckHead(header map[string][]string) error {
	if err := strictjson.CheckHead(header, "application/json-rpc"); err != nil {
		return &Error{BadHead, err}
	}
	return nil
}

// ParseHTTP reads a whole request: a POST with messages or, for MCP alone, the
// GET that opens the receive stream and the DELETE that ends a session. Every
// other method is an error, and so is a head that CheckHead refuses. The method
// is in upper case.
func ParseHTTP(method string, header map[string][]string, body []byte, o Options) (Request, error) {
	if err := CheckHead(header); err != nil {
		return Request{}, err
	}
	switch {
	case method == "POST":
		r, err := ParseBody(body, o)
		if err == nil && o.MCP {
			err = checkMirrors(header, r)
		}
		if err != nil {
			return Request{}, err
		}
		return r, nil
	case o.MCP && IsReceiveStream(method, header, len(body) > 0):
		return Request{ReceiveStream: true}, nil
	case o.MCP && method == "DELETE" && len(body) == 0 && hasSession(header):
		return Request{EndSession: true}, nil
	}
	return Request{}, fault(Method)
}

// hasSession reports that the head names one session.
func hasSession(header map[string][]string) bool {
	n := 0
	for name, values := range header {
		if strings.EqualFold(name, "Mcp-Session-Id") {
			n += len(values)
		}
	}
	return n == 1
}

// IsReceiveStream reports whether a request opens MCP's server-to-client
// stream: a GET without a body that accepts text/event-stream by name. A body
// in chunks is a body, an empty one too; the framing fields are looked at as
// well, where header still holds them.
func IsReceiveStream(method string, header map[string][]string, hasBody bool) bool {
	if method != "GET" || hasBody {
		return false
	}
	accepts := false
	for name, values := range header {
		for _, line := range values {
			switch {
			case strings.EqualFold(name, "Transfer-Encoding"),
				strings.EqualFold(name, "Content-Length") && strings.Trim(line, " \t0") != "":
				return false
			case strings.EqualFold(name, "Accept"):
				for part := range strings.SplitSeq(line, ",") {
					accepts = accepts || acceptsEvents(part)
				}
			}
		}
	}
	return accepts
}

// acceptsEvents looks at one element of Accept. A weight of zero means no.
func acceptsEvents(part string) bool {
	media, params, _ := strings.Cut(part, ";")
	if !strings.EqualFold(strings.Trim(media, " \t"), "text/event-stream") {
		return false
	}
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.Trim(name, " \t"), "q") {
			continue
		}
		if q, err := strconv.ParseFloat(strings.Trim(value, " \t"), 64); err != nil || !(q > 0) {
			return false
		}
	}
	return true
}
