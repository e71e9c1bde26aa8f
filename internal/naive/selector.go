package naive

import "strings"

// SelectorPath reports whether the path of an endpoint takes a request path.
// Version 1 reads it twice, in two languages; Creel has one: "*" stays within a
// segment, a final /** takes the bare prefix, too, and what the two languages
// read differently is refused, so that it takes nothing.
func SelectorPath(selector, path string) bool {
	if selector == "" || selector == "**" {
		return true
	}
	if strings.ContainsAny(selector, `{}\`) {
		return false
	}
	if ok, err := Glob(selector, path, '/'); ok && err == nil {
		return true
	}
	prefix, deep := strings.CutSuffix(selector, "/**")
	if !deep {
		return false
	}
	ok, err := Glob(prefix, path, '/')
	return ok && err == nil
}

// SelectorGrants: the bare prefix of a final /** is governed, and rules allow
// nothing there.
func SelectorGrants(selector, path string) bool {
	if selector == "" || selector == "**" {
		return true
	}
	ok, err := Glob(selector, path, '/')
	return ok && err == nil && SelectorPath(selector, path)
}

// Specificity is the number of characters that are not "*".
func Specificity(selector string) int {
	return len(selector) - strings.Count(selector, "*")
}

// Choose is the index of the selector that governs a path: the most specific
// one, the last of equals; -1 if none takes it.
func Choose(selectors []string, path string) int {
	best := -1
	for i, s := range selectors {
		if SelectorPath(s, path) && (best < 0 || Specificity(s) >= Specificity(selectors[best])) {
			best = i
		}
	}
	return best
}
