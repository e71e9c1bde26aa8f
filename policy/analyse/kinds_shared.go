package analyse

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// sharedPaths are the paths of a class, asked with a method: several registries have
// them.
type sharedPaths struct {
	class  int
	method string
}

// alsoIs begins what another registry has a path as, in reports.
const alsoIs = "that is "

// A registry is read or written. Every one is read with the same methods, and npm's are
// all of those that write.
var methodsOfRegistries = [][]string{readMethods, npmMethods}

// sharedKinds lists what paths ask of two registries at once, as two policies may read
// one host as two kinds of registry: every combination of what each of them is asked for.
// Pairs are enough: whatever is compared, each side asks one of them.
func (a *analysis) sharedKinds(k *kinds) error {
	if len(a.sides) < 2 || len(k.r.packages.registries) < 2 {
		return nil
	}
	for class := range k.r.classes.List {
		if !k.readAt(class) {
			continue
		}
		for _, methods := range methodsOfRegistries {
			var forms []formAt
			for _, m := range methods {
				for _, f := range k.formsAt(class, m) {
					if !slices.Contains(forms, f) {
						forms = append(forms, f)
					}
				}
			}
			if len(forms) < 2 {
				continue
			}
			set := k.r.classes.Set(class)
			for i, f := range forms {
				for _, o := range forms[:i] {
					if err := a.sharedAt(k, sharing{class, set, methods, f, o}); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// sharing are the paths of a class, asked with some methods, which are of two forms.
type sharing struct {
	class         int
	set           *automaton.Automaton
	methods       []string
	first, second formAt
}

// sharedAt cuts the paths of one form by what they name, and follows the ways of the
// other one through what is cut. A form in which a part stands twice is followed, since it
// is no regular set; the paths of which the part does not repeat are then looked for.
func (a *analysis) sharedAt(k *kinds, s sharing) error {
	for _, m := range s.methods {
		k.shared[sharedPaths{s.class, m}] = true
	}
	if s.first.after == nil && (s.second.after != nil || s.first.ways == nil || s.second.kind == registry.PyPI && s.second.ways != nil) {
		s.first, s.second = s.second, s.first
	}
	f, o := &s.first, &s.second // f is followed, o is cut
	whole := []cut{{set: s.set, name: -1}}
	switch {
	case f.after != nil && o.after != nil && (f.folders == nil || f.kind != o.kind):
		if err := neverBoth(f, o); err != nil {
			return err
		}
		return cmp.Or(a.follow(k, &s, o, whole), a.follow(k, &s, f, whole))
	case f.ways == nil:
		return a.addShared(k, &s, k.r.classes.List[s.class].Witness, nil)
	case o.ways == nil, f.file && f.registryForm == o.registryForm: // it names nothing, or the same
	default:
		var err error
		if whole, err = a.cutsOf(k, s.set, o); err != nil {
			return err
		}
	}
	if f.after != nil && o.after == nil {
		for i := range whole {
			if err := a.apart(k, &s, &whole[i]); err != nil {
				return err
			}
		}
	}
	return a.follow(k, &s, f, whole)
}

// cut are paths that name something of one class, in classes by the version that they
// name.
type cut struct {
	set      *automaton.Automaton
	name     int // class of names; -1: of all
	versions []*automaton.Automaton
	classes  *automaton.Classes
}

// classify sorts the paths by the versions that they name.
func (c *cut) classify(a *analysis) (err error) {
	if c.classes == nil {
		c.classes, err = a.classify(c.set, c.versions)
	}
	return err
}

// apart adds, of each class of a cut, a path that does not ask in the form that is
// followed.
func (a *analysis) apart(k *kinds, s *sharing, c *cut) error {
	if err := c.classify(a); err != nil {
		return err
	}
	for i := range c.classes.List {
		path, err := without(c.classes, i, []formAt{s.first}, s.methods[0])
		if err != nil {
			return err
		}
		if path == "" {
			continue
		}
		if err := a.addShared(k, s, path, c); err != nil {
			return err
		}
	}
	return nil
}

// follow adds a path of every combination of what a form names and of a class of a cut.
func (a *analysis) follow(k *kinds, s *sharing, f *formAt, cuts []cut) error {
	t, err := a.textsOfForm(k, f.kind, f.registryForm)
	if err != nil {
		return err
	}
	names, versions := t.classes()
	for i := range f.ways {
		chain, _, _, err := f.chain(&f.ways[i], f.prefix, names, versions)
		if err != nil {
			return err
		}
		for n := range cuts {
			c := &cuts[n]
			if err := c.classify(a); err != nil {
				return err
			}
			list, work, err := c.classes.Chained(chain)
			if err = cmp.Or(err, a.spend(work/stepsOfAutomata)); err != nil {
				return err
			}
			for _, one := range list {
				if err := a.addShared(k, s, one.Text, c); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// cutsOf cuts the paths of a form by what they name, as far as it is told without
// reading a part twice.
func (a *analysis) cutsOf(k *kinds, all *automaton.Automaton, f *formAt) ([]cut, error) {
	ways := f.ways
	if f.after != nil {
		ways = f.folders // the version stands in the file
	}
	t, err := a.textsOfForm(k, f.kind, f.registryForm)
	if err != nil {
		return nil, err
	}
	names, versions := t.classes()
	// naming are the paths that name something of a class.
	naming := func(version bool, class int) (*automaton.Automaton, error) {
		var s shaper
		var list []*automaton.Automaton
		for w := range ways {
			chain, place, behind, err := f.chain(&ways[w], f.prefix, names, versions)
			if err != nil {
				return nil, err
			}
			if version {
				place = behind
			}
			parts := make([]any, len(chain.Parts))
			for n, p := range chain.Parts {
				if parts[n] = p.Texts(); n == place {
					parts[n] = p.Set(class)
				}
			}
			list = append(list, s.path(parts...))
		}
		set := s.and(s.any(list...), all)
		if s.err != nil {
			return nil, s.err
		}
		return set, a.spend(set.Work() / stepsOfAutomata)
	}
	var by []*automaton.Automaton
	if versions != nil && f.after == nil && len(versions.List) > 1 {
		for class := range versions.List {
			set, err := naming(true, class)
			if err != nil {
				return nil, err
			}
			by = append(by, set)
		}
	}
	if len(names.List) < 2 {
		return []cut{{set: all, name: -1, versions: by}}, nil
	}
	var cuts []cut
	for class := range names.List {
		set, err := naming(false, class)
		if err != nil {
			return nil, err
		}
		if _, some := set.Witness(); some {
			cuts = append(cuts, cut{set: set, name: class, versions: by})
		}
	}
	return cuts, nil
}

// neverBoth is an error for two forms in which a part stands twice, if the file of some
// path may be one of both: whether it is one would depend on what stands twice. Those of
// one kind tell the same of a file, if both name the folder.
func neverBoth(f, o *formAt) error {
	var s shaper
	files := func(f *formAt) *automaton.Automaton {
		return s.and(s.below(f.prefix, f.paths), s.path(automaton.Everything(), f.after))
	}
	both := s.and(files(f), files(o))
	if s.err != nil {
		return s.err
	}
	if path, some := both.Witness(); some {
		return fmt.Errorf("analyse policy: internal error: %s may be a path of %s of a registry of kind %s and of %s of one of kind %s", path, f.title, f.kind, o.title, o.kind)
	}
	return nil
}

// addShared adds what a path of a cut asks of each registry. Their readers have to agree
// with what the cut says that it names.
func (a *analysis) addShared(k *kinds, s *sharing, path string, c *cut) error {
	if len(path) > target.MaxPath || tooLong(path) {
		return nil
	}
	for _, method := range s.methods {
		var m *message
		download := false
		for i, f := range []*formAt{&s.first, &s.second} {
			if !slices.Contains(f.methods, method) {
				continue
			}
			asks := f.parse(method, path)
			if asks == nil {
				if f.after == nil {
					return fmt.Errorf("analyse policy: internal error: %s is no path of %s of a registry of kind %s", path, f.title, f.kind)
				}
				continue
			}
			label := ""
			if m == nil {
				m = &message{path: path, form: packaged, kind: k.r.packages.says(f.kind, f.prefix, asks.Action)}
			} else if says := k.r.packages.says(f.kind, f.prefix, asks.Action); f.names == nil {
				m.kind += " (" + says + ")"
			} else {
				label = alsoIs + says + " of"
			}
			download = download || asks.Action == registry.Download
			t, err := a.textsOfForm(k, f.kind, f.registryForm)
			if err != nil {
				return err
			}
			for n, of := range []*texts{t.names, t.versions} {
				if of == nil {
					continue
				}
				named, ok := of.Of([]string{asks.Name, asks.Version}[n])
				if ok && i == 1 && c != nil {
					ok = c.names(path, n == 1, named)
				}
				if !ok {
					return fmt.Errorf("analyse policy: internal error: %s asks a registry of kind %s for %s %s, and is of another set", path, f.kind, asks.Name, asks.Version)
				}
				if n == 1 {
					label = "version"
				}
				m.parts = append(m.parts, part{of, label, named})
			}
		}
		if m != nil {
			k.addAges(download, [2]int{s.class, k.r.method(method)}, *m)
		}
	}
	return a.spend(2 * len(s.methods))
}

// names reports whether a path may name something of a class.
func (c *cut) names(path string, version bool, class int) bool {
	if !version {
		return c.name < 0 || c.name == class
	}
	at, ok := c.classes.Of(path)
	return ok && (c.versions == nil || c.classes.List[at].In(class))
}
