package registry

import (
	"strings"
	"unicode/utf8"
)

// cutPrefix gives the segments of a path behind a prefix of whole segments.
func cutPrefix(path, prefix string) ([]string, bool) {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	if !ok || !strings.HasPrefix(rest, "/") {
		return nil, false
	}
	return strings.Split(rest[1:], "/"), true
}

// npm: names are lower case and at most one scope deep. Clients write the slash of
// a scoped name as %2f.
func npm(method string, read bool, s []string) (r Request, ok bool) {
	if len(s) == 1 && (s[0] == "" || s[0] == "-") {
		return Request{Action: Index}, read && s[0] == ""
	}
	if scope, name, encoded := strings.Cut(s[0], "%2F"); encoded {
		s = append([]string{scope, name}, s[1:]...)
	}
	base := s[0]
	r.Name = base
	if strings.HasPrefix(s[0], "@") {
		if len(s) < 2 {
			return r, false
		}
		base = s[1]
		r.Name, s = s[0]+"/"+s[1], s[1:]
	}
	if !isName(base, "-_.") || !isName(strings.TrimPrefix(r.Name, "@"), "-_./") || r.Name != strings.ToLower(r.Name) {
		return r, false
	}
	switch s = s[1:]; {
	case !read:
		r.Action = Publish
		return r, method == "PUT" || method == "DELETE" || method == "POST" || method == "PATCH"
	case len(s) == 0:
		r.Action = Metadata
		return r, true
	case len(s) == 1 && isVersion(s[0]):
		r.Action, r.Version = Metadata, s[0]
		return r, true
	case len(s) == 2 && s[0] == "-":
		version, ok1 := strings.CutPrefix(s[1], base+"-")
		version, ok2 := strings.CutSuffix(version, ".tgz")
		r.Action, r.Version = Download, version
		return r, ok1 && ok2 && isVersion(version)
	}
	return r, false
}

// pypi: names compare without regard to case and to runs of - _ and . (PEP 503).
func pypi(method string, read bool, s []string) (r Request, ok bool) {
	last := s[len(s)-1]
	switch {
	case !read:
		r.Action = Publish // the upload API takes the name in the body
		return r, method == "POST" || method == "PUT" || method == "DELETE"
	case s[0] == "simple" && (len(s) == 1 || len(s) == 2 && s[1] == ""):
		return Request{Action: Index}, true
	case s[0] == "simple" && (len(s) == 2 || len(s) == 3 && last == ""):
		r.Action, r.Name = Metadata, pypiName(s[1])
		return r, isName(s[1], "-_.")
	case s[0] == "pypi" && last == "json" && (len(s) == 3 || len(s) == 4 && isVersion(s[2])):
		r.Action, r.Name = Metadata, pypiName(s[1])
		if len(s) == 4 {
			r.Version = s[2]
		}
		return r, isName(s[1], "-_.")
	}
	r.Action = Download
	file, about := strings.CutSuffix(last, ".metadata") // PEP 658
	if about {
		r.Action = Metadata
	}
	r.Name, r.Version, ok = pypiFile(file)
	return r, ok
}

func pypiName(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return strings.ContainsRune("-_.", r) }), "-")
}

// pypiFile reads name and version from the name of a file (PEP 427, PEP 625).
func pypiFile(file string) (name, version string, ok bool) {
	if wheel, is := strings.CutSuffix(file, ".whl"); is {
		parts := strings.Split(wheel, "-")
		if len(parts) != 5 && len(parts) != 6 {
			return "", "", false
		}
		name, version = parts[0], parts[1]
	} else {
		stem := ""
		for _, end := range []string{".tar.gz", ".zip", ".tar.bz2", ".tgz"} {
			if s, is := strings.CutSuffix(file, end); is {
				stem = s
			}
		}
		i := strings.LastIndexByte(stem, '-') // versions have none in their normal form
		if i <= 0 {
			return "", "", false
		}
		name, version = stem[:i], stem[i+1:]
	}
	return pypiName(name), version, isName(name, "-_.") && isVersion(version)
}

// goProxy: upper case letters of a path are written as ! and the small one.
func goProxy(read bool, s []string) (r Request, ok bool) {
	if !read {
		return r, false
	}
	at, latest := -1, s[len(s)-1] == "@latest"
	for i, part := range s {
		if part == "@v" {
			at = i
		}
	}
	if latest {
		at = len(s) - 1
	}
	if at < 1 || !latest && at != len(s)-2 {
		return r, false
	}
	if r.Name, ok = unescape(strings.Join(s[:at], "/")); !ok || !isName(r.Name, "-_./~+") {
		return r, false
	}
	r.Action = Metadata
	if latest || s[len(s)-1] == "list" {
		return r, true
	}
	for end, action := range map[string]Action{".info": Metadata, ".mod": Metadata, ".zip": Download} {
		if version, is := strings.CutSuffix(s[len(s)-1], end); is {
			r.Action = action
			r.Version, ok = unescape(version)
			return r, ok && isVersion(r.Version)
		}
	}
	return r, false
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '!' && i+1 < len(s) && 'a' <= s[i+1] && s[i+1] <= 'z':
			i++
			b.WriteByte(s[i] - 'a' + 'A')
		case c == '!' || 'A' <= c && c <= 'Z': // one form for each name
			return "", false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// cargo: names compare without regard to case and to - and _.
func cargo(method string, read bool, s []string) (r Request, ok bool) {
	name := func(n string) string { return strings.ReplaceAll(strings.ToLower(n), "_", "-") }
	if len(s) >= 3 && s[0] == "api" && s[1] == "v1" && s[2] == "crates" {
		s = s[2:]
	}
	switch {
	case !read:
		r.Action = Publish
		return r, s[0] == "crates" && (method == "PUT" || method == "DELETE")
	case len(s) == 1 && s[0] == "config.json":
		return Request{Action: Index}, true
	case s[0] == "crates" && len(s) == 4 && s[3] == "download":
		return Request{Action: Download, Name: name(s[1]), Version: s[2]}, isName(s[1], "-_") && isVersion(s[2])
	case s[0] == "crates" && len(s) == 3:
		version, ok1 := strings.CutPrefix(s[2], s[1]+"-")
		version, ok2 := strings.CutSuffix(version, ".crate")
		return Request{Action: Download, Name: name(s[1]), Version: version}, ok1 && ok2 && isName(s[1], "-_") && isVersion(version)
	}
	last := s[len(s)-1]
	if strings.Join(s, "/") != indexPath(last) {
		return r, false
	}
	return Request{Action: Metadata, Name: name(last)}, isName(last, "-_") && last == strings.ToLower(last)
}

// indexPath is where Cargo's index has a crate.
func indexPath(name string) string {
	switch len(name) {
	case 0:
		return ""
	case 1, 2:
		return string(rune('0'+len(name))) + "/" + name
	case 3:
		return "3/" + name[:1] + "/" + name
	}
	return name[:2] + "/" + name[2:4] + "/" + name
}

// debian: an archive is its indexes below dists, and the files of pool.
func debian(read bool, s []string) (r Request, ok bool) {
	for i, part := range s {
		if !read {
			return r, false
		}
		switch {
		case part == "dists" && i+1 < len(s):
			return Request{Action: Index}, true
		case part == "pool" && i+1 < len(s):
			stem, is := strings.CutSuffix(s[len(s)-1], ".deb")
			parts := strings.Split(stem, "_")
			if !is || len(parts) != 3 {
				return r, false // sources are not binary packages
			}
			version := strings.ReplaceAll(parts[1], "%3A", ":") // the epoch
			return Request{Action: Download, Name: parts[0], Version: version}, isName(parts[0], "-+.") && isVersion(version)
		}
	}
	return r, false
}

// isName: letters, digits and what a registry has besides, not at the beginning.
func isName(s, others string) bool {
	if s == "" || len(s) > 255 || strings.ContainsRune(others, rune(s[0])) && s[0] != '_' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(others, r))
	}) && !strings.Contains(s, "..")
}

// isVersion: what versions of all these registries are written with.
func isVersion(s string) bool {
	return s != "" && len(s) <= 255 && utf8.ValidString(s) && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".+-~!:_", r))
	})
}
