package graphql

import "strings"

// block opens and closes a block string.
const block = `"""`

// maxDepth bounds open braces, brackets and parentheses, all together.
const maxDepth = 128

// scan walks over a document before it is parsed. It bounds nesting, and makes
// sure that every lexer finds the same strings and comments, for what is inside
// of one reader's string could be another's mutation:
//
//   - a block string ends at the first """ that no backslash precedes. Some
//     lexers, the one that is used here too, end it at the last three of a longer run of
//     quotes; so no quote may follow.
//   - a comment ends at LF or CR. Older readers also ended it at U+2028, U+2029
//     and U+0085; so none may be in it.
//
// What is not well formed in other ways is left to the parser.
func scan(doc string) error {
	depth := 0
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case '{', '[', '(':
			if depth++; depth > maxDepth {
				return fault(TooDeep)
			}
		case '}', ']', ')':
			depth--
		case '#':
			n := strings.IndexAny(doc[i:], "\n\r")
			if n < 0 {
				n = len(doc) - i
			}
			if strings.ContainsAny(doc[i:i+n], "\u2028\u2029\u0085") {
				return fault(LineSeparator)
			}
			i += n - 1
		case '"':
			n := stringEnd(doc[i:])
			if n == 0 {
				return fault(Syntax)
			}
			if strings.HasPrefix(doc[i:], block) && strings.HasPrefix(doc[i+n:], `"`) {
				return fault(Quotes)
			}
			i += n - 1
		}
	}
	return nil
}

// stringEnd is the length of the string that the text begins with, quotes
// included, or 0 if it does not end.
func stringEnd(s string) int {
	if strings.HasPrefix(s, block) {
		for i := len(block); i < len(s); i++ {
			switch {
			case strings.HasPrefix(s[i:], `\`+block):
				i += len(block)
			case strings.HasPrefix(s[i:], block):
				return i + len(block)
			}
		}
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\n', '\r':
			return 0
		case '"':
			return i + 1
		}
	}
	return 0
}
