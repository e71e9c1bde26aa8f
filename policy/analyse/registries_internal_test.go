package analyse

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/registry"
)

// pathParts are what paths of registries are made of.
var pathParts = []string{"a", "b", "ab", "a-b", "A", "_", "-", ".", "1", "1.0", "/", "/", "/", "/-/", "%2F", "@", "@s", "!a", ".tgz", ".crate", ".deb", ".whl", ".zip", ".tar.gz", ".metadata", "/simple/", "/pypi/", "/json", "/@v/", "/@latest", "list", ".info",
	".mod", "/crates/", "/api/v1", "/download", "/3/", "/1/", "/config.json", "/pool/", "/dists/", "_all", "-py3-none-any"}

// wholePaths are some that ask for something.
var wholePaths = []string{"/a", "/a/1.0", "/@s/a", "/@s%2Fa/1.0", "/a%2F1.0", "/a/-/a-1.0.tgz", "/@s/a/-/a-1.0.tgz", "/a%2F-/a-1.0.tgz", "/@s/a/-/b-1.0.tgz", "/simple/a/", "/simple/a-1.zip", "/pypi/a/1/json", "/x/A_b-1.0.tar.gz.metadata", "/x%2Fy/a-1.0-py3-none-any.whl",
	"/a/b/@v/list", "/!a/@v/v1!b.zip", "/a/@latest", "/crates/a/1.0/download", "/api/v1/crates/a_b/a_b-1.0.crate", "/crates/a/b-1.0.crate", "/ab/cd/abcd-e", "/ab/cd/abce", "/3/a/abc", "/3/b/abc", "/2/ab", "/1/_", "/config.json", "/pool/a_1.0_all.deb", "/x/pool/y/a_1:2_all.deb", "/dists/x", "/pool/dists/a_1_b.deb"}

// The sets of paths of forms are what the readers of registries read, each by its form;
// where a part has to stand twice, they are more.
func TestRegistryPathsAreTheReaders(t *testing.T) {
	read, doubled := map[registry.Kind]int{}, 0
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(registry.Kinds()).Draw(t, "kind")
		prefix := rapid.SampledFrom([]string{"", "", "/a", "/x/y"}).Draw(t, "prefix")
		of, err := pathsOf(kind)
		if err != nil {
			t.Fatal(err)
		}
		r := registryAt{kind, prefix, of}
		all := &packageRulesOf{registries: []registryAt{r}}
		sets := map[string]*automaton.Automaton{}
		if err := all.paths(func(name string, set func() (*automaton.Automaton, error)) (err error) {
			sets[name], err = set()
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			path := prefix + "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pathParts), 0, 6).Draw(t, "parts"), "")
			if rapid.Bool().Draw(t, "near one") {
				path = prefix + rapid.SampledFrom(wholePaths).Draw(t, "path")
				if at := rapid.IntRange(0, 3*len(path)).Draw(t, "where"); at < len(path) {
					path = path[:at] + rapid.SampledFrom(pathParts).Draw(t, "what") + path[at+rapid.IntRange(0, 1).Draw(t, "of it"):]
				}
			}
			if !automaton.Paths().Match(path) {
				continue
			}
			for _, method := range []string{"GET", "PUT", "POST", "PATCH", "OPTIONS"} {
				asks, err := registry.Parse(kind, prefix, method, path)
				in, twice := 0, false
				for i := range r.forms {
					f := &r.forms[i]
					if !slices.Contains(f.methods, method) || !sets[r.formName(i)].Match(path) {
						continue
					}
					if f.after != nil && err != nil {
						continue // another part stands there
					}
					if in++; err != nil || asks.Action != f.action || (f.names == nil) != (asks.Name == "" && f.names == nil) || (f.versions == nil) != (asks.Version == "") {
						t.Fatalf("%s %s is a path of %q of %s, and asks for %+v, %v", method, path, f.title, kind, asks, err)
					}
					twice = f.after != nil
				}
				if (err == nil) != (in == 1) {
					t.Fatalf("%s %s of %s asks for %+v, %v, and is of %d forms", method, path, kind, asks, err, in)
				}
				if err == nil {
					read[kind]++
				}
				if twice {
					doubled++
				}
			}
		}
	})
	for _, kind := range registry.Kinds() {
		if read[kind] == 0 {
			t.Errorf("no path of %s was drawn", kind)
		}
	}
	if doubled == 0 {
		t.Error("no part stood twice")
	}
}
