package target

import (
	"fmt"
	"strings"
)

const (
	// MaxPath is the bound of version 1 policies, for the path as it came and
	// in canonical form, in bytes.
	MaxPath = 4096
	// MaxQuery bounds what is decoded; HTTP heads are bounded below it.
	MaxQuery = 64 << 10
)

// Target is a canonical request target. Path is what is judged and what is
// sent; RawQuery is kept byte for byte; Query is its decoded form.
type Target struct {
	Path     string
	RawQuery string
	HasQuery bool // distinguishes "/a?" from "/a"
	Query    map[string][]string
}

// String is the origin-form that goes on the wire.
func (t Target) String() string {
	if t.HasQuery {
		return t.Path + "?" + t.RawQuery
	}
	return t.Path
}

// Reason is why a target is refused.
type Reason string

const (
	ControlByte  Reason = "control byte"
	NonASCII     Reason = "raw byte outside of ASCII"
	Fragment     Reason = "fragment"
	Malformed    Reason = "not a path"
	Userinfo     Reason = "user information in the authority"
	TooLong      Reason = "too long"
	BadPercent   Reason = "malformed percent-encoding"
	EncodedSlash Reason = "encoded slash, which the endpoint does not permit"
	AboveRoot    Reason = "dot segments lead above the root"
	HiddenDots   Reason = "dot segment behind an encoded slash or a backslash"
	Space        Reason = "space in query"
	NotUTF8      Reason = "query is not UTF-8"
)

// Error is a refused target. It does not repeat the target, which may hold
// secrets.
type Error struct{ Reason Reason }

func (e *Error) Error() string { return fmt.Sprintf("parse request target: %s", e.Reason) }

// slash stands for an encoded slash inside a decoded segment; control bytes
// have been refused before it is used.
const slash = 0x01

// Parse canonicalises an origin-form target ("/path?query"), or the path and
// query of an absolute-form one, whose authority the caller has to check. The
// empty path is "/".
func Parse(s string, allowEncodedSlash bool) (Target, error) {
	raw, query, hasQuery := strings.Cut(s, "?")
	if len(raw) > MaxPath+512 || len(query) > MaxQuery {
		// 512: an absolute form's scheme and authority; the path is checked below.
		return Target{}, &Error{TooLong}
	}
	if err := checkBytes(s); err != nil {
		return Target{}, err
	}
	raw, err := stripAuthority(raw)
	if err != nil {
		return Target{}, err
	}
	path, err := canonicalPath(raw, allowEncodedSlash)
	if err != nil {
		return Target{}, err
	}
	t := Target{Path: path, RawQuery: query, HasQuery: hasQuery}
	if query != "" {
		if strings.IndexByte(query, ' ') >= 0 {
			return Target{}, &Error{Space} // would end the target on an HTTP/1 wire
		}
		if t.Query, err = DecodeQuery(query); err != nil {
			return Target{}, err
		}
	}
	return t, nil
}

func checkBytes(s string) error {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < 0x20 || c == 0x7f:
			return &Error{ControlByte}
		case c >= 0x80:
			return &Error{NonASCII}
		case c == '#':
			return &Error{Fragment}
		}
	}
	return nil
}

// stripAuthority returns the path of an absolute-form target.
func stripAuthority(s string) (string, error) {
	if s == "" {
		return "/", nil
	}
	if s[0] == '/' {
		return s, nil
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !isScheme(scheme) {
		return "", &Error{Malformed}
	}
	authority, path := rest, "/"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.IndexByte(authority, '@') >= 0 {
		return "", &Error{Userinfo}
	}
	if authority == "" {
		return "", &Error{Malformed}
	}
	for i := 0; i < len(authority); i++ {
		if c := authority[i]; !isAlnum(c) && strings.IndexByte("-._:[]", c) < 0 {
			return "", &Error{Malformed}
		}
	}
	return path, nil
}

func isScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && (i == 0 || strings.IndexByte("+-.", s[i]) < 0) {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// isPathByte reports the bytes that stand for themselves in a canonical path:
// RFC 3986 pchar without the semicolon, which begins a path parameter.
func isPathByte(c byte) bool {
	return isAlnum(c) || strings.IndexByte("-._~!$&'()*+,=:@", c) >= 0
}

func canonicalPath(s string, allowEncodedSlash bool) (string, error) {
	if len(s) > MaxPath {
		return "", &Error{TooLong}
	}
	if isCanonical(s) {
		return s, nil
	}
	buf, err := decodePath(s, allowEncodedSlash)
	if err != nil {
		return "", err
	}
	// The segments that remain, as places in buf.
	type span struct{ from, to int }
	var kept []span
	for from := 1; from <= len(buf); {
		to := from
		for to < len(buf) && buf[to] != '/' {
			to++
		}
		end := from // without path parameters
		for end < to && buf[end] != ';' {
			end++
		}
		last := to == len(buf)
		switch string(buf[from:end]) {
		case "..":
			if len(kept) == 0 {
				return "", &Error{AboveRoot}
			}
			kept = kept[:len(kept)-1]
			end = from
		case ".":
			end = from
		}
		if end > from || last { // an empty last segment is the trailing slash
			kept = append(kept, span{from, end})
		}
		from = to + 1
	}
	out := make([]byte, 0, len(s)+8)
	for _, k := range kept {
		if hidesDots(buf[k.from:k.to]) {
			return "", &Error{HiddenDots}
		}
		out = append(out, '/')
		for _, c := range buf[k.from:k.to] {
			out = appendByte(out, c)
		}
	}
	if len(out) > MaxPath {
		return "", &Error{TooLong}
	}
	return string(out), nil
}

// isCanonical recognises the common case that needs no work.
func isCanonical(s string) bool {
	start := 1
	for i := 1; i <= len(s); i++ {
		if i < len(s) && s[i] != '/' {
			if !isPathByte(s[i]) {
				return false
			}
			continue
		}
		switch segment := s[start:i]; {
		case segment == "" && i < len(s), segment == ".", segment == "..":
			return false
		}
		start = i + 1
	}
	return true
}

func decodePath(s string, allowEncodedSlash bool) ([]byte, error) {
	buf := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			var ok bool
			if c, ok = unhex(s, i); !ok {
				return nil, &Error{BadPercent}
			}
			i += 2
			switch {
			case c < 0x20 || c == 0x7f:
				return nil, &Error{ControlByte}
			case c == '/' && !allowEncodedSlash:
				return nil, &Error{EncodedSlash}
			case c == '/':
				c = slash
			}
		}
		buf = append(buf, c)
	}
	return buf, nil
}

// unhex reads the byte of the %XX at s[i].
func unhex(s string, i int) (byte, bool) {
	if i+2 >= len(s) {
		return 0, false
	}
	hi, ok1 := nibble(s[i+1])
	lo, ok2 := nibble(s[i+2])
	return hi<<4 | lo, ok1 && ok2
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// hidesDots reports a segment that an upstream which decodes once more, or
// takes backslashes for slashes, would resolve.
func hidesDots(segment []byte) bool {
	start := 0
	for i := 0; i <= len(segment); i++ {
		if i < len(segment) && segment[i] != slash && segment[i] != '\\' {
			continue
		}
		if part := string(segment[start:i]); part == "." || part == ".." {
			return true
		}
		start = i + 1
	}
	return false
}

func appendByte(out []byte, c byte) []byte {
	const hex = "0123456789ABCDEF"
	switch {
	case c == slash:
		return append(out, "%2F"...)
	case isPathByte(c):
		return append(out, c)
	}
	return append(out, '%', hex[c>>4], hex[c&15])
}
