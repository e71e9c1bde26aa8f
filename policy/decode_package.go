package policy

import (
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/registry"
)

const packageExample = `write - allow: {package: "@acme/*"}`

// packageRules decodes the registry, rules and deny_rules of a package endpoint.
func (d *decoder) packageRules(v value, s section, e *Endpoint) {
	if _, written := s.given("registry"); !written {
		d.fault(value{v.n, v.path + ".registry"}, Missing, "", strings.Join(registryKinds(), ", "), "write registry: npm")
	}
	d.endpointRules(v, s, e, ruleReader{
		decode:  func(v value, deny bool) RequestRule { return d.packageRule(v, e, deny) },
		empty:   func(r RequestRule) bool { return r.Package == "" },
		example: packageExample,
	})
	if i := slices.IndexFunc(e.Allow, func(r RequestRule) bool { return strings.HasPrefix(r.Package, "@") }); i >= 0 && e.Registry == registry.NPM && !e.AllowEncodedSlash {
		d.warnAt(e.Allow[i].At, v.path+".rules", NeverFires, "npm asks for @scope/name as @scope%2Fname, which the endpoint does not permit", "write allow_encoded_slash: true at the endpoint")
	}
}

func registryKinds() []string {
	var names []string
	for _, k := range registry.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// registryKeys decodes the keys of a package endpoint.
func (d *decoder) registryKeys(s section, e *Endpoint) {
	ours := e.Protocol == Package
	if v, ok := d.protocolKey(s, e, "registry", ours, "package"); ok {
		want := strings.Join(registryKinds(), ", ")
		if text, ok := d.text(v, want); ok {
			for _, k := range registry.Kinds() {
				if text == string(k) {
					e.Registry = k
				}
			}
			if e.Registry == "" {
				d.fault(v, BadValue, show(text), want, didYouMean(text, registryKinds()...))
			}
		}
	}
	if v, ok := d.protocolKey(s, e, "registry_path", ours, "package"); ok {
		const want = "the path where the registry begins, like /repository/npm"
		if text, ok := d.text(v, want); ok {
			if !strings.HasPrefix(text, "/") || !cleanAbsolute(text) || strings.HasSuffix(text, "/") || strings.ContainsAny(text, "*?%#") {
				d.fault(v, BadValue, show(text), want, "")
			}
			e.RegistryPath = text
		}
	}
}

// packageRule: what is not written is not permitted: an allow rule reads and
// downloads, and publishes only if it says so.
func (d *decoder) packageRule(v value, e *Endpoint, deny bool) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	s, ok := d.ruleSection(v, e, "package", "versions", "min_age", "publish")
	if !ok {
		return r
	}
	if p, ok := s.given("package"); ok {
		if text, ok := d.text(p, "a glob over names of packages"); ok && !d.globFault(p, text, '/') {
			r.Package = text
		}
	} else {
		d.fault(value{v.n, pathKey(v.path, "package")}, Missing, "", "a glob over names of packages", `"**" is every package`)
	}
	if l, ok := s.get("versions"); ok {
		before := len(d.faults)
		d.list(l, "globs over versions", func(_ int, item value) {
			if text, ok := d.text(item, "a glob over versions"); ok && !d.globFault(item, text, versionSep) {
				r.Versions = append(r.Versions, text)
			}
		})
		if len(r.Versions) == 0 && len(d.faults) == before {
			d.fault(l, Missing, "", "at least one glob over versions", "remove versions to take every version")
		}
	}
	if a, ok := s.given("min_age"); ok {
		if r.MinAge = d.duration(a); deny {
			d.fault(a, Conflict, "min_age in a deny rule", "", "write it in the allow rule")
		}
	}
	if p, ok := s.get("publish"); ok {
		if r.Publish = d.boolean(p); deny {
			d.fault(p, Conflict, "publish in a deny rule", "", "nothing is published unless an allow rule says so")
		}
	}
	return r
}

// versionSep is what a star does not cross in a version: no byte that versions have.
const versionSep = '/'
