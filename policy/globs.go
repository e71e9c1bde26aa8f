package policy

import (
	"github.com/creel-run/creel/policy/glob"
)

// globFault reports whether a glob is malformed, after recording it. Of one that
// takes less than it looks it warns.
func (d *decoder) globFault(v value, text string, sep byte) bool {
	if text == "" && sep == '/' {
		d.fault(v, Missing, "", "a path glob", `write "**" for every path`)
		return true
	}
	_, err := glob.Compile(text, sep)
	if err == nil {
		if glob.Dropped(text, sep) {
			d.find(EmptyPart, d.at(v.n), v.path, NeverFires, show(text)+" has an empty alternative in its braces, which takes nothing",
				"write it twice: once with what the braces hold, and once without the braces")
		}
		return false
	}
	d.fault(v, BadValue, show(text)+" ("+plainError(err)+")", "a well-formed glob", `write a backslash before [ { * ? that stand for themselves`)
	return true
}
