package analyse

import (
	"cmp"
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
	registries []registryAt
	named      map[registry.Kind]*named
	ages       []time.Duration // from none on, rising
}

// named are the names and versions that rules about a kind of registry speak of.
type named struct{ names, versions []*pattern }

// packageRules: names and versions count for all registries of a kind, because endpoints
// that begin elsewhere speak of the same packages, and those of assertions for all kinds.
func (c *cell) packageRules() (*packageRulesOf, error) {
	all := &packageRulesOf{named: map[registry.Kind]*named{}}
	for _, kind := range registry.Kinds() {
		all.named[kind] = &named{}
	}
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
				for kind, of := range all.named {
					if p.kind == kind || p.kind == "" {
						of.names, of.versions = append(of.names, r.name), append(of.versions, r.versions...)
					}
				}
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

// says is what a registry is asked for, in reports: with its kind and place where there
// are several, so that one question is in no two of them the same in words.
func (all *packageRulesOf) says(kind registry.Kind, prefix string, action registry.Action) string {
	if len(all.registries) < 2 {
		return action.String()
	}
	text := string(kind) + " " + action.String()
	if prefix != "" {
		text += " below " + prefix
	}
	return text
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
	if err := a.sharedKinds(k); err != nil {
		return err
	}
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

// formTexts are the classes of the names and versions that can be asked for in a form;
// nil: it names none.
type formTexts struct{ names, versions *texts }

// classes of names and versions, for a chain.
func (t *formTexts) classes() (names, versions *automaton.Classes) {
	if t.names != nil {
		names = t.names.Classes
	}
	if t.versions != nil {
		versions = t.versions.Classes
	}
	return names, versions
}

func (a *analysis) textsOfForm(k *kinds, kind registry.Kind, f *registryForm) (*formTexts, error) {
	if t := k.formTexts[f]; t != nil {
		return t, nil
	}
	t := &formTexts{}
	var err error
	if f.names != nil {
		if t.names, err = a.textsOf(f.names, k.r.packages.named[kind].names, "every package"); err != nil {
			return nil, fmt.Errorf("names of packages: %w", err)
		}
	}
	if f.versions != nil {
		if t.versions, err = a.textsOf(f.versions, k.r.packages.named[kind].versions, "every version"); err != nil {
			return nil, fmt.Errorf("versions of packages: %w", err)
		}
	}
	k.formTexts[f] = t
	return t, nil
}

// formKinds lists what can be asked for in one form, where no other registry has the
// paths: every combination of a class of paths, a class of names and a class of versions
// that some path has.
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
	t, err := a.textsOfForm(k, r.kind, f)
	if err != nil {
		return err
	}
	names, versions := t.classes()
	for i := range f.ways {
		chain, name, version, err := r.chain(&f.ways[i], r.prefix, names, versions)
		if err != nil {
			return err
		}
		list, work, err := k.r.classes.Chained(chain)
		if err = cmp.Or(err, a.spend(work/stepsOfAutomata)); err != nil {
			return err
		}
		for _, one := range list {
			m := message{path: one.Text, parts: []part{{t.names, "", one.Parts[name]}}}
			if version >= 0 {
				m.parts = append(m.parts, part{t.versions, "version", one.Parts[version]})
			}
			if err := a.addPackage(k, r, f, one.Class, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// longestName is the bound of names and versions (package registry).
const longestName = 255

// addPackage adds a question that a path of a class asks, if somebody reads packages
// there. Its reader has to agree.
func (a *analysis) addPackage(k *kinds, r *registryAt, f *registryForm, class int, m message) error {
	if k.shared[sharedPaths{class, f.methods[0]}] || !k.readAt(class) || len(m.path) > target.MaxPath {
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
	case tooLong(m.path):
		return nil
	default:
		return fmt.Errorf("analyse policy: internal error: %s is no path of %s of a registry of kind %s", m.path, f.title, r.kind)
	}
	m.form, m.kind = packaged, k.r.packages.says(r.kind, r.prefix, f.action)
	for _, method := range f.methods {
		k.addAges(f.action == registry.Download, [2]int{class, k.r.method(method)}, m)
	}
	return a.spend(len(f.methods))
}

// readAt reports whether somebody reads packages at the paths of a class.
func (k *kinds) readAt(class int) bool {
	read := false
	k.c.speakers(func(ep *endpoint, m *messageRules) {
		read = read || m.packages != nil && k.r.selects(ep, class)
	})
	return read
}

// tooLong reports whether a path has a part that is too long for a name: it asks for
// nothing.
func tooLong(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return len(s) > longestName })
}

// addAges adds a question; of a download, once for each age that rules tell apart.
func (k *kinds) addAges(download bool, at [2]int, m message) {
	ages := k.r.packages.ages
	if !download || len(ages) == 1 {
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

// formAt is a form of a registry.
type formAt struct {
	*registryAt
	*registryForm
}

// formsAt are the forms in which the paths of a class may ask, one of a registry at most.
func (k *kinds) formsAt(class int, method string) []formAt {
	var list []formAt
	for i := range k.r.packages.registries {
		r := &k.r.packages.registries[i]
		for n := range r.forms {
			if f := &r.forms[n]; slices.Contains(f.methods, method) && k.r.classes.List[class].In(k.r.indexOf[r.formName(n)]) {
				list = append(list, formAt{r, f})
			}
		}
	}
	return list
}

// parse reads a path; nil: it asks for nothing in this form.
func (f *formAt) parse(method, path string) *registry.Request {
	one, err := registry.Parse(f.kind, f.prefix, method, path)
	if err != nil || one.Action != f.action {
		return nil
	}
	return one
}

// noPackage is a path of a class that no registry there has; "" if all of its paths
// ask for something.
func (k *kinds) noPackage(class int, method string) (string, error) {
	forms := k.formsAt(class, method)
	if slices.ContainsFunc(forms, func(f formAt) bool { return f.after == nil }) {
		return "", nil
	}
	return without(k.r.classes, class, forms, method)
}

// without is a path of a class that asks for nothing in some forms, in all of which a
// part has to stand twice; "" if there is none. Packages are looked at one after the
// other: of infinitely many, some do not repeat it.
func without(c *automaton.Classes, class int, forms []formAt, method string) (string, error) {
	asks := func(path string) (*formAt, *registry.Request) {
		for i := range forms {
			if one := forms[i].parse(method, path); one != nil {
				return &forms[i], one
			}
		}
		return nil, nil
	}
	path := c.List[class].Witness
	f, one := asks(path)
	if f == nil {
		return path, nil
	}
	const most = 32 // packages of which all files are in one class
	left := c.Set(class)
	for range most {
		folder, file := path[:strings.LastIndexByte(path, '/')+1], path[strings.LastIndexByte(path, '/')+1:]
		var s shaper
		like := s.path(file[:f.length(one.Name)], f.after) // of the same package in the same folder
		left = s.of(automaton.Minus(left, s.path(folder, like)))
		if s.err != nil {
			return "", s.err
		}
		var some bool
		if path, some = left.Witness(); !some || len(path) > target.MaxPath {
			return "", nil
		}
		if f, one = asks(path); f == nil {
			return path, nil
		}
	}
	return "", &TooManyError{"packages whose files alone are in one set of paths", most}
}
