package graphql

import (
	"slices"
	"strings"
)

// A second reader of documents for tests, of the specification's grammar and
// without the library: tokens first, then definitions by counting brackets. It
// takes documents that are known to be well formed.

type naive struct {
	fragments map[string][]string
}

func naiveTokens(doc string) []string {
	var tokens []string
	isName := func(c byte) bool {
		return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	for doc != "" {
		n := 1
		switch c := doc[0]; {
		case c == '#':
			for n < len(doc) && doc[n] != '\n' && doc[n] != '\r' {
				n++
			}
		case strings.HasPrefix(doc, `"""`):
			for n = 3; !strings.HasPrefix(doc[n:], `"""`); n++ {
				if strings.HasPrefix(doc[n:], `\"""`) {
					n += 3
				}
			}
			n += 3
			tokens = append(tokens, `"`)
		case c == '"':
			for ; doc[n] != '"'; n++ {
				if doc[n] == '\\' {
					n++
				}
			}
			n++
			tokens = append(tokens, `"`)
		case '0' <= c && c <= '9' || c == '-':
			// The library takes 1.5x for two tokens, so letters end a number here, too.
			for n < len(doc) && ('0' <= doc[n] && doc[n] <= '9' || doc[n] == '.' ||
				strings.IndexByte("eE", doc[n]) >= 0 || strings.IndexByte("+-", doc[n]) >= 0 && strings.IndexByte("eE", doc[n-1]) >= 0) {
				n++
			}
			tokens = append(tokens, "0")
		case isName(c):
			for n < len(doc) && isName(doc[n]) {
				n++
			}
			tokens = append(tokens, doc[:n])
		case strings.HasPrefix(doc, "..."):
			n = 3
			tokens = append(tokens, "...")
		case strings.IndexByte("{}[]()!$&:=@|", c) >= 0:
			tokens = append(tokens, doc[:1])
		}
		doc = doc[n:]
	}
	return tokens
}

// span is the length of the bracketed tokens at the start.
func span(tokens []string) int {
	depth := 0
	for i, t := range tokens {
		switch t {
		case "{", "[", "(":
			depth++
		case "}", "]", ")":
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(tokens)
}

// naiveFields are type, name and root fields of every operation, in order.
func naiveFields(doc string) (types, names []string, fields [][]string) {
	n := naive{fragments: map[string][]string{}}
	var sets [][]string
	for rest := naiveTokens(doc); len(rest) > 0; {
		if rest[0] == `"` { // a description
			rest = rest[1:]
			continue
		}
		head := 0
		for rest[head] != "{" {
			if rest[head] == "(" {
				head += span(rest[head:])
			} else {
				head++
			}
		}
		set := rest[head : head+span(rest[head:])]
		switch {
		case rest[0] == "fragment":
			n.fragments[rest[1]] = set
		default:
			kind, name := "query", ""
			if head > 0 {
				kind = rest[0]
			}
			if head > 1 && rest[1] != "(" && rest[1] != "@" {
				name = rest[1]
			}
			types, names, sets = append(types, kind), append(names, name), append(sets, set)
		}
		rest = rest[head+len(set):]
	}
	for _, set := range sets {
		got := map[string]bool{}
		n.collect(set, got, 0)
		var list []string
		for f := range got {
			list = append(list, f)
		}
		slices.Sort(list)
		fields = append(fields, list)
	}
	return types, names, fields
}

// collect takes a set with its braces.
func (n naive) collect(set []string, into map[string]bool, depth int) {
	if depth > 40 {
		return
	}
	for rest := set[1 : len(set)-1]; len(rest) > 0; {
		spread := rest[0] == "..."
		name := ""
		if spread {
			rest = rest[1:]
			switch {
			case rest[0] == "on" || rest[0] == `"`:
				rest = rest[2:]
			case rest[0] != "{" && rest[0] != "@":
				name, rest = rest[0], rest[1:]
			}
		} else {
			name, rest = rest[0], rest[1:]
			if len(rest) > 0 && rest[0] == ":" {
				name, rest = rest[1], rest[2:]
			}
			into[name] = true
		}
		if !spread && len(rest) > 0 && rest[0] == "(" {
			rest = rest[span(rest):]
		}
		for len(rest) > 0 && rest[0] == "@" {
			if rest = rest[2:]; len(rest) > 0 && rest[0] == "(" {
				rest = rest[span(rest):]
			}
		}
		switch {
		case spread && name != "":
			n.collect(n.fragments[name], into, depth+1)
		case len(rest) > 0 && rest[0] == "{":
			size := span(rest)
			if spread {
				n.collect(rest[:size], into, depth+1)
			}
			rest = rest[size:]
		}
	}
}
