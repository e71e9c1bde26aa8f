package analyse

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// gitName, grpcName and registryName keep sets of paths that messages are told from apart
// from patterns of the same text. Git's are with and without .git behind the
// repository.
const (
	gitName      = "git "
	grpcName     = "grpc "
	registryName = "registry "
)

// gitServices are the ends of Git's paths.
var gitServices = [...]string{"/info/refs", "/git-upload-pack", "/git-receive-pack"}

// messagePaths adds the sets of paths that messages are told from.
func (a *analysis) messagePaths(m *messageRules, add func(name string, set func() (*automaton.Automaton, error)) error) error {
	if m.services != nil {
		if err := m.services.paths(add); err != nil {
			return err
		}
	}
	if m.git == nil {
		return nil
	}
	for _, s := range gitServices {
		if err := add(gitName+"/**"+s, func() (*automaton.Automaton, error) { return gitPaths(s) }); err != nil {
			return err
		}
	}
	valid := func(service string) *automaton.Automaton { return a.pathBy[gitName+"/**"+service] }
	for _, list := range [][]gitRule{m.git.allow, m.git.deny} {
		for _, r := range list {
			for _, s := range gitServices {
				if err := add(gitName+"/"+r.repository.text+s, func() (*automaton.Automaton, error) { return repositoryPaths(r.repository.glob, s, valid(s)) }); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func globs(list ...string) (*automaton.Automaton, error) {
	var all []glob.Glob
	for _, text := range list {
		g, err := glob.Compile(text, '/')
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return automaton.Globs(all)
}

// gitPaths are the paths of a service that name a repository (package git).
func gitPaths(service string) (*automaton.Automaton, error) {
	all, err := globs("/**" + service)
	if err != nil {
		return nil, err
	}
	none, err := globs(service, "/**/.git"+service, "/**/*.git.git"+service, "/**/*%*", "/**/*%*/**")
	if err != nil {
		return nil, err
	}
	return automaton.Minus(all, none)
}

// repositoryPaths are the valid paths of a service whose repository a glob
// matches: with or without .git behind it.
func repositoryPaths(g glob.Glob, service string, valid *automaton.Automaton) (*automaton.Automaton, error) {
	bare, err := automaton.Framed("/", g, service)
	if err != nil {
		return nil, err
	}
	suffixed, err := globs("/**/*.git" + service)
	if err != nil {
		return nil, err
	}
	if bare, err = automaton.Minus(bare, suffixed); err != nil {
		return nil, err
	}
	full, err := automaton.Framed("/", g, ".git"+service)
	if err != nil {
		return nil, err
	}
	all, err := automaton.Or(bare, full)
	if err != nil {
		return nil, err
	}
	return automaton.And(all, valid)
}

// registryAt is a registry, as endpoints say where it is.
type registryAt struct {
	kind   registry.Kind
	prefix string
	*registryPaths
}

// packageRulesOf are the registries of a cell, and all that rules about packages name.
type packageRulesOf struct {
	registries      []registryAt
	names, versions []*pattern
	ages            []time.Duration // from none on, rising
}

// packageRules: names, versions and ages count for all registries, because endpoints of
// one kind that begin elsewhere speak of the same packages.
func (c *cell) packageRules() (*packageRulesOf, error) {
	all := &packageRulesOf{}
	var err error
	add := func(kind registry.Kind, prefix string) {
		if err != nil || slices.ContainsFunc(all.registries, func(r registryAt) bool { return r.kind == kind && r.prefix == prefix }) {
			return
		}
		one := registryAt{kind: kind, prefix: prefix}
		one.registryPaths, err = pathsOf(kind)
		all.registries = append(all.registries, one)
	}
	var instead []registry.Kind
	c.speakers(func(_ *endpoint, m *messageRules) {
		p := m.packages
		if p == nil {
			return
		}
		if p.kind != "" {
			add(p.kind, p.prefix)
		}
		instead = append(instead, p.instead...)
		for _, list := range [][]packageRule{p.allow, p.deny} {
			for _, r := range list {
				all.names, all.versions = append(all.names, r.name), append(all.versions, r.versions...)
				if r.minAge > 0 {
					all.ages = append(all.ages, r.minAge)
				}
			}
		}
	})
	if len(all.registries) == 0 {
		for _, kind := range instead {
			add(kind, "")
		}
	}
	slices.Sort(all.ages)
	all.ages = append([]time.Duration{0}, slices.Compact(all.ages)...)
	return all, err
}

// formName is that of a form's set of paths.
func (r *registryAt) formName(form int) string {
	below := ""
	if r.prefix != "" {
		below = " below " + r.prefix
	}
	return registryName + "paths" + below + " of " + string(r.kind) + " for " + r.forms[form].title
}

// paths adds the sets of paths of every form. All paths of a class are then of one
// form, unless a part of them has to stand twice.
func (all *packageRulesOf) paths(add func(name string, set func() (*automaton.Automaton, error)) error) error {
	for i := range all.registries {
		r := &all.registries[i]
		for k := range r.forms {
			if err := add(r.formName(k), func() (*automaton.Automaton, error) {
				var s shaper
				a := s.below(r.prefix, r.forms[k].paths)
				return a, s.err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// packageKinds lists what the registries of a cell can be asked for, each with a path.
func (a *analysis) packageKinds(k *kinds) error {
	all := k.r.packages
	k.ages = len(all.ages) + 1 // and those that are not known
	for i := range all.registries {
		r := &all.registries[i]
		for n := range r.forms {
			if err := a.formKinds(k, r, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// formKinds lists what can be asked for in one form: every combination of a class of
// paths, a class of names and a class of versions that some path has.
func (a *analysis) formKinds(k *kinds, r *registryAt, form int) error {
	f := &r.forms[form]
	if f.ways == nil {
		for p, class := range k.r.classes.List {
			if class.In(k.r.indexOf[r.formName(form)]) {
				if err := a.addPackage(k, r, f, p, message{path: class.Witness}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	var names, versions *texts
	var err error
	if names, err = a.textsOf(f.names, k.r.packages.names, "every package"); err != nil {
		return fmt.Errorf("names of packages: %w", err)
	}
	if f.versions != nil {
		if versions, err = a.textsOf(f.versions, k.r.packages.versions, "every version"); err != nil {
			return fmt.Errorf("versions of packages: %w", err)
		}
	}
	for i := range f.ways {
		var of *automaton.Classes
		if versions != nil {
			of = versions.Classes
		}
		chain, name, version, err := r.chain(&f.ways[i], r.prefix, names.Classes, of)
		if err != nil {
			return err
		}
		list, err := k.r.classes.Chained(chain)
		if err != nil {
			return err
		}
		for _, one := range list {
			m := message{path: one.Text, parts: []part{{names, "", one.Parts[name]}}}
			if version >= 0 {
				m.parts = append(m.parts, part{versions, "version", one.Parts[version]})
			}
			if err := a.addPackage(k, r, f, one.Class, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// twoRegistries is what is not told where two sides read the same paths as those of
// different registries: the packages of both are listed, and not which are the same.
func (c *cell) twoRegistries(left, right *view) (Unknown, bool) {
	all := c.requests.packages
	if all == nil || len(all.registries) < 2 || !left.base.inspect || !right.base.inspect {
		return Unknown{}, false
	}
	named := func(ep *endpoint, class int, method string) bool {
		for i := range all.registries {
			r := &all.registries[i]
			if r.kind != ep.messages.packages.kind || r.prefix != ep.messages.packages.prefix {
				continue
			}
			for n := range r.forms {
				if f := &r.forms[n]; f.ways != nil && slices.Contains(f.methods, method) && c.requests.classes.List[class].In(c.requests.indexOf[r.formName(n)]) {
					return true
				}
			}
		}
		return false
	}
	for p := range c.requests.classes.List {
		left.enter(p)
		right.enter(p)
		x, y := left.at.governs, right.at.governs
		if x == nil || y == nil || x.protocol != policy.Package || y.protocol != policy.Package {
			continue
		}
		if a, b := x.messages.packages, y.messages.packages; a.kind == b.kind && a.prefix == b.prefix {
			continue
		}
		for _, m := range c.requests.methods {
			if method := m.example(c.requests.methods); named(x, p, method) && named(y, p, method) {
				what := fmt.Sprintf("which packages of a registry of kind %s are which of one of kind %s, at the same paths", x.messages.packages.kind, y.messages.packages.kind)
				return Unknown{At: y.at, What: what, Place: placeOf(y.spec), requests: true}, true
			}
		}
	}
	return Unknown{}, false
}

// longestName is the bound of names and versions (package registry).
const longestName = 255

// addPackage adds a question that a path of a class asks, if somebody reads packages
// there. Its reader has to agree.
func (a *analysis) addPackage(k *kinds, r *registryAt, f *registryForm, class int, m message) error {
	read := false
	k.c.speakers(func(ep *endpoint, m *messageRules) {
		read = read || m.packages != nil && k.r.selects(ep, class)
	})
	if !read || len(m.path) > target.MaxPath {
		return nil
	}
	asks, err := registry.Parse(r.kind, r.prefix, f.methods[0], m.path)
	agree := err == nil && asks.Action == f.action
	for i, part := range m.parts {
		if agree {
			of, ok := part.of.Of([]string{asks.Name, asks.Version}[i])
			agree = ok && of == part.class
		}
	}
	switch {
	case agree:
	case slices.ContainsFunc(strings.Split(m.path, "/"), func(s string) bool { return len(s) > longestName }):
		return nil // a name that is too long for the protocol is none
	default:
		return fmt.Errorf("analyse policy: internal error: %s is no path of %s of a registry of kind %s", m.path, f.title, r.kind)
	}
	m.form, m.kind = packaged, f.action.String()
	for _, method := range f.methods {
		k.addAges(f, [2]int{class, k.r.method(method)}, m)
	}
	return a.spend(len(f.methods))
}

// addAges adds a question; of a download, once for each age that rules tell apart.
func (k *kinds) addAges(f *registryForm, at [2]int, m message) {
	ages := k.r.packages.ages
	if f.action != registry.Download || len(ages) == 1 {
		k.packages[at] = append(k.packages[at], &m)
		return
	}
	for i, age := range ages {
		older := m
		older.age, older.ageKnown, older.name = age, true, ageText(ages, i)
		k.packages[at] = append(k.packages[at], &older)
	}
	m.name = "of unknown age"
	k.packages[at] = append(k.packages[at], &m)
}

func ageText(ages []time.Duration, i int) string {
	switch {
	case i == 0:
		return "younger than " + policy.DurationText(ages[1])
	case i == len(ages)-1:
		return "at least " + policy.DurationText(ages[i]) + " old"
	}
	return "from " + policy.DurationText(ages[i]) + " to " + policy.DurationText(ages[i+1]) + " old"
}

// noPackage is a path of a class that no registry there has; "" if all of its paths
// ask for something. Paths of which a part stands twice are looked at one package
// after the other: of infinitely many, some do not repeat it.
func (k *kinds) noPackage(class int, method string) (string, error) {
	c := k.r.classes.List[class]
	asks := func(path string) (r *registryAt, one *registry.Request) {
		for i := range k.r.packages.registries {
			r := &k.r.packages.registries[i]
			if one, err := registry.Parse(r.kind, r.prefix, method, path); err == nil {
				return r, one
			}
		}
		return nil, nil
	}
	path := c.Witness
	if r, _ := asks(path); r == nil {
		return path, nil
	}
	for i := range k.r.packages.registries {
		r := &k.r.packages.registries[i]
		for n := range r.forms {
			if f := &r.forms[n]; f.after == nil && slices.Contains(f.methods, method) && c.In(k.r.indexOf[r.formName(n)]) {
				return "", nil
			}
		}
	}
	const most = 32 // packages of which all files are in one class
	left := k.r.classes.Set(class)
	for range most {
		r, one := asks(path)
		folder, file := path[:strings.LastIndexByte(path, '/')+1], path[strings.LastIndexByte(path, '/')+1:]
		var s shaper
		like := s.text(file)
		for n := range r.forms {
			if f := &r.forms[n]; f.after != nil && f.action == one.Action {
				like = s.path(file[:f.length(one.Name)], f.after) // of the same package in the same folder
			}
		}
		left = s.of(automaton.Minus(left, s.path(folder, like)))
		if s.err != nil {
			return "", s.err
		}
		var some bool
		if path, some = left.Witness(); !some || len(path) > target.MaxPath {
			return "", nil
		}
		if r, _ := asks(path); r == nil {
			return path, nil
		}
	}
	return "", &TooManyError{"packages whose files alone are in one set of paths", most}
}
