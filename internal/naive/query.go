package naive

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Query is what one key of a query must hold: one of the globs.
type Query struct {
	Key string
	Any []string
}

// QueryAllows: every key is there, and all its values match.
func QueryAllows(rules []Query, params map[string][]string) bool {
	for _, r := range rules {
		values, ok := params[r.Key]
		if !ok {
			return false
		}
		for _, v := range values {
			if !anyGlob(r.Any, v) {
				return false
			}
		}
	}
	return true
}

// QueryDenies: every key is there, and one of its values matches.
func QueryDenies(rules []Query, params map[string][]string) bool {
	for _, r := range rules {
		hit := false
		for _, v := range params[r.Key] {
			hit = hit || anyGlob(r.Any, v)
		}
		if !hit {
			return false
		}
	}
	return true
}

// anyGlob: one of the value globs takes the text.
func anyGlob(globs []string, text string) bool {
	for _, g := range globs {
		if ok, err := Glob(g, text, '.'); ok && err == nil {
			return true
		}
	}
	return false
}

// DecodeQuery splits a query: values are decoded once, "+" is a space, and what
// does not decode to UTF-8 is an error.
func DecodeQuery(raw string) (map[string][]string, error) {
	params := map[string][]string{}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		key, err := url.QueryUnescape(k)
		if err != nil {
			return nil, err
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return nil, err
		}
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, errors.New("not UTF-8")
		}
		params[key] = append(params[key], value)
	}
	return params, nil
}
