package protected

import (
	"strings"
	"sync"
	"unicode"
)

// Match gives the entry that a path relative to a workspace's root is or lies
// in. The whole list counts at the root, and below it as well (nested): a folder
// there may be opened as a workspace, or be a repository. Names are compared as
// file systems that fold case, ignore invisible characters or have short names
// would: .GIT and git~1 are .git there.
func Match(rel string) (e Entry, nested, ok bool) {
	parts := strings.Split(rel, "/")
	for i, p := range parts {
		parts[i] = Fold(p)
	}
	for i := range parts {
		for _, f := range folded() {
			if hasPrefix(parts[i:], f.parts) && (f.entry.Path != gitDir || i == len(parts)-1) {
				return f.entry, i > 0, true
			}
		}
	}
	return Entry{}, false, false
}

type foldedEntry struct {
	entry Entry
	parts []string
}

var folded = sync.OnceValue(func() []foldedEntry {
	var all []foldedEntry
	for _, e := range List() {
		f := foldedEntry{entry: e}
		for _, p := range strings.Split(e.Path, "/") {
			f.parts = append(f.parts, Fold(p))
		}
		all = append(all, f)
	}
	return all
})

func hasPrefix(path, prefix []string) bool {
	if len(path) < len(prefix) {
		return false
	}
	for i, p := range prefix {
		if path[i] != p {
			return false
		}
	}
	return true
}

// Fold gives the form by which names are compared: what HFS+, NTFS, and
// case-folding ext4 take for the same name (git's own checks of .git are the model).
func Fold(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r >= 0x200C && r <= 0x200F, r >= 0x202A && r <= 0x202E, r >= 0x206A && r <= 0x206F, r == 0xFEFF:
			continue // ignored by HFS+
		case r == 0x017F: // long s, K sign: their simple folds are ASCII
			r = 's'
		case r == 0x212A:
			r = 'k'
		}
		b.WriteRune(unicode.ToLower(r))
	}
	s := b.String()
	if i := strings.IndexByte(s, ':'); i > 0 { // a stream of NTFS
		s = s[:i]
	}
	s = strings.TrimRight(s, " .") // ignored by NTFS and FAT
	if s == "git~1" {
		return ".git"
	}
	return s
}
