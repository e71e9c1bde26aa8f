package target

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/creel-run/creel/policy/glob"
)

// Selector is the `path` of an endpoint: which requests it governs. Choosing
// the endpoint and authorising the request both use it (see the package
// comment). The zero Selector matches nothing.
type Selector struct {
	text     string
	kind     selectorKind
	glob     glob.Glob
	bare     glob.Glob // of "/v1/**" the "/v1"; zero if there is none
	specific int
}

type selectorKind uint8

const (
	selectNone selectorKind = iota
	selectAll
	selectGlob
)

// ParseSelector reads an endpoint's path: empty or `**` for every path, else a
// glob that begins with a slash.
func ParseSelector(s string) (Selector, error) {
	sel := Selector{text: s, kind: selectAll, specific: utf8.RuneCountInString(s) - strings.Count(s, "*")}
	if s == "" || s == "**" || s == "/**" {
		return sel, nil
	}
	fail := func(reason string) (Selector, error) {
		return Selector{}, fmt.Errorf("parse endpoint path %.200q: %s", s, reason)
	}
	switch {
	case s[0] != '/':
		return fail("must begin with / or be **")
	case strings.ContainsAny(s, "{}"):
		return fail("braces are not supported here, write one endpoint per alternative")
	case strings.Contains(s, `\`):
		return fail("backslashes are not supported here, write [*] for a star")
	case strings.Contains(s, "[^"):
		return fail("write [!…] for a negated class")
	}
	for segment := range strings.SplitSeq(s, "/") {
		if strings.Contains(segment, "**") && segment != "**" {
			return fail("** must be a whole segment")
		}
	}
	var err error
	if sel.glob, err = glob.Compile(s, '/'); err != nil {
		return Selector{}, err
	}
	if prefix, ok := strings.CutSuffix(s, "/**"); ok {
		if sel.bare, err = glob.Compile(prefix, '/'); err != nil {
			return Selector{}, err
		}
	}
	sel.kind = selectGlob
	return sel, nil
}

// Match reports whether the selector takes a canonical path.
func (s Selector) Match(path string) bool {
	switch s.kind {
	case selectAll:
		return true
	case selectGlob:
		return s.glob.Match(path) || s.bare.Match(path)
	case selectNone:
	}
	return false
}

// Grants reports whether rules of an endpoint with this selector may allow a
// path. It is Match without the bare prefix: `/v1/**` governs `/v1`, so that a
// broader endpoint does not open it, and allows nothing there.
func (s Selector) Grants(path string) bool {
	switch s.kind {
	case selectAll:
		return true
	case selectGlob:
		return s.glob.Match(path)
	case selectNone:
	}
	return false
}

// Globs are the globs of which any may match, for analysis: none for the zero
// Selector; the literal `**` for one that takes every path.
func (s Selector) Globs() []glob.Glob {
	switch s.kind {
	case selectAll:
		if all, err := glob.Compile("**", '/'); err == nil {
			return []glob.Glob{all}
		}
	case selectGlob:
		if !s.bare.IsZero() {
			return []glob.Glob{s.glob, s.bare}
		}
		return []glob.Glob{s.glob}
	case selectNone:
	}
	return nil
}

// Specificity is the number of characters that are not `*`.
func (s Selector) Specificity() int { return s.specific }

func (s Selector) String() string { return s.text }

// Select returns the index of the most specific selector that takes the path;
// of equals the last. Policies in which equals disagree are refused when they
// are loaded.
func Select(selectors []Selector, path string) (int, bool) {
	best, found := 0, false
	for i, s := range selectors {
		if s.Match(path) && (!found || s.specific >= selectors[best].specific) {
			best, found = i, true
		}
	}
	return best, found
}
