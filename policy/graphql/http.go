package graphql

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/creel-run/creel/policy/internal/strictjson"
)

const (
	// DefaultBytes is the limit for a body or message when none is given.
	DefaultBytes = strictjson.DefaultBytes
	// MaxBytes is the largest limit; larger ones count as this.
	MaxBytes = strictjson.MaxBytes
)

// Limit is the number of bytes up to which a body is worth reading, for a limit
// that was asked for; 0 is the default.
func Limit(maxBytes int) int { return strictjson.Limit(maxBytes) }

// CheckHead reports whether a request with these header fields can be inspected
// at all. It is asked before the body is read.
func CheckHead(header map[string][]string) error {
	if err := strictjson.CheckHead(header); err != nil {
		return &Error{BadHead, err}
	}
	return nil
}

// ParseHTTP reads a whole request. The method is in upper case; rawQuery is the
// target behind the question mark, as it will be sent. A head that CheckHead
// refuses is an error, as is every method but GET and POST.
func ParseHTTP(method, rawQuery string, header map[string][]string, body []byte, maxBytes int) (Request, error) {
	if err := CheckHead(header); err != nil {
		return Request{}, err
	}
	switch method {
	case "GET":
		if len(body) > 0 {
			return Request{}, fault(TwoPlaces)
		}
		return parseQuery(rawQuery, maxBytes)
	case "POST":
		p, err := readParams(rawQuery)
		if err != nil {
			return Request{}, err
		}
		if p.any {
			return Request{}, fault(TwoPlaces)
		}
		return parseBody(body, maxBytes)
	}
	return Request{}, fault(Method)
}

func parseBody(body []byte, maxBytes int) (Request, error) {
	v, err := strictjson.Read(body, maxBytes)
	if err != nil {
		return Request{}, &Error{NoJSON, err}
	}
	envelopes := []strictjson.Value{v}
	if v.Kind == strictjson.Array {
		if envelopes = v.Items; len(envelopes) == 0 {
			return Request{}, fault(EmptyBatch)
		}
	}
	var r Request
	for _, e := range envelopes {
		op, err := parseEnvelope(e)
		if err != nil {
			return Request{}, err
		}
		r.Operations = append(r.Operations, op)
	}
	return r, nil
}

// parseQuery reads the parameters of a GET. An empty parameter is none.
func parseQuery(rawQuery string, maxBytes int) (Request, error) {
	if len(rawQuery) > strictjson.Limit(maxBytes) {
		return Request{}, fault(BadQuery)
	}
	p, err := readParams(rawQuery)
	if err != nil {
		return Request{}, err
	}
	e := envelope{query: p.values["query"], name: p.values["operationName"]}
	for _, key := range idKeys {
		e.ids = append(e.ids, p.values[key])
	}
	for _, key := range unknownIDKeys {
		if p.values[key] != "" {
			return Request{}, fault(UnknownID)
		}
	}
	if text := p.values["extensions"]; text != "" {
		v, err := strictjson.Read([]byte(text), maxBytes)
		if err != nil {
			return Request{}, &Error{NoJSON, err}
		}
		if e.hash, err = hashOf(v); err != nil {
			return Request{}, err
		}
	}
	op, err := e.operation()
	if err != nil {
		return Request{}, err
	}
	return Request{[]Operation{op}}, nil
}

// params are the URL parameters that GraphQL servers look at. Any is true if
// one of them is there, be it empty.
type params struct {
	values map[string]string
	any    bool
}

// readParams decodes a query strictly: no semicolons, which some servers take
// for separators, no malformed escapes, UTF-8. A key that some server would
// take for a known one (another case, or behind a NUL or a bracket, as in
// query[]) is an error.
func readParams(rawQuery string) (params, error) {
	all, err := url.ParseQuery(rawQuery)
	if err != nil {
		return params{}, fault(BadQuery) // the error of net/url repeats the text
	}
	p := params{values: map[string]string{}}
	for key, values := range all {
		if !utf8.ValidString(key) || slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) }) {
			return params{}, fault(BadQuery)
		}
		name := key
		if i := strings.IndexFunc(key, func(r rune) bool { return r == '[' || unicode.IsControl(r) }); i >= 0 {
			name = key[:i]
		}
		known := knownParam(strings.TrimSpace(name))
		switch {
		case known == "":
			continue
		case known != key:
			return params{}, fault(Keys)
		case len(values) != 1:
			return params{}, fault(Repeated)
		}
		p.any = true
		p.values[key] = values[0]
	}
	return p, nil
}

func knownParam(key string) string {
	for _, list := range [][]string{{"query", "operationName", "extensions"}, idKeys, unknownIDKeys} {
		for _, name := range list {
			if strings.EqualFold(name, key) {
				return name
			}
		}
	}
	return ""
}
