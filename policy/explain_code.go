package policy

import (
	"strings"
	"time"

	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/registry"
)

func gitOperation(push bool) string {
	if push {
		return "push"
	}
	return "fetch"
}

// misses says what of a Git rule does not hold for a request.
func (rule *gitRule) misses(g *git.Request) (score int, misses []Miss) {
	if rule.repository.Match(g.Repository) {
		score += 4
	} else {
		misses = append(misses, Miss{"repository", g.Repository, rule.spec.Repository})
	}
	if rule.push != g.Push {
		return score, append(misses, Miss{"operation", gitOperation(g.Push), gitOperation(rule.push)})
	}
	score += 2
	for i := range g.Updates {
		u := &g.Updates[i]
		switch {
		case !rule.takesRef(u.Ref):
			misses = append(misses, Miss{"ref", u.Ref, strings.Join(rule.spec.Refs, ", ")})
		case u.Forced && !rule.force:
			misses = append(misses, Miss{"push", "one that may leave commits of " + u.Ref + " behind", "one that keeps them"})
		case u.Delete && !rule.deletes:
			misses = append(misses, Miss{"push", "one that removes " + u.Ref, "one that removes nothing"})
		}
	}
	return score, misses
}

// gitRuleText is the rule that would allow a request: each ref by its name.
func gitRuleText(g *git.Request) string {
	text := "operation: " + gitOperation(g.Push) + ", repository: " + scalar(literalGlob(g.Repository, false))
	if !g.Push || len(g.Updates) == 0 {
		return text
	}
	refs := make([]string, len(g.Updates))
	force, remove := false, false
	for i, u := range g.Updates {
		refs[i] = scalar(literalGlob(u.Ref, false))
		force, remove = force || u.Forced, remove || u.Delete
	}
	text += ", refs: [" + strings.Join(refs, ", ") + "]"
	if force {
		text += ", force: true"
	}
	if remove {
		text += ", delete: true"
	}
	return text
}

// misses says what of a package rule does not hold for a request at a time.
func (rule *packageRule) misses(p *registry.Request, now time.Time) (score int, misses []Miss) {
	if rule.name.Match(p.Name) {
		score += 4
	} else {
		misses = append(misses, Miss{"package", firstOf(p.Name, "none"), rule.spec.Package})
	}
	if p.Version == "" || rule.takesVersion(p.Version) {
		score += 2
	} else {
		misses = append(misses, Miss{"version", p.Version, strings.Join(rule.spec.Versions, ", ")})
	}
	switch {
	case p.Action == registry.Publish && !rule.publish:
		misses = append(misses, Miss{"action", p.Action.String(), "reading and downloading"})
	case len(misses) == 0 && !rule.allows(p, now):
		misses = append(misses, Miss{"age", "not known to be enough", "at least " + rule.minAge.String()})
	default:
		score++
	}
	return score, misses
}

func packageRuleText(p *registry.Request) string {
	if p.Name == "" {
		return ""
	}
	text := "package: " + scalar(literalGlob(p.Name, false))
	if p.Version != "" {
		text += ", versions: [" + scalar(literalGlob(p.Version, false)) + "]"
	}
	if p.Action == registry.Publish {
		text += ", publish: true"
	}
	return text
}
