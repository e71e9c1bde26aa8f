package target

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/creel-run/creel/policy/glob"
)

// DecodeQuery splits a raw query into its parameters: pairs between "&", empty
// ones skipped, name and value at the first "=", "+" for a space, percent-
// encoding decoded once. Values keep their order. A malformed escape or text
// that is not UTF-8 is an error: another reader would see something else.
func DecodeQuery(raw string) (map[string][]string, error) {
	params := map[string][]string{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		key, err := decodeText(k)
		if err != nil {
			return nil, err
		}
		value, err := decodeText(v)
		if err != nil {
			return nil, err
		}
		params[key] = append(params[key], value)
	}
	return params, nil
}

func decodeText(s string) (string, error) {
	if strings.ContainsAny(s, "%+") {
		buf := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			c := s[i]
			switch c {
			case '+':
				c = ' '
			case '%':
				var ok bool
				if c, ok = unhex(s, i); !ok {
					return "", &Error{BadPercent}
				}
				i += 2
			}
			buf = append(buf, c)
		}
		s = string(buf)
	}
	if !utf8.ValidString(s) {
		return "", &Error{NotUTF8}
	}
	return s, nil
}

// maxGlobs bounds the alternatives of one matcher.
const maxGlobs = 256

// Matcher matches one value against globs with the separator ".", of which any
// may match. The zero Matcher matches no value.
type Matcher struct{ globs []glob.Glob }

// ParseMatcher compiles the globs of a matcher: one, or those of `any`. A
// single empty glob is refused: version 1 drops it to a matcher that matches
// nothing, which nobody means.
func ParseMatcher(globs ...string) (Matcher, error) {
	switch {
	case len(globs) == 0:
		return Matcher{}, fmt.Errorf("parse matcher: no glob")
	case len(globs) > maxGlobs:
		return Matcher{}, fmt.Errorf("parse matcher: more than %d globs", maxGlobs)
	case len(globs) == 1 && globs[0] == "":
		return Matcher{}, fmt.Errorf("parse matcher: the empty glob matches nothing")
	}
	m := Matcher{globs: make([]glob.Glob, len(globs))}
	for i, s := range globs {
		g, err := glob.Compile(s, '.')
		if err != nil {
			return Matcher{}, err
		}
		m.globs[i] = g
	}
	return m, nil
}

// Match reports whether a decoded value matches.
func (m Matcher) Match(value string) bool {
	for _, g := range m.globs {
		if g.Match(value) {
			return true
		}
	}
	return false
}

// Globs is for analysis; it must not be changed.
func (m Matcher) Globs() []glob.Glob { return m.globs }

// Matchers are the query matchers of one rule, by parameter name (exact, case
// matters). The zero Matchers ask for nothing: a rule without query matchers
// holds for every query.
type Matchers struct{ keyed []keyed }

type keyed struct {
	key string
	m   Matcher
}

// NewMatchers takes the matchers by parameter name.
func NewMatchers(byKey map[string]Matcher) Matchers {
	var ms Matchers
	for k, m := range byKey {
		ms.keyed = append(ms.keyed, keyed{k, m})
	}
	sort.Slice(ms.keyed, func(i, j int) bool { return ms.keyed[i].key < ms.keyed[j].key })
	return ms
}

// Keys are the parameter names, sorted, and Get their matchers.
func (ms Matchers) Keys() []string {
	keys := make([]string, len(ms.keyed))
	for i, k := range ms.keyed {
		keys[i] = k.key
	}
	return keys
}

func (ms Matchers) Get(key string) Matcher {
	for _, k := range ms.keyed {
		if k.key == key {
			return k.m
		}
	}
	return Matcher{}
}

// Allows reports whether an allow rule with these matchers holds: every named
// parameter is present, and all of its values match. Others are ignored.
func (ms Matchers) Allows(params map[string][]string) bool {
	for _, k := range ms.keyed {
		values := params[k.key]
		if len(values) == 0 {
			return false
		}
		for _, v := range values {
			if hasNUL(v) || !k.m.Match(v) {
				return false
			}
		}
	}
	return true
}

// Denies reports whether a deny rule with these matchers holds: every named
// parameter is present, and at least one of its values matches.
func (ms Matchers) Denies(params map[string][]string) bool {
	for _, k := range ms.keyed {
		hit := false
		for _, v := range params[k.key] {
			hit = hit || hasNUL(v) || k.m.Match(v)
		}
		if !hit {
			return false
		}
	}
	return true
}

// hasNUL: a value with NUL cannot be judged in version 1 (evaluation fails, and
// the request with it), so it never allows and always denies.
func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
