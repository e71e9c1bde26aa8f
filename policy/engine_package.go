package policy

import (
	"time"

	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/registry"
)

// packageRules are the rules of a package endpoint.
type packageRules struct {
	allow, deny []packageRule
	// index is what is cited for a request about no single package: it is allowed
	// where any package may be read, and no rule about a package is its reason.
	index cited
}

type packageRule struct {
	cited
	name     glob.Glob
	versions []glob.Glob // empty: every version
	minAge   time.Duration
	publish  bool
}

const (
	reasonNoPackage    = "the request is none of the registry's protocol, or could not be read"
	reasonPackage      = "no rule of the network policies allows this package, version or action"
	reasonPackageAudit = "no rule allows this package, version or action; enforcement is audit, so it is forwarded"
)

func (c *compiler) packages(ep *endpoint) (p packageRules, err error) {
	if p.allow, err = c.packageRules(ep.spec.Allow, ep, "allows"); err == nil {
		p.deny, err = c.packageRules(ep.spec.Deny, ep, "denies")
	}
	p.index = cite(RequestRule{At: ep.spec.At}, ep, "allows", "what is about no single package")
	return p, err
}

func (c *compiler) packageRules(specs []RequestRule, ep *endpoint, verb string) ([]packageRule, error) {
	var list []packageRule
	for _, s := range specs {
		r := packageRule{cited: cite(s, ep, verb, "the package "+show(s.Package)), minAge: s.MinAge, publish: s.Publish}
		var err error
		if r.name, err = glob.Compile(s.Package, '/'); err != nil {
			return nil, err
		}
		for _, v := range s.Versions {
			g, err := glob.Compile(v, versionSep)
			if err != nil {
				return nil, err
			}
			r.versions = append(r.versions, g)
		}
		list = append(list, r)
	}
	return list, nil
}

func (rule *packageRule) takesVersion(version string) bool {
	if len(rule.versions) == 0 {
		return true
	}
	if version == "" {
		return false
	}
	for _, g := range rule.versions {
		if g.Match(version) {
			return true
		}
	}
	return false
}

// allows: what a rule permits of its packages. now is the time of the call; where
// it or the time of publication is not known, nothing is old enough.
func (rule *packageRule) allows(p *registry.Request, now time.Time) bool {
	switch p.Action {
	case registry.Metadata:
		return rule.name.Match(p.Name) && (p.Version == "" || rule.takesVersion(p.Version))
	case registry.Download:
		return rule.name.Match(p.Name) && rule.takesVersion(p.Version) &&
			(rule.minAge <= 0 || !p.Published.IsZero() && !now.IsZero() && now.Sub(p.Published) >= rule.minAge)
	case registry.Publish:
		return rule.publish && rule.name.Match(p.Name) && rule.takesVersion(p.Version)
	case registry.Index, registry.Unknown: // about no package
	}
	return false
}

// denies: metadata of all versions is denied by a rule about every version alone.
// Who publishes often names no version, and to some registries no package: it may
// be one that is denied.
func (rule *packageRule) denies(p *registry.Request) bool {
	switch {
	case p.Action == registry.Publish && (p.Name == "" || p.Version == "" && rule.name.Match(p.Name)):
		return true
	case p.Action == registry.Index || !rule.name.Match(p.Name):
		return false
	case p.Version == "":
		return len(rule.versions) == 0
	}
	return rule.takesVersion(p.Version)
}

func (e *Engine) judgePackage(selected *endpoint, r *Request, j *judgement) {
	j.none, j.noneAudit = reasonPackage, reasonPackageAudit
	p := r.Package
	if p == nil || p.Action == registry.Unknown || p.Kind != selected.spec.Registry {
		j.hard = reasonNoPackage
		return
	}
	e.same(selected, r, func(ep *endpoint) {
		if ep.spec.Registry != p.Kind {
			return
		}
		for i := range ep.packages.deny {
			if rule := &ep.packages.deny[i]; rule.denies(p) {
				j.denies(&rule.cited, ep)
				break
			}
		}
		if p.Action == registry.Index {
			if len(ep.packages.allow) > 0 && ep.grants(r) {
				j.offers(&ep.packages.index, ep, r)
			}
			return
		}
		for i := range ep.packages.allow {
			if rule := &ep.packages.allow[i]; ep.grants(r) && rule.allows(p, r.Now) {
				j.offers(&rule.cited, ep, r)
				break
			}
		}
	})
	j.settle()
}
