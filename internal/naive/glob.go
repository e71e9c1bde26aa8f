package naive

import (
	"errors"
	"strings"
)

var errGlob = errors.New("malformed glob")

// Glob reports whether a glob takes the whole text. The separator is "/" for
// paths and programs, "." for values. An error means that the glob is malformed;
// it matches nothing then.
func Glob(glob, text string, sep byte) (bool, error) {
	plain, err := alternatives(glob)
	if err != nil {
		return false, err
	}
	for _, p := range plain {
		if err := wellFormed(p); err != nil {
			return false, err
		}
	}
	for _, p := range plain {
		if everything(glob, sep) || match(p, text, sep, true) {
			return true, nil
		}
	}
	return false, nil
}

// everything: a glob of nothing but ** components takes every text, also with a
// slash at its end. The reference is silent about that slash; the engine that
// version 1 runs on takes it so.
func everything(glob string, sep byte) bool {
	return sep == '/' && strings.HasPrefix(glob, "**/") && strings.ReplaceAll(glob, "**/", "") == ""
}

// alternatives writes a glob with braces out as globs without. An empty
// alternative beside others is none (the reference is silent; see everything).
func alternatives(glob string) ([]string, error) {
	start, depth := -1, 0
	var commas []int
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			i++
		case '[':
			n, err := classEnd(glob[i:])
			if err != nil {
				return nil, err
			}
			i += n - 1
		case '{':
			if depth == 0 {
				start = i
			}
			depth++
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		case '}':
			depth--
			if depth < 0 {
				return nil, errGlob
			}
			if depth > 0 {
				continue
			}
			var all []string
			from := start + 1
			for _, to := range append(commas, i) {
				if from == to && i > start+1+len(commas) {
					from = to + 1
					continue
				}
				list, err := alternatives(glob[:start] + glob[from:to] + glob[i+1:])
				if err != nil {
					return nil, err
				}
				all = append(all, list...)
				from = to + 1
			}
			return all, nil
		}
	}
	if depth != 0 {
		return nil, errGlob
	}
	return []string{glob}, nil
}

func wellFormed(plain string) error {
	for i := 0; i < len(plain); i++ {
		switch plain[i] {
		case '\\':
			if i++; i == len(plain) {
				return errGlob
			}
		case '[':
			n, err := classEnd(plain[i:])
			if err != nil {
				return err
			}
			i += n - 1
		}
	}
	return nil
}

// match takes a well-formed glob without braces. component says that a
// component of the glob begins here: only there can ** be more than a *.
func match(glob, text string, sep byte, component bool) bool {
	if glob == "" {
		return text == ""
	}
	if component && (glob == "**" || strings.HasPrefix(glob, "**"+string(rune(sep)))) {
		return doubleStar(glob[2:], text, sep)
	}
	switch c := glob[0]; c {
	case '*':
		for i := 0; ; i++ {
			if match(glob[1:], text[i:], sep, false) {
				return true
			}
			if i == len(text) || text[i] == sep {
				return false
			}
		}
	case '?':
		return text != "" && text[0] != sep && match(glob[1:], text[1:], sep, false)
	case '[':
		n, err := classEnd(glob)
		if err != nil || text == "" || !inClass(glob[1:n-1], text[0]) {
			return false
		}
		// In paths a class takes the separator if it says so (a correction to
		// the reference); elsewhere it does not.
		if text[0] == sep && sep != '/' {
			return false
		}
		return match(glob[n:], text[1:], sep, false)
	case '\\':
		return len(glob) > 1 && text != "" && text[0] == glob[1] && match(glob[2:], text[1:], sep, glob[1] == sep)
	default:
		return text != "" && text[0] == c && match(glob[1:], text[1:], sep, c == sep)
	}
}

// doubleStar: ** as a whole component, rest being what follows it.
func doubleStar(rest, text string, sep byte) bool {
	if rest == "" {
		return true // everything below; the separator before it was taken
	}
	if sep == '/' {
		// zero or more components, each with its separator
		if match(rest[1:], text, sep, true) {
			return true
		}
		for i := range len(text) {
			if text[i] == sep && match(rest[1:], text[i+1:], sep, true) {
				return true
			}
		}
		return false
	}
	for i := 0; i <= len(text); i++ {
		if match(rest, text[i:], sep, false) {
			return true
		}
	}
	return false
}

// classEnd is the length of the class that the text begins with. The first
// character of a class may be "]".
func classEnd(s string) (int, error) {
	i := 1
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		i++
	}
	first := i
	for ; i < len(s); i++ {
		if s[i] == ']' && i > first {
			if !ascii(s[first:i]) || !rangesRise(s[first:i]) {
				return 0, errGlob
			}
			return i + 1, nil
		}
	}
	return 0, errGlob
}

// ascii: a class is of bytes, so one of letters of several bytes is refused.
func ascii(members string) bool {
	return !strings.ContainsFunc(members, func(r rune) bool { return r > 0x7f })
}

func rangesRise(members string) bool {
	for i := 0; i < len(members); i++ {
		if i+2 < len(members) && members[i+1] == '-' {
			if members[i] > members[i+2] {
				return false
			}
			i += 2
		}
	}
	return true
}

// inClass takes what stands between the brackets.
func inClass(body string, c byte) bool {
	not := body[0] == '!' || body[0] == '^'
	if not {
		body = body[1:]
	}
	found := false
	for i := 0; i < len(body); i++ {
		if i+2 < len(body) && body[i+1] == '-' {
			found = found || body[i] <= c && c <= body[i+2]
			i += 2
			continue
		}
		found = found || c == body[i]
	}
	return found != not
}
