package analyse

import (
	"fmt"
	"strings"
	"sync"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/registry"
)

// registryForm is one way in which clients of a registry ask for something. Its
// paths, as all here, are those below the registry's beginning.
type registryForm struct {
	title   string // in reports; no two of a kind are alike
	action  registry.Action
	methods []string
	// Names and versions are those that can be asked for so, as the registry compares
	// them; nil: it names none.
	names, versions *automaton.Automaton
	// paths are all that ask so and, where some way has a part that stands twice, more.
	paths *automaton.Automaton
	ways  []registryWay // how names and versions stand in the paths
	// length is that of the part that stands twice, in the name of the file, and
	// after are the texts behind it. nil: none stands twice.
	length func(name string) int
	after  *automaton.Automaton
	// folders are, where a part stands twice, ways of all paths: the name stands before
	// the file. nil: it stands in the file alone.
	folders []registryWay
	// file: name and version stand in the name of the file alone, and so are the same
	// wherever the registry begins.
	file bool
}

// registryWay is a chain whose parts are automata, and marks for name and version.
type registryWay struct {
	parts   []any
	twice   bool
	between string
	cut     int
}

// nameHere stands for the name in a way, as it may be written within a set. versionHere
// stands for the version.
type (
	nameHere    struct{ within *automaton.Automaton }
	versionHere struct{}
)

// registryPaths are all that package registry knows of a kind.
type registryPaths struct {
	forms         []registryForm
	name, version spelling
}

// spelling are the ways of writing the texts of classes, within some set.
type spelling func(c *automaton.Classes, within *automaton.Automaton) (*automaton.Classes, error)

var registryKindPaths = map[registry.Kind]func() (*registryPaths, error){
	registry.NPM:    sync.OnceValues(func() (*registryPaths, error) { return shaped((*shaper).npm) }),
	registry.PyPI:   sync.OnceValues(func() (*registryPaths, error) { return shaped((*shaper).pypi) }),
	registry.Go:     sync.OnceValues(func() (*registryPaths, error) { return shaped((*shaper).goProxy) }),
	registry.Cargo:  sync.OnceValues(func() (*registryPaths, error) { return shaped((*shaper).cargo) }),
	registry.Debian: sync.OnceValues(func() (*registryPaths, error) { return shaped((*shaper).debian) }),
}

// pathsOf is an error for a registry that this package does not know.
func pathsOf(kind registry.Kind) (*registryPaths, error) {
	of := registryKindPaths[kind]
	if of == nil {
		return nil, fmt.Errorf("registry %q is not known", kind)
	}
	return of()
}

// shaper makes sets of paths. The first error stays, and makes all that follows
// worthless.
type shaper struct{ err error }

func shaped(f func(*shaper) *registryPaths) (*registryPaths, error) {
	var s shaper
	p := f(&s)
	return p, s.err
}

func (s *shaper) of(a *automaton.Automaton, err error) *automaton.Automaton {
	if s.err == nil {
		s.err = err
	}
	return a
}

func (s *shaper) text(list ...string) *automaton.Automaton { return s.of(automaton.Texts(list...)) }
func (s *shaper) glob(list ...string) *automaton.Automaton { return s.of(globs(list...)) }
func (s *shaper) and(a, b *automaton.Automaton) *automaton.Automaton {
	return s.of(automaton.And(a, b))
}

// path is one of each, one after the other; a string stands for itself.
func (s *shaper) path(parts ...any) *automaton.Automaton {
	list := make([]*automaton.Automaton, len(parts))
	for i, p := range parts {
		switch p := p.(type) {
		case string:
			list[i] = s.text(p)
		case *automaton.Automaton:
			list[i] = p
		}
	}
	return s.of(automaton.Concat(list...))
}

func (s *shaper) any(list ...*automaton.Automaton) *automaton.Automaton {
	all := automaton.Nothing()
	for _, one := range list {
		all = s.of(automaton.Or(all, one))
	}
	return all
}

// written are all ways of writing some texts.
func (s *shaper) written(how spelling, texts *automaton.Automaton) *automaton.Automaton {
	c, err := automaton.Classify(texts, nil)
	if s.err == nil && err == nil {
		c, err = how(c, automaton.Without("\x00"))
	}
	if s.err == nil {
		s.err = err
	}
	if s.err != nil {
		return automaton.Nothing()
	}
	return c.Texts()
}

var (
	readMethods  = []string{"GET", "HEAD"}
	npmMethods   = []string{"PUT", "DELETE", "POST", "PATCH"}
	pypiMethods  = []string{"POST", "PUT", "DELETE"}
	cargoMethods = []string{"PUT", "DELETE"}
)

// npm: the slash of a scoped name may be encoded, and that behind a name without a
// scope. The name of a file begins with the package's.
func (s *shaper) npm() *registryPaths {
	names, versions, anything := automaton.NPMNames(), automaton.PackageVersions(""), automaton.Everything()
	p := &registryPaths{name: automaton.NPMSpelled, version: automaton.Written}
	p.forms = []registryForm{{title: "its list", action: registry.Index, methods: readMethods, paths: s.text("/")}}
	either, plain := s.text("/", "%2F"), automaton.Without("\x00")
	bare := s.of(automaton.Minus(names, s.glob("@*/*")))
	for _, way := range []struct {
		of            string
		names, behind *automaton.Automaton
		files         []registryWay
	}{
		{" of packages without a scope", bare, either, []registryWay{
			{parts: []any{"/\x00", nameHere{plain}, "\x00-", versionHere{}, ".tgz"}, twice: true, between: "/-/"},
			{parts: []any{"/\x00", nameHere{plain}, "\x00-", versionHere{}, ".tgz"}, twice: true, between: "%2F-/"},
		}},
		{" of packages with a scope", s.and(names, s.glob("@*/*")), s.text("/"), []registryWay{
			{parts: []any{"/", nameHere{s.path(plain, either, "\x00", automaton.Without("/%\x00"))}, "\x00-", versionHere{}, ".tgz"}, twice: true, between: "/-/"},
		}},
	} {
		written := s.written(p.name, way.names)
		p.forms = append(p.forms,
			registryForm{title: "metadata" + way.of, action: registry.Metadata, methods: readMethods, names: way.names,
				paths: s.path("/", written), ways: []registryWay{{parts: []any{"/", nameHere{plain}}}}},
			registryForm{title: "metadata of versions" + way.of, action: registry.Metadata, methods: readMethods, names: way.names, versions: versions,
				paths: s.path("/", written, way.behind, versions), ways: []registryWay{{parts: []any{"/", nameHere{plain}, way.behind, versionHere{}}}}},
			registryForm{title: "downloads" + way.of, action: registry.Download, methods: readMethods, names: way.names, versions: versions,
				paths: s.path("/", written, way.behind, "-/", automaton.Without("/")), ways: way.files,
				length: func(name string) int { return len(name) - strings.IndexByte(name, '/') - 1 }, after: s.path("-", versions, ".tgz"),
				folders: []registryWay{{parts: []any{"/", nameHere{plain}, way.behind, "-/", automaton.Without("/")}}}},
			registryForm{title: "publishing" + way.of, action: registry.Publish, methods: npmMethods, names: way.names,
				paths: s.any(s.path("/", written), s.path("/", written, way.behind, anything)),
				ways:  []registryWay{{parts: []any{"/", nameHere{plain}}}, {parts: []any{"/", nameHere{plain}, way.behind, anything}}}})
	}
	return p
}

// pypi: what is not below /simple/ or /pypi/ is told from the name of a file.
func (s *shaper) pypi() *registryPaths {
	names, versions, anything := automaton.PyPINames(), automaton.PackageVersions(""), automaton.Everything()
	ofFile := automaton.PackageVersions("-")
	p := &registryPaths{name: automaton.PyPISpelled, version: automaton.Written}
	every, plain, short := s.written(p.name, names), nameHere{anything}, nameHere{automaton.Without("-")}
	slash, folder := s.text("", "/"), s.of(automaton.Minus(s.any(s.text("/"), s.path("/", anything, "/")), s.text("/simple/")))
	archive, word := s.text(".tar.gz", ".zip", ".tar.bz2", ".tgz"), automaton.Without("-/")
	wheel := s.path("-", word, "-", word, "-", word, s.any(s.text(""), s.path("-", word)), ".whl")
	files := s.any(s.path(folder, every, "-", ofFile, archive), s.path(folder, s.and(every, automaton.Without("-")), "-", ofFile, wheel))
	ofFiles := func(end string) []registryWay {
		return []registryWay{{parts: []any{folder, plain, "-", versionHere{}, archive, end}}, {parts: []any{folder, short, "-", versionHere{}, wheel, end}}}
	}
	p.forms = []registryForm{
		{title: "its list", action: registry.Index, methods: readMethods, paths: s.text("/simple", "/simple/")},
		{title: "metadata", action: registry.Metadata, methods: readMethods, names: names, paths: s.any(s.path("/simple/", every, slash), s.path("/pypi/", every, "/json")),
			ways: []registryWay{{parts: []any{"/simple/", plain, slash}}, {parts: []any{"/pypi/", plain, "/json"}}}},
		{title: "metadata of versions", action: registry.Metadata, methods: readMethods, names: names, versions: versions, paths: s.path("/pypi/", every, "/", versions, "/json"),
			ways: []registryWay{{parts: []any{"/pypi/", plain, "/", versionHere{}, "/json"}}}},
		{title: "metadata of files", action: registry.Metadata, methods: readMethods, names: names, versions: ofFile, paths: s.path(files, ".metadata"), ways: ofFiles(".metadata"), file: true},
		{title: "downloads", action: registry.Download, methods: readMethods, names: names, versions: ofFile, paths: files, ways: ofFiles(""), file: true},
		{title: "publishing", action: registry.Publish, methods: pypiMethods, paths: s.path("/", anything)},
	}
	return p
}

func (s *shaper) goProxy() *registryPaths {
	names, versions := automaton.GoModules(), automaton.PackageVersions("!")
	p := &registryPaths{name: automaton.GoSpelled, version: automaton.GoSpelled}
	every, some := s.written(p.name, names), s.written(p.version, versions)
	plain, list, about := nameHere{automaton.Everything()}, s.text("/@v/list", "/@latest"), s.text(".info", ".mod")
	p.forms = []registryForm{
		{title: "metadata", action: registry.Metadata, methods: readMethods, names: names, paths: s.path("/", every, list), ways: []registryWay{{parts: []any{"/", plain, list}}}},
		{title: "metadata of versions", action: registry.Metadata, methods: readMethods, names: names, versions: versions, paths: s.path("/", every, "/@v/", some, about),
			ways: []registryWay{{parts: []any{"/", plain, "/@v/", versionHere{}, about}}}},
		{title: "downloads", action: registry.Download, methods: readMethods, names: names, versions: versions, paths: s.path("/", every, "/@v/", some, ".zip"),
			ways: []registryWay{{parts: []any{"/", plain, "/@v/", versionHere{}, ".zip"}}}},
	}
	return p
}

// cargo: the index has a crate below the first letters of its name, and a file's name
// may begin with the crate's.
func (s *shaper) cargo() *registryPaths {
	names, versions, anything := automaton.Crates(), automaton.PackageVersions(""), automaton.Everything()
	p := &registryPaths{name: automaton.CratesSpelled, version: automaton.Written}
	every, crates := s.written(p.name, names), s.text("/crates/", "/api/v1/crates/")
	letters := automaton.OnlyOf("abcdefghijklmnopqrstuvwxyz0123456789_-")
	of := func(glob string) *automaton.Automaton { return s.and(s.glob(glob), letters) }
	small := func(glob string) *automaton.Automaton { return s.and(every, of(glob)) }
	plain := nameHere{automaton.Without("\x00")}
	marked := func(first, rest string) nameHere { return nameHere{s.path(of(first), "\x00", of(rest))} }
	p.forms = []registryForm{
		{title: "its settings", action: registry.Index, methods: readMethods, paths: s.text("/config.json")},
		{title: "metadata of crates of one or two letters", action: registry.Metadata, methods: readMethods, names: names, paths: s.any(s.path("/1/", small("?")), s.path("/2/", small("??"))),
			ways: []registryWay{{parts: []any{"/1/", nameHere{of("?")}}}, {parts: []any{"/2/", nameHere{of("??")}}}}},
		{title: "metadata of longer crates", action: registry.Metadata, methods: readMethods, names: names,
			paths: s.any(s.path("/3/", s.glob("?"), "/", small("???")), s.path("/", s.glob("??"), "/", s.glob("??"), "/", small("????*"))),
			ways: []registryWay{
				{parts: []any{"/3/\x00", marked("?", "??")}, twice: true, cut: 1},
				{parts: []any{"/\x00", marked("????", "*")}, twice: true, cut: 2},
			},
			length: func(name string) int {
				if len(name) == 3 {
					return 1
				}
				return 4
			}, after: letters},
		{title: "downloads", action: registry.Download, methods: readMethods, names: names, versions: versions, paths: s.path(crates, every, "/", versions, "/download"),
			ways: []registryWay{{parts: []any{crates, plain, "/", versionHere{}, "/download"}}}},
		{title: "downloads of files", action: registry.Download, methods: readMethods, names: names, versions: versions, paths: s.path(crates, every, "/", automaton.Without("/")),
			ways:   []registryWay{{parts: []any{crates, "\x00", plain, "\x00-", versionHere{}, ".crate"}, twice: true, between: "/"}},
			length: func(name string) int { return len(name) }, after: s.path("-", versions, ".crate"),
			folders: []registryWay{{parts: []any{crates, plain, "/", automaton.Without("/")}}}},
		{title: "publishing", action: registry.Publish, methods: cargoMethods, paths: s.any(s.text("/crates", "/api/v1/crates"), s.path(crates, anything))},
	}
	return p
}

// debian: the first of the folders dists and pool says what follows.
func (s *shaper) debian() *registryPaths {
	names, versions, anything := automaton.DebianNames(), automaton.PackageVersions("_"), automaton.Everything()
	above := s.of(automaton.FoldersWithout("dists", "pool"))
	pool, machine := s.path(above, "/pool/", s.any(s.text(""), s.path(anything, "/"))), automaton.Without("_/")
	return &registryPaths{
		forms: []registryForm{
			{title: "its lists", action: registry.Index, methods: readMethods, paths: s.path(above, "/dists/", anything)},
			{title: "downloads", action: registry.Download, methods: readMethods, names: names, versions: versions,
				paths: s.path(pool, names, "_", versions, "_", machine, ".deb"),
				ways:  []registryWay{{parts: []any{pool, nameHere{anything}, "_", versionHere{}, "_", machine, ".deb"}}}, file: true},
		},
		name: automaton.Written, version: automaton.Written,
	}
}

// below are paths below the beginning of a registry.
func (s *shaper) below(prefix string, paths *automaton.Automaton) *automaton.Automaton {
	if prefix == "" {
		return paths
	}
	return s.path(prefix, paths)
}

// chain is a way below a prefix, with the classes of names and versions, and the places
// of both among its parts; -1: it has none.
func (p *registryPaths) chain(w *registryWay, prefix string, names, versions *automaton.Classes) (ch automaton.Chain, name, version int, err error) {
	var s shaper
	ch = automaton.Chain{Twice: w.twice, Between: w.between, Cut: w.cut}
	name, version = -1, -1
	add := func(c *automaton.Classes, err error) {
		if s.err == nil {
			s.err = err
		}
		ch.Parts = append(ch.Parts, c)
	}
	add(automaton.Classify(s.text(prefix), nil))
	for _, one := range w.parts {
		switch one := one.(type) {
		case string:
			add(automaton.Classify(s.text(one), nil))
		case *automaton.Automaton:
			add(automaton.Classify(one, nil))
		case nameHere:
			name = len(ch.Parts)
			add(p.name(names, one.within))
		case versionHere:
			version = len(ch.Parts)
			add(p.version(versions, automaton.Without("\x00")))
		}
	}
	return ch, name, version, s.err
}
