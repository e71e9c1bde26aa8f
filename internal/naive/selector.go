package naive

import "strings"

// SelectorPath reports whether the path of an endpoint governs a request path:
// whether it says how the request is read and enforced. Version 1 reads a
// selector twice, in two languages; Creel has one, in which "*" stays within a
// segment, and refuses what the two read differently, so that it takes nothing.
// Left of the difference is that a final /** also governs the bare prefix.
func SelectorPath(selector, path string) bool {
	if selectorGrants(selector, path) {
		return true
	}
	prefix, deep := strings.CutSuffix(selector, "/**")
	if !deep || strings.ContainsAny(selector, `{}\`) {
		return false
	}
	ok, err := Glob(prefix, path, '/')
	return ok && err == nil
}

// selectorGrants: the endpoint's rules count for the path.
func selectorGrants(selector, path string) bool {
	if selector == "" || selector == "**" {
		return true
	}
	if strings.ContainsAny(selector, `{}\`) {
		return false
	}
	ok, err := Glob(selector, path, '/')
	return ok && err == nil
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
