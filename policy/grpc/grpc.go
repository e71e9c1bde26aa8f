package grpc

import (
	"errors"
	"strings"
)

// Request is a call. Names are as they stand in the path.
type Request struct {
	Service string // with its package, like acme.v1.Greeter
	Method  string // like SayHello
}

// maxName bounds the name of a service or method, in bytes.
const maxName = 256

var (
	errContentType = errors.New("a gRPC request has one Content-Type, application/grpc")
	errMethod      = errors.New("a gRPC request is a POST")
	errPath        = errors.New("the path of a gRPC request is /SERVICE/METHOD, and it has no query")
)

// IsContentType reports whether a media type is that of gRPC: application/grpc,
// with the encoding of its messages behind a plus sign.
func IsContentType(text string) bool {
	text, _, _ = strings.Cut(text, ";")
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimRight(text, " \t")), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' && len(rest) > 1)
}

// CheckHead reports whether a request with these header fields can be gRPC. Keys
// are canonical, as in http.Header.
func CheckHead(header map[string][]string) error {
	if kinds := header["Content-Type"]; len(kinds) != 1 || !IsContentType(kinds[0]) {
		return errContentType
	}
	return nil
}

// Parse reads a canonical target. The method is in upper case.
func Parse(method, path string, hasQuery bool) (Request, error) {
	if method != "POST" {
		return Request{}, errMethod
	}
	rest, ok := strings.CutPrefix(path, "/")
	service, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || hasQuery || !isName(service, true) || !isName(name, false) {
		return Request{}, errPath
	}
	return Request{service, name}, nil
}

// isName: identifiers of Protocol Buffers; those of a service are parted by dots.
func isName(s string, dots bool) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	begin := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			begin = false
		case '0' <= c && c <= '9' && !begin:
		case c == '.' && dots && !begin:
			begin = true
		default:
			return false
		}
	}
	return !begin
}
