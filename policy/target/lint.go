package target

import "strings"

// NeverCanonical reports why the path glob of a rule cannot match any canonical
// path, or "". Such an allow rule is a mistake; such a deny rule is a hole,
// because its author believes that it holds. It looks at the text and misses
// what is spread over classes and alternatives.
func NeverCanonical(pattern string) string {
	if pattern != "**" && !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, "**/") && !startsWild(pattern) {
		return "a path begins with a slash"
	}
	var before byte
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\' || c == '[' || c == '{':
			return "" // from here the text is no longer the path's own
		case c == '/' && before == '/':
			return "repeated slashes are folded before rules are matched"
		case c == ';':
			return "path parameters are cut off before rules are matched"
		case c == '%':
			b, ok := unhex(pattern, i)
			switch {
			case !ok:
				return "malformed percent-encoding"
			case isPathByte(b):
				return "percent-encoding of " + string(rune(b)) + " is decoded before rules are matched, write it plainly"
			case strings.ToUpper(pattern[i:i+3]) != pattern[i:i+3]:
				return "percent-encoding is in upper case before rules are matched"
			}
		case c == '*' || c == '?' || c == '/' || c == '}' || c == ',':
		case !isPathByte(c):
			return "write bytes like " + strings.ToUpper(hexByte(c)) + " percent-encoded, as they are when rules are matched"
		}
		before = c
	}
	for segment := range strings.SplitSeq(pattern, "/") {
		if segment == "." || segment == ".." {
			return "dot segments are resolved before rules are matched"
		}
	}
	return ""
}

func startsWild(pattern string) bool {
	return pattern != "" && strings.IndexByte(`[{\`, pattern[0]) >= 0
}

func hexByte(c byte) string {
	const hex = "0123456789abcdef"
	return "0x" + string([]byte{hex[c>>4], hex[c&15]})
}
