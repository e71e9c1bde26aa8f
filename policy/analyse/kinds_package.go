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
	if p := m.packages; p != nil {
		forms, err := registryForms(p.kind)
		if err != nil {
			return err
		}
		for i := range forms {
			if err := add(forms[i].name(p.kind, p.prefix, i), func() (*automaton.Automaton, error) { return forms[i].shape(p.prefix) }); err != nil {
				return err
			}
		}
	}
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

// registryKinds is a registry, as endpoints say where it is.
type registryKinds struct {
	kind   registry.Kind
	prefix string
	ages   []time.Duration // that rules name, rising
}

// name is that of the set of a form's paths.
func (f *registryForm) name(kind registry.Kind, prefix string, i int) string {
	text := strings.Join(dedupeTexts(append(slices.Clone(f.plain), f.slashed...)), ",")
	if strings.Contains(text, ",") {
		text = "{" + text + "}"
	}
	return fmt.Sprint(registryName, kind, " ", i, " ", prefix, text)
}

// packageKinds lists what the registries of a cell can be asked for, each by a
// path of its own.
func (a *analysis) packageKinds(k *kinds) error {
	var names, versions []*pattern
	k.c.speakers(func(_ *endpoint, m *messageRules) {
		p := m.packages
		if p == nil {
			return
		}
		i := slices.IndexFunc(k.registries, func(r registryKinds) bool { return r.kind == p.kind && r.prefix == p.prefix })
		if i < 0 && p.kind != "" {
			i = len(k.registries)
			k.registries = append(k.registries, registryKinds{kind: p.kind, prefix: p.prefix})
		}
		for _, list := range [][]packageRule{p.allow, p.deny} {
			for _, one := range list {
				names, versions = append(names, one.name), append(versions, one.versions...)
				if i >= 0 && one.minAge > 0 && !slices.Contains(k.registries[i].ages, one.minAge) {
					k.registries[i].ages = append(k.registries[i].ages, one.minAge)
				}
			}
		}
	})
	// Ages count for all: endpoints of one kind that begin elsewhere speak of the same packages.
	var ages []time.Duration
	for _, r := range k.registries {
		ages = append(ages, r.ages...)
	}
	slices.Sort(ages)
	ages = append([]time.Duration{0}, slices.Compact(ages)...)
	k.ages = len(ages) + 1 // and those that are not known
	for i := range k.registries {
		k.registries[i].ages = ages
		if err := a.registryKinds(k, &k.registries[i], names, versions); err != nil {
			return err
		}
	}
	return nil
}

// registryKinds lists what one registry can be asked for.
func (a *analysis) registryKinds(k *kinds, one *registryKinds, names, versions []*pattern) error {
	forms, err := registryForms(one.kind)
	if err != nil {
		return err
	}
	open := false
	for i := range forms {
		f := &forms[i]
		of, in := noTexts, noTexts
		if f.names != nil {
			if of, err = a.textsOf(f.names, names, "every package"); err != nil {
				return fmt.Errorf("names of packages: %w", err)
			}
		}
		if f.versions != nil {
			if in, err = a.textsOf(f.versions, versions, "every version"); err != nil {
				return fmt.Errorf("versions of packages: %w", err)
			}
		}
		index := k.r.indexOf[f.name(one.kind, one.prefix, i)]
		for p, class := range k.r.classes.List {
			if !class.In(index) || len(class.Witness) > target.MaxPath {
				continue
			}
			for n, name := range of.List {
				for v, version := range in.List {
					m := message{form: packaged, kind: f.action.String()}
					if f.names != nil {
						m.parts = append(m.parts, part{of, "", n})
					}
					if f.versions != nil {
						m.parts = append(m.parts, part{in, "version", v})
					}
					open = !k.addPackage(one, f, p, m, name.Witness, version.Witness) || open
					if err := a.spend(1); err != nil {
						return err
					}
				}
			}
		}
	}
	if open {
		k.c.speakers(func(ep *endpoint, m *messageRules) {
			if m.packages != nil && m.packages.kind == one.kind && m.packages.prefix == one.prefix && ep.spec != nil {
				k.unknown = append(k.unknown, Unknown{At: ep.at, What: "which packages lie below the paths that rules tell apart inside of the registry", Place: placeOf(ep.spec), requests: true})
			}
		})
	}
	return nil
}

// noTexts stands for what is not named: one class, of nothing.
var noTexts = &texts{Classes: &automaton.Classes{List: make([]automaton.Class, 1)}}

// addPackage puts a question to a class of paths, and reports whether a path of
// the class was found that asks so. Where nobody reads packages none is needed.
func (k *kinds) addPackage(one *registryKinds, f *registryForm, class int, m message, name, version string) bool {
	read := false
	k.c.speakers(func(ep *endpoint, m *messageRules) {
		read = read || m.packages != nil && k.r.selects(ep, class)
	})
	if !read {
		return true
	}
	base := strings.TrimPrefix(k.r.classes.List[class].Witness, one.prefix)
	for _, path := range f.paths(name, version, base) {
		m.path = one.prefix + path
		if at, ok := k.r.classes.Of(m.path); !ok || at != class || len(m.path) > target.MaxPath {
			continue
		}
		asks, err := registry.Parse(one.kind, one.prefix, f.methods[0], m.path)
		if err != nil || asks.Action != f.action || asks.Name != name || asks.Version != version {
			continue
		}
		for _, method := range f.methods {
			k.addAges(one, f, [2]int{class, k.r.method(method)}, m)
		}
		return true
	}
	// A name that is too long for the protocol is none.
	const longest = 255
	return len(name) > longest || len(version) > longest
}

// addAges adds a question; of a download, once for each age that rules tell apart.
func (k *kinds) addAges(one *registryKinds, f *registryForm, at [2]int, m message) {
	if f.action != registry.Download || len(one.ages) == 1 {
		k.packages[at] = append(k.packages[at], &m)
		return
	}
	for i, age := range one.ages {
		older := m
		older.age, older.ageKnown, older.name = age, true, ageText(one.ages, i)
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

// noPackage is a path of a class that no registry there has; "" if none is found.
func (k *kinds) noPackage(class int, method string) string {
	base := k.r.classes.List[class].Witness
	for _, path := range []string{base, base + "~", base + "~/~/~/~/~/~", base + "/~/~/~/~/~/~", base + "-/-", base + "/-/-"} {
		if at, ok := k.r.classes.Of(path); !ok || at != class {
			continue
		}
		if !slices.ContainsFunc(k.registries, func(r registryKinds) bool {
			_, err := registry.Parse(r.kind, r.prefix, method, path)
			return err == nil
		}) {
			return path
		}
	}
	return ""
}
