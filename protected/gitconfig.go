package protected

import "strings"

// setting is one line of a git configuration: a lower-case key (the subsection
// keeps its case) and its value.
type setting struct{ section, sub, key, value string }

// parseConfig reads a git configuration (git-config(1), "Syntax"). ok is false
// for what it cannot read for sure; callers then think the worst.
func parseConfig(text []byte) (all []setting, ok bool) {
	section, sub := "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case strings.HasSuffix(line, `\`): // goes on in the next line
			return nil, false
		case line[0] == '[':
			end := strings.LastIndexByte(line, ']')
			if end < 0 || strings.TrimSpace(line[end+1:]) != "" { // a setting behind its heading
				return nil, false
			}
			name, quoted, has := strings.Cut(line[1:end], `"`)
			section, sub = strings.ToLower(strings.TrimSpace(name)), ""
			if has {
				if !strings.HasSuffix(quoted, `"`) {
					return nil, false
				}
				sub = strings.TrimSuffix(quoted, `"`)
			}
			if strings.ContainsAny(section, `."[]`) || strings.ContainsAny(sub, "\\\"") {
				return nil, false
			}
		default:
			key, value, _ := strings.Cut(line, "=")
			key = strings.ToLower(strings.TrimSpace(key))
			if section == "" || key == "" || strings.ContainsAny(key, "[]\"#; \t") {
				return nil, false
			}
			value = strings.TrimSpace(value)
			if !strings.Contains(value, `"`) {
				if i := strings.IndexAny(value, "#;"); i >= 0 {
					value = strings.TrimSpace(value[:i])
				}
			}
			all = append(all, setting{section, sub, key, strings.Trim(value, `"`)})
		}
	}
	return all, true
}

// plainKeys are settings that name no program, no other file and no other place
// to fetch from than git shows.
var plainKeys = map[string]bool{
	"core.repositoryformatversion": true, "core.filemode": true, "core.logallrefupdates": true, "core.ignorecase": true,
	"core.precomposeunicode": true, "core.symlinks": true, "core.autocrlf": true, "core.eol": true,
	"user.name": true, "user.email": true, "init.defaultbranch": true, "extensions.objectformat": true, "extensions.refstorage": true,
	"remote.url": true, "remote.pushurl": true, "remote.fetch": true, "remote.tagopt": true,
	"branch.remote": true, "branch.merge": true, "branch.rebase": true, "branch.vscode-merge-base": true,
	"pull.rebase": true, "pull.ff": true, "push.default": true, "push.autosetupremote": true, "commit.gpgsign": true, "gc.auto": true,
	"submodule.url": true, "submodule.active": true, "advice.detachedhead": true,
}

// harmlessConfig reports whether a git configuration says nothing but such
// settings. One that it cannot read is not.
func harmlessConfig(text []byte) bool {
	all, ok := parseConfig(text)
	for _, s := range all {
		name := s.section + "." + s.key
		switch {
		case name == "core.bare":
			ok = ok && strings.EqualFold(s.value, "false")
		case strings.HasSuffix(name, ".url") || strings.HasSuffix(name, ".pushurl"):
			// ext::, fd:: and other helpers run programs; a leading dash is an option.
			ok = ok && plainKeys[name] && !strings.Contains(s.value, "::") && !strings.HasPrefix(s.value, "-")
		default:
			ok = ok && plainKeys[name]
		}
	}
	return ok
}
