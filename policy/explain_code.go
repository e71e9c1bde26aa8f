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
	case len(misses) == 0 && p.Action != registry.Index && !rule.allows(p, now):
		misses = append(misses, Miss{"age", "not known to be enough", "at least " + DurationText(rule.minAge)})
	default:
		score++
	}
	return score, misses
}

// suggestedAge is the least age of packages in a suggestion where no rule of the
// endpoint has one: most malicious versions are found and removed within days.
const suggestedAge = 7 * 24 * time.Hour

// packageRuleText is the rule that would allow what was asked, never with less
// age than any rule beside it demands.
func packageRuleText(p *registry.Request, least time.Duration) string {
	if p.Name == "" {
		return ""
	}
	if least == 0 {
		least = suggestedAge
	}
	text := "package: " + scalar(literalGlob(p.Name, false))
	if p.Version != "" {
		text += ", versions: [" + scalar(literalGlob(p.Version, false)) + "]"
	}
	text += ", min_age: " + DurationText(least)
	if p.Action == registry.Publish {
		text += ", publish: true"
	}
	return text
}

// neighbours says what the allow rules that judge a package demand: the greatest
// least age of them, and the rule that takes the package but for its age.
func (e *Engine) neighbours(selected *endpoint, r *Request) (least time.Duration, young *packageRule) {
	e.same(selected, r, func(ep *endpoint) {
		for i := range ep.packages.allow {
			rule := &ep.packages.allow[i]
			least = max(least, rule.minAge)
			ageless := *rule
			ageless.minAge = 0
			if young == nil && !ep.spec.Withdrawn && ageless.allows(r.Package, r.Now) && !rule.allows(r.Package, r.Now) {
				young = rule
			}
		}
	})
	return least, young
}
