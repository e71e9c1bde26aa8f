package naive

import "strings"

// gitFault: no rule can allow it, whatever is enforced: none of Git's own
// requests, or nothing that it asks for.
func gitFault(q Question) bool {
	if q.Git == nil || q.Git.Repository == "" || !strings.EqualFold(q.Method, "GET") && !strings.EqualFold(q.Method, "POST") {
		return true
	}
	return q.Git.Push && !q.Git.Discovery && len(q.Git.Updates) == 0
}

// gitAllows takes a fetch, the question which refs there are, or one ref of a push.
func gitAllows(e Endpoint, g Git) bool {
	for _, r := range e.Allow {
		if !gitTaken(r, g) {
			continue
		}
		if !g.Push || g.Discovery {
			return true
		}
		all := true
		for _, u := range g.Updates {
			all = all && anyPath(r.Refs, u.Ref) && (!u.Forced || r.Force) && (!u.Delete || r.Delete)
		}
		if all {
			return true
		}
	}
	return false
}

// gitDenies: a rule with refs speaks of those alone, so not of the question which
// there are.
func gitDenies(e Endpoint, g Git) bool {
	for _, r := range e.Deny {
		if !gitTaken(r, g) {
			continue
		}
		if len(r.Refs) == 0 {
			return true
		}
		for _, u := range g.Updates {
			if anyPath(r.Refs, u.Ref) {
				return true
			}
		}
	}
	return false
}

func gitTaken(r Rule, g Git) bool {
	operation := "fetch"
	if g.Push {
		operation = "push"
	}
	return r.Operation == operation && anyPath([]string{r.Repository}, g.Repository)
}

// anyPath: one of the globs over texts with slashes takes the text.
func anyPath(globs []string, text string) bool {
	for _, g := range globs {
		if ok, err := Glob(g, text, '/'); ok && err == nil {
			return true
		}
	}
	return false
}
