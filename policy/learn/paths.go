package learn

import (
	"cmp"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy"
)

// generalise gives the globs for paths of one method on one endpoint. Paths that
// agree but for segments that look like ids become one, in which those that vary
// are `*`: one segment each, never more. Everything else stays as it was asked for.
func generalise(paths []string) []family {
	families := make(map[string][][]string) // their segments, by shape
	var order []string
	for _, p := range paths {
		segments := strings.Split(p, "/")
		shape := slices.Clone(segments)
		for i, s := range segments {
			if looksLikeID(s) {
				shape[i] = "\x00" // in no canonical path
			}
		}
		key := strings.Join(shape, "/")
		if families[key] == nil {
			order = append(order, key)
		}
		families[key] = append(families[key], segments)
	}
	var globs []family
	for _, key := range order {
		all := families[key]
		g := family{paths: len(all)}
		out := make([]string, len(all[0]))
		for i, s := range all[0] {
			out[i] = policy.LiteralPath(s)
			if slices.ContainsFunc(all, func(other []string) bool { return other[i] != s }) {
				out[i] = "*"
				g.wide = true
			}
		}
		g.text = strings.Join(out, "/")
		globs = append(globs, g)
	}
	slices.SortFunc(globs, func(a, b family) int { return cmp.Compare(a.text, b.text) })
	return globs
}

// family is one path of a rule, and how many paths it was made of.
type family struct {
	text  string
	paths int
	wide  bool
}

// Lengths of what is taken for an id: shorter ones are everyday words.
const (
	minHex   = 7  // an abbreviated commit
	minMixed = 12 // letters and digits in one
)

// looksLikeID: numbers, UUIDs and digests, dates, and long runs that mix letters
// with several digits. Versions (v2), names and file names are none.
func looksLikeID(s string) bool {
	if s == "" {
		return false
	}
	digits, letters, hexLetters, other := 0, 0, 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			letters++
			hexLetters++
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			letters++
		case c == '-' || c == '_':
			other++
		default:
			return false // dots, colons, percent: a file, a version, something said
		}
	}
	switch {
	case digits == 0:
		return false
	case letters == 0 && (other == 0 || digits >= 6):
		return s[0] != '-' && s[0] != '_' // 17, 2026-11-23
	case other == 0 && letters == hexLetters:
		return len(s) >= minHex && digits >= 2
	case other == 4 && letters == hexLetters && len(s) == 36:
		return true // a UUID
	}
	return other == 0 && len(s) >= minMixed && digits >= 3
}
