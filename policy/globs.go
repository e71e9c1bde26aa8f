package policy

import (
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
	d.fault(v, BadValue, show(text)+" ("+plainError(err)+")", "a well-formed glob", `write a backslash before [ { * ? that stand for themselves`)
	return true
}
