package target

import "errors"

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

// Parse canonicalises an origin-form target ("/path?query").
func Parse(s string, allowEncodedSlash bool) (Target, error) {
	return Target{}, errors.New("not built")
}
