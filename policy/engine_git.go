package policy

import (
	"fmt"
	"strings"

	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/glob"
)

// gitRules are the rules of a git endpoint.
type gitRules struct{ allow, deny []gitRule }

type gitRule struct {
	cited
	push       bool
	repository glob.Glob
	refs       []glob.Glob // empty: every ref
	force      bool
	deletes    bool
}

const (
	reasonNoGit    = "the request is none of Git's smart HTTP protocol, or could not be read"
	reasonNoRefs   = "which refs the push changes is not known"
	reasonGit      = "no rule of the network policies allows this Git operation"
	reasonGitAudit = "no rule allows this Git operation; enforcement is audit, so it is forwarded"
)

func (c *compiler) git(ep *endpoint) (g gitRules, err error) {
	if g.allow, err = c.gitRules(ep.spec.Allow, ep, "allows"); err == nil {
		g.deny, err = c.gitRules(ep.spec.Deny, ep, "denies")
	}
	return g, err
}

func (c *compiler) gitRules(specs []RequestRule, ep *endpoint, verb string) ([]gitRule, error) {
	var list []gitRule
	for _, s := range specs {
		if s.Operation != "fetch" && s.Operation != "push" {
			return nil, fmt.Errorf("operation %s is not known", show(s.Operation))
		}
		r := gitRule{cited: cite(s, ep, verb, s.Operation+" of "+show(s.Repository)), push: s.Operation == "push", force: s.Force, deletes: s.Delete}
		var err error
		if r.repository, err = glob.Compile(s.Repository, '/'); err != nil {
			return nil, err
		}
		for _, p := range s.Refs {
			g, err := glob.Compile(p, '/')
			if err != nil {
				return nil, err
			}
			r.refs = append(r.refs, g)
		}
		if r.push && verb == "allows" && len(r.refs) == 0 {
			return nil, fmt.Errorf("a push without refs")
		}
		list = append(list, r)
	}
	return list, nil
}

func (rule *gitRule) takes(g *git.Request) bool {
	return rule.push == g.Push && rule.repository.Match(g.Repository)
}

func (rule *gitRule) takesRef(ref string) bool {
	if len(rule.refs) == 0 {
		return true
	}
	for _, g := range rule.refs {
		if g.Match(ref) {
			return true
		}
	}
	return false
}

// permits: the update is one that the rule says may be made.
func (rule *gitRule) permits(u *git.Update) bool {
	return rule.takesRef(u.Ref) && (!u.Forced || rule.force) && (!u.Delete || rule.deletes)
}

// judgeGit: each update of a push has to be allowed by a rule of its own. Asking
// for the refs comes before either operation and is allowed where the operation
// may be.
func (e *Engine) judgeGit(selected *endpoint, r *Request, j *judgement) {
	j.none, j.noneAudit = reasonGit, reasonGitAudit
	g := r.Git
	switch {
	case g == nil || g.Repository == "" || !g.Push && len(g.Updates) > 0 ||
		!strings.EqualFold(r.Method, "GET") && !strings.EqualFold(r.Method, "POST"):
		j.hard = reasonNoGit
		return
	case g.Push && !g.Discovery && len(g.Updates) == 0:
		j.hard = reasonNoRefs
		return
	}
	e.same(selected, r, func(ep *endpoint) {
		for i := range ep.git.deny {
			if rule := &ep.git.deny[i]; rule.takes(g) && rule.denies(g) {
				j.denies(&rule.cited, ep)
				break
			}
		}
	})
	if !g.Push || g.Discovery {
		e.gitPart(selected, r, j, nil)
		return
	}
	for i := range g.Updates {
		if !e.gitPart(selected, r, j, &g.Updates[i]) {
			j.allow = nil
			return
		}
	}
}

// gitPart reports whether a rule allows one update, or with nil the whole
// request.
func (e *Engine) gitPart(selected *endpoint, r *Request, j *judgement, u *git.Update) bool {
	e.same(selected, r, func(ep *endpoint) {
		if !ep.grants(r) {
			return
		}
		for i := range ep.git.allow {
			if rule := &ep.git.allow[i]; rule.takes(r.Git) && (u == nil || rule.permits(u)) {
				j.offers(&rule.cited, ep, r)
				return
			}
		}
	})
	return j.settle()
}

// denies: a deny rule about refs fires at the first that it takes; before they
// are known it does not.
func (rule *gitRule) denies(g *git.Request) bool {
	if len(rule.refs) == 0 {
		return true
	}
	for i := range g.Updates {
		if rule.takesRef(g.Updates[i].Ref) {
			return true
		}
	}
	return false
}
