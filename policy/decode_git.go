package policy

import (
	"slices"
	"strings"
)

// gitOperations are what a rule of protocol git is about.
var gitOperations = []string{"fetch", "push"}

const gitExample = `write - allow: {operation: fetch, repository: "team/*"}`

// gitRules decodes rules and deny_rules of a git endpoint.
func (d *decoder) gitRules(v value, s section, e *Endpoint) {
	d.endpointRules(v, s, e, ruleReader{
		decode:  func(v value, deny bool) RequestRule { return d.gitRule(v, e, deny) },
		empty:   func(r RequestRule) bool { return r.Operation == "" || r.Repository == "" },
		example: gitExample,
	})
}

// gitRule: what is not written is not permitted: a push names the refs that it
// may change, and neither forces nor deletes unless it says so.
func (d *decoder) gitRule(v value, e *Endpoint, deny bool) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	s, ok := d.ruleSection(v, e, "operation", "repository", "refs", "force", "delete")
	if !ok {
		return r
	}
	const want = "fetch or push"
	o, hasOperation := s.given("operation")
	if !hasOperation {
		d.fault(value{v.n, pathKey(v.path, "operation")}, Missing, "", want, "write one rule for each")
		return r
	}
	switch text, ok := d.text(o, want); {
	case ok && !slices.Contains(gitOperations, text):
		hint := didYouMean(text, gitOperations...)
		if text == "pull" || text == "clone" {
			hint = "clones and pulls are fetch"
		}
		d.fault(o, BadValue, show(text), want, hint)
		return r
	case ok:
		r.Operation = text
	}
	if p, ok := s.given("repository"); ok {
		if text, ok := d.text(p, "a glob over repositories, like team/app"); ok {
			switch {
			case strings.HasPrefix(text, "/") || strings.HasSuffix(text, ".git"):
				d.fault(p, BadValue, show(text), "a repository without the slash before it and .git behind it, like team/app", "")
			case !d.globFault(p, text, '/'):
				r.Repository = text
			}
		}
	} else {
		d.fault(value{v.n, pathKey(v.path, "repository")}, Missing, "", "a glob over repositories, like team/app", `"**" is every repository`)
	}
	refs, hasRefs := s.get("refs")
	refsAt := len(d.faults)
	if hasRefs {
		d.list(refs, "globs over refs", func(_ int, item value) {
			text, ok := d.text(item, "a glob over refs")
			if !ok || d.globFault(item, text, '/') {
				return
			}
			if !strings.HasPrefix(text, "refs/") {
				text = "refs/heads/" + text // a branch
			}
			r.Refs = append(r.Refs, text)
		})
	}
	for _, key := range []string{"force", "delete"} {
		if f, ok := s.get(key); ok {
			on := d.boolean(f)
			if key == "force" {
				r.Force = on
			} else {
				r.Delete = on
			}
			if deny {
				d.fault(f, Conflict, key+" in a deny rule", "", "a deny rule takes every push to its refs, forced or not")
			}
		}
	}
	switch {
	case r.Operation != "push" && (hasRefs || r.Force || r.Delete):
		d.fault(v, Conflict, "refs, force or delete in a rule about "+orNone(r.Operation), "", "they belong to operation: push; a fetch reads the whole repository")
	case r.Operation == "push" && !deny && len(r.Refs) == 0 && len(d.faults) == refsAt:
		d.fault(value{v.n, pathKey(v.path, "refs")}, Missing, "", "the refs that may be pushed to", `write refs: ["agent/*"], or refs: ["refs/**"] for branches and tags of every name`)
	}
	return r
}
