package policy

import (
	"errors"
	"strings"

	"github.com/creel-run/creel/policy/glob"
)

// globFault reports whether a glob is malformed, after recording it.
func (d *decoder) globFault(v value, text string, sep byte) bool {
	if text == "" && sep == '/' {
		d.fault(v, Missing, "", "a path glob", `write "**" for every path`)
		return true
	}
	_, err := glob.Compile(text, sep)
	if err == nil {
		return false
	}
	cause := err.Error()
	var syntax *glob.SyntaxError
	if errors.As(err, &syntax) {
		cause = syntax.Reason
	}
	if looksSecret(cause) {
		cause = "malformed"
	}
	d.fault(v, BadValue, show(text)+" ("+cause+")", "a well-formed glob", `write a backslash before [ { * ? that stand for themselves`)
	return true
}

// selector is an endpoint's path: a glob, of which a final "/**" also takes
// the bare prefix, so that choosing an endpoint and judging by it agree.
type selector struct {
	every bool
	bare  string // the prefix of "/v1/**" if it is plain text
	glob  glob.Glob
}

func (c *compiler) selector(path string) (selector, error) {
	if path == "" || path == "**" {
		return selector{every: true}, nil
	}
	g, err := c.glob(path, '/')
	if err != nil {
		return selector{}, err
	}
	s := selector{glob: g}
	if prefix, ok := strings.CutSuffix(path, "/**"); ok && prefix != "" {
		if s.bare, err = prefix, nil; strings.ContainsAny(prefix, `*?[{\`) {
			s.bare = ""
		}
	}
	return s, nil
}

func (s *selector) match(path string) bool {
	return s.every || s.glob.Match(path) || s.bare != "" && s.bare == path
}
