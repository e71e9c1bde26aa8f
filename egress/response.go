package egress

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// responseHead is the head of a response that was read strictly (RFC 9112).
type responseHead struct {
	status  int
	minor   int // HTTP/1.minor
	header  http.Header
	chunked bool
	length  int64 // -1: no Content-Length
	keep    bool  // the server may keep the connection
}

func (h *responseHead) interim() bool {
	return h.status < 200 && h.status != http.StatusSwitchingProtocols
}

// maxResponseFields bounds the fields of a response: each costs some hundred bytes.
const maxResponseFields = 500

// readResponse reads the head of a response.
func readResponse(s *stream) (*responseHead, error) {
	seen := 0 // of what is there, without an end
	for {
		in := s.ahead()
		if i := bytes.Index(in[max(seen-3, 0):], []byte("\r\n\r\n")); i >= 0 {
			i += max(seen-3, 0) + 4
			if i > maxResponseHead {
				break
			}
			h, err := parseResponse(string(in[:i-2]))
			s.skip(i)
			s.trim()
			return h, err
		}
		if err := statusBegins(in); err != nil {
			return nil, err
		}
		if seen = len(in); seen >= maxResponseHead {
			break
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("its head is longer than %d bytes", maxResponseHead)
}

var errStatusLine = errors.New("what it sends is no HTTP/1 response")

// statusBegins refuses what can no longer become a status line.
func statusBegins(in []byte) error {
	const begin = "HTTP/1."
	n := min(len(in), len(begin))
	if string(in[:n]) != begin[:n] {
		return errStatusLine
	}
	return nil
}

// parseResponse reads a head whose lines all end in CRLF.
func parseResponse(text string) (*responseHead, error) {
	line, rest, _ := cutLine(text)
	h := &responseHead{length: -1, header: make(http.Header, 8)}
	if err := h.statusLine(line); err != nil {
		return nil, err
	}
	closes, keeps, fields := false, false, 0
	for rest != "" {
		line, rest, _ = cutLine(rest)
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) { // folded lines end here, too
			return nil, errors.New("a header field of its response is malformed")
		}
		value = strings.Trim(value, " \t")
		for i := range len(value) {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return nil, errors.New("a header field of its response has a control character")
			}
		}
		if fields++; fields > maxResponseFields {
			return nil, fmt.Errorf("its response has more than %d header fields", maxResponseFields)
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		switch key {
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 62)
			if err != nil || len(value) > 18 || value[0] < '0' || value[0] > '9' || h.length >= 0 && h.length != int64(n) {
				return nil, errors.New("the Content-Length of its response is not one decimal number")
			}
			h.length = int64(n)
			h.header[key] = []string{value}
			continue
		case "Transfer-Encoding":
			if h.chunked || !strings.EqualFold(value, "chunked") {
				return nil, errors.New("the Transfer-Encoding of its response is not exactly chunked")
			}
			h.chunked = true
		case "Connection":
			for token := range strings.SplitSeq(value, ",") {
				token = strings.Trim(token, " \t")
				closes = closes || strings.EqualFold(token, "close")
				keeps = keeps || strings.EqualFold(token, "keep-alive")
			}
		}
		h.header[key] = append(h.header[key], value)
	}
	h.keep = !closes && (h.minor == 1 || keeps)
	switch {
	case h.chunked && h.length >= 0:
		return nil, errors.New("its response has both Content-Length and Transfer-Encoding")
	case h.chunked && h.minor == 0:
		return nil, errors.New("its response has Transfer-Encoding in HTTP/1.0")
	case h.status < 200 && (h.chunked || h.length >= 0):
		return nil, errors.New("its interim response has a body")
	}
	return h, nil
}

func (h *responseHead) statusLine(line string) error {
	version, rest, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(rest, " ")
	switch version {
	case "HTTP/1.1":
		h.minor = 1
	case "HTTP/1.0":
	default:
		return errStatusLine
	}
	if len(code) != 3 || code[0] < '1' || code[0] > '5' || code[1] < '0' || code[1] > '9' || code[2] < '0' || code[2] > '9' ||
		strings.ContainsFunc(reason, isControl) {
		return errStatusLine
	}
	h.status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	return nil
}

// body is the framing of the body (RFC 9112 §6.3); reuse is false where the
// connection is not used again, whatever the server says.
func (h *responseHead) body(method string) (how framing, length int64, reuse bool) {
	switch {
	case h.status == http.StatusNoContent:
		return noBody, 0, h.keep && !h.chunked && h.length <= 0
	case method == http.MethodHead || h.status < 200 || h.status == http.StatusNotModified:
		return noBody, 0, h.keep
	case h.chunked:
		return byChunks, -1, h.keep
	case h.length > 0:
		return byLength, h.length, h.keep
	case h.length == 0:
		return noBody, 0, h.keep
	}
	return byClose, -1, false
}
