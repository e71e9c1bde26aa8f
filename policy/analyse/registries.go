package analyse

import (
	"strings"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/registry"
)

// registryForm is one way in which clients of a registry ask for something.
type registryForm struct {
	action  registry.Action
	methods []string
	// Names and versions are those that can be asked for so; nil: it names none.
	names, versions *automaton.Automaton
	// All of its paths match plain and hold no encoded slash, or match slashed and
	// hold one; but none matches without. They stand below the registry's beginning.
	plain, slashed, without []string
	// paths are some that ask for a name and a version. base is a path that they
	// may be near.
	paths func(name, version, base string) []string
}

var (
	readMethods  = []string{"GET", "HEAD"}
	npmMethods   = []string{"PUT", "DELETE", "POST", "PATCH"}
	pypiMethods  = []string{"POST", "PUT", "DELETE"}
	cargoMethods = []string{"PUT", "DELETE"}
)

// fixed are paths that depend on no name.
func fixed(paths ...string) func(string, string, string) []string {
	return func(_, _, base string) []string { return append([]string{base}, paths...) }
}

// near are a file's paths: in folders of its own, and beside and below a path.
func near(base, file string, folders ...string) []string {
	list := []string{base[:strings.LastIndexByte(base, '/')+1] + file, strings.TrimSuffix(base, "/") + "/" + file, strings.TrimSuffix(base, "/") + "/x/y/" + file}
	for _, f := range folders {
		list = append(list, f+"/"+file)
	}
	return list
}

// registryForms are all that package registry knows.
func registryForms(kind registry.Kind) ([]registryForm, error) {
	all := automaton.PackageVersions("")
	switch kind {
	case registry.NPM:
		return npmForms(all)
	case registry.PyPI:
		return pypiForms(all), nil
	case registry.Go:
		return goForms(), nil
	case registry.Cargo:
		return cargoForms(all), nil
	case registry.Debian:
		file := func(n, v string) string { return n + "_" + v + "_all.deb" }
		return []registryForm{
			{registry.Index, readMethods, nil, nil, []string{"/**/dists/**"}, []string{"/**/dists/**"}, nil,
				fixed("/dists/stable/Release", "/dists/pool/x_1_all.deb", "/dists/x%2Fy", "/dists/pool/x%2Fy/x_1_all.deb")},
			{registry.Download, readMethods, automaton.DebianNames(), automaton.PackageVersions("_"), []string{"/**/pool/**/?*_?*_?*.deb"}, []string{"/**/pool/**/?*_?*_?*.deb"}, nil,
				func(n, v, base string) []string {
					return near(base, file(n, v), "/pool", "/pool/dists", "/pool/x%2Fy", "/pool/dists/x%2Fy")
				}},
		}, nil
	}
	return nil, nil
}

func npmForms(all *automaton.Automaton) ([]registryForm, error) {
	scoped, err := globs("@*/*")
	if err != nil {
		return nil, err
	}
	plainNames, err := automaton.Minus(automaton.NPMNames(), scoped)
	if err != nil {
		return nil, err
	}
	if scoped, err = automaton.And(automaton.NPMNames(), scoped); err != nil {
		return nil, err
	}
	list := []registryForm{{registry.Index, readMethods, nil, nil, []string{"/"}, nil, nil, fixed("/")}}
	for _, way := range []struct {
		names   *automaton.Automaton
		text    string // a glob over the name in a path
		encoded bool
	}{{plainNames, "/[a-z0-9_]*", false}, {scoped, "/@*/?*", false}, {scoped, "/@*%2F?*", true}} {
		at := func(n string) string {
			if way.encoded {
				n = strings.Replace(n, "/", "%2F", 1)
			}
			return "/" + n
		}
		file := func(n, v string) string { return "/-/" + n[strings.IndexByte(n, '/')+1:] + "-" + v + ".tgz" }
		add := func(f registryForm, shape ...string) {
			if f.names = way.names; way.encoded {
				f.slashed = shape
			} else {
				f.plain = shape
			}
			list = append(list, f)
		}
		add(registryForm{action: registry.Metadata, methods: readMethods, paths: func(n, _, _ string) []string { return []string{at(n)} }}, way.text)
		add(registryForm{action: registry.Metadata, methods: readMethods, versions: all, paths: func(n, v, _ string) []string { return []string{at(n) + "/" + v} }}, way.text+"/?*")
		add(registryForm{action: registry.Download, methods: readMethods, versions: all, paths: func(n, v, _ string) []string { return []string{at(n) + file(n, v)} }}, way.text+"/-/?*-?*.tgz")
		add(registryForm{action: registry.Publish, methods: npmMethods, paths: func(n, _, _ string) []string {
			return []string{at(n), at(n) + "/1", at(n) + file(n, "1"), at(n) + "/x/y/z"}
		}}, way.text, way.text+"/**")
		if !way.encoded { // with an encoded slash behind the name
			list = append(list, registryForm{registry.Publish, npmMethods, way.names, nil, nil, []string{way.text + "/**"}, nil,
				func(n, _, _ string) []string {
					return []string{at(n) + "/x%2Fy", at(n) + "/-/x%2Fy-1.tgz", at(n) + "/x/y%2Fz"}
				}})
		}
	}
	return list, nil
}

func pypiForms(all *automaton.Automaton) []registryForm {
	names, file := automaton.PyPINames(), automaton.PackageVersions("-")
	raw := func(n string) string {
		if n == "" {
			return "_" // what is left of it is nothing
		}
		return n
	}
	simple := []string{"/simple/?*", "/simple/?*/"}
	pages := append([]string{"/pypi/?*/json", "/pypi/?*/?*/json"}, simple...)
	files := []string{"/**/?*-?*.whl", "/**/?*-?*.tar.gz", "/**/?*-?*.zip", "/**/?*-?*.tar.bz2", "/**/?*-?*.tgz"}
	about := []string{"/**/?*-?*.metadata"}
	return []registryForm{
		{registry.Index, readMethods, nil, nil, []string{"/simple", "/simple/"}, nil, nil, fixed("/simple/", "/simple")},
		{registry.Metadata, readMethods, names, nil, simple, nil, nil, func(n, _, _ string) []string { return []string{"/simple/" + raw(n) + "/", "/simple/" + raw(n)} }},
		{registry.Metadata, readMethods, names, nil, []string{"/pypi/?*/json"}, nil, nil, func(n, _, _ string) []string { return []string{"/pypi/" + raw(n) + "/json"} }},
		{registry.Metadata, readMethods, names, all, []string{"/pypi/?*/?*/json"}, nil, nil, func(n, v, _ string) []string { return []string{"/pypi/" + raw(n) + "/" + v + "/json"} }},
		{registry.Metadata, readMethods, names, file, about, about, pages, func(n, v, base string) []string {
			return near(base, raw(n)+"-"+v+".tar.gz.metadata", "/packages", "/packages/x%2Fy")
		}},
		{registry.Download, readMethods, names, file, files, files, pages, func(n, v, base string) []string {
			return near(base, raw(n)+"-"+v+".tar.gz", "/packages", "/packages/x%2Fy")
		}},
		{registry.Publish, pypiMethods, nil, nil, []string{"/**"}, []string{"/**"}, nil, fixed("/legacy/", "/x%2Fy")},
	}
}

func goForms() []registryForm {
	names, versions := automaton.GoModules(), automaton.PackageVersions("!")
	escape := func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			if c >= 'A' && c <= 'Z' {
				b.WriteByte('!')
				c += 'a' - 'A'
			}
			b.WriteByte(c)
		}
		return b.String()
	}
	list := []registryForm{
		{registry.Metadata, readMethods, names, nil, []string{"/**/@v/list"}, nil, nil, func(n, _, _ string) []string { return []string{"/" + escape(n) + "/@v/list"} }},
		{registry.Metadata, readMethods, names, nil, []string{"/**/@latest"}, nil, nil, func(n, _, _ string) []string { return []string{"/" + escape(n) + "/@latest"} }},
	}
	for _, end := range []struct {
		text   string
		action registry.Action
	}{{".info", registry.Metadata}, {".mod", registry.Metadata}, {".zip", registry.Download}} {
		list = append(list, registryForm{end.action, readMethods, names, versions, []string{"/**/@v/?*" + end.text}, nil, nil,
			func(n, v, _ string) []string { return []string{"/" + escape(n) + "/@v/" + escape(v) + end.text} }})
	}
	return list
}

func cargoForms(all *automaton.Automaton) []registryForm {
	names := automaton.Crates()
	raw := func(n string) string {
		if n[0] == '-' {
			return "_" + n[1:]
		}
		return n
	}
	index := func(n string) string {
		switch len(n) {
		case 1:
			return "/1/" + n
		case 2:
			return "/2/" + n
		case 3:
			return "/3/" + n[:1] + "/" + n
		}
		return "/" + n[:2] + "/" + n[2:4] + "/" + n
	}
	below := []string{"/crates", "/crates/**", "/api/v1/crates", "/api/v1/crates/**"}
	return []registryForm{
		{registry.Index, readMethods, nil, nil, []string{"/config.json"}, nil, nil, fixed("/config.json")},
		{registry.Metadata, readMethods, names, nil, []string{"/1/?", "/2/??", "/3/?/???", "/??/??/????*"}, nil, nil, func(n, _, _ string) []string { return []string{index(raw(n))} }},
		{registry.Download, readMethods, names, all, []string{"/api/v1/crates/?*/?*/download", "/crates/?*/?*/download", "/api/v1/crates/?*/?*.crate", "/crates/?*/?*.crate"}, nil, nil, func(n, v, _ string) []string {
			var list []string
			for _, folder := range []string{"/api/v1/crates/", "/crates/"} {
				list = append(list, folder+raw(n)+"/"+v+"/download", folder+raw(n)+"/"+raw(n)+"-"+v+".crate")
			}
			return list
		}},
		{registry.Publish, cargoMethods, nil, nil, below, below, nil, fixed("/api/v1/crates/new", "/crates/new", "/crates", "/api/v1/crates", "/crates/x%2Fy", "/api/v1/crates/x%2Fy")},
	}
}

// shape is the set of paths that a form's are of, below a registry's beginning.
func (f *registryForm) shape(prefix string) (*automaton.Automaton, error) {
	below := func(list []string) (*automaton.Automaton, error) {
		out := make([]string, len(list))
		for i, text := range list {
			out[i] = quotedGlob(prefix) + text
		}
		return globs(out...)
	}
	plain, err := below(f.plain)
	if err != nil {
		return nil, err
	}
	slashed, err := below(f.slashed)
	if err != nil {
		return nil, err
	}
	without, err := below(f.without)
	if err != nil {
		return nil, err
	}
	if plain, err = automaton.Minus(plain, automaton.EncodedSlash()); err != nil {
		return nil, err
	}
	if slashed, err = automaton.And(slashed, automaton.EncodedSlash()); err != nil {
		return nil, err
	}
	all, err := automaton.Or(plain, slashed)
	if err != nil {
		return nil, err
	}
	return automaton.Minus(all, without)
}

// quotedGlob is a glob of one text.
func quotedGlob(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if strings.IndexByte(`*?[]{}\`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
