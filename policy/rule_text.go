package policy

import "strings"

// ruleText is an allow or deny entry in the language's own words, whatever
// protocol it is of: what it takes, and then what it demands or permits besides.
func ruleText(s RequestRule) string {
	var parts []string
	add := func(words ...string) {
		if words[len(words)-1] != "" {
			parts = append(parts, strings.TrimSpace(strings.Join(words, " ")))
		}
	}
	list := func(texts []string) string { return strings.Join(texts, " or ") }
	switch {
	case s.Operation != "" || s.Repository != "":
		text := s.Operation + " " + s.Repository
		if len(s.Refs) > 0 {
			text += " to " + list(s.Refs)
		}
		add(text)
	case s.Package != "":
		add("package", s.Package)
		add("versions", list(s.Versions))
		if s.MinAge > 0 {
			add("min_age", DurationText(s.MinAge))
		}
	case s.ofOperations():
		add(s.OperationType, s.OperationName)
		if len(parts) == 0 {
			add(s.OperationType)
		}
		add("fields", list(s.Fields))
	case s.Tools != nil:
		add(firstOf(s.Method, toolsCall))
		add("tool", firstOf(list(s.Tools), "(none)"))
		for _, a := range s.Arguments {
			add("argument", a.Name, list(a.Any))
		}
	case s.Command != "":
		add("command", s.Command)
	default:
		text := s.Method + " " + s.Path
		if len(s.Query) > 0 {
			text += " with a query condition"
		}
		add(text)
	}
	for _, flag := range []struct {
		word string
		on   bool
	}{{"force", s.Force}, {"delete", s.Delete}, {"publish", s.Publish}} {
		if flag.on {
			add(flag.word)
		}
	}
	return strings.Join(parts, ", ")
}
