package policygen

import (
	"strings"

	"pgregory.net/rapid"
)

// Instance draws a text that a glob probably takes: each wildcard is replaced by
// a short text that fits it, or nearly. It reads globs on its own and loosely,
// since nothing depends on a hit.
func Instance(t *rapid.T, glob string, sep byte) string {
	var out strings.Builder
	draw := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			if strings.HasPrefix(glob[i:], "**") {
				i++
				out.WriteString(draw("for **", "a", "", "b", "a"+string(rune(sep))+"b", "b"+string(rune(sep)), "a"+string(rune(sep))+"b"+string(rune(sep))+"c"))
				continue
			}
			out.WriteString(draw("for *", "a", "", "b", "ab", "git", "a"+string(rune(sep))+"b"))
		case '?':
			out.WriteString(draw("for ?", "a", "b", "ab", string(rune(sep))))
		case '[':
			end := strings.IndexByte(glob[min(i+2, len(glob)):], ']')
			if end < 0 {
				return out.String()
			}
			i += 2 + end
			out.WriteString(draw("for a class", "a", "b", "c", "g", "^", string(rune(sep))))
		case '{':
			end := strings.IndexByte(glob[i:], '}')
			if end < 0 {
				return out.String()
			}
			out.WriteString(Instance(t, draw("for braces", strings.Split(glob[i+1:i+end], ",")...), sep))
			i += end
		case '\\':
			if i++; i < len(glob) {
				out.WriteByte(glob[i])
			}
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}
