package analyse

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/registry"
)

// Whatever a path asks of two registries at one host, a path that asks the same of both
// is listed.
func TestSharedPathsAreAllListed(t *testing.T) {
	both, doubled := 0, 0
	// Each draw takes as long as a hundred of other properties: -rapid.checks asks for more.
	left := math.MaxInt
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		left = 30
	}
	property := func(t *rapid.T) {
		if left--; left < 0 {
			return
		}
		x := newAnalysis(anyTime)
		var kinds [2]registry.Kind
		var prefixes [2]string
		for i := range kinds {
			kinds[i] = rapid.SampledFrom(registry.Kinds()).Draw(t, "kind")
			prefixes[i] = rapid.SampledFrom([]string{"", "", "", "/@s", "/a", "/api/v1", "/crates", "/ab", "/3", "/x", "/simple"}).Draw(t, "prefix")
			e := policy.Endpoint{Host: "a.test", Ports: []uint16{443}, Protocol: policy.Package, Registry: kinds[i], RegistryPath: prefixes[i], Enforcement: policy.Enforce, AllowEncodedSlash: rapid.Bool().Draw(t, "encoded")}
			for range rapid.IntRange(0, 3).Draw(t, "rules") {
				r := policy.RequestRule{Package: rapid.SampledFrom([]string{"a", "ab*", "@s/*", "@s/a", "a*", "{a,b}", "*-*", "1", "**/b", "abcd-e"}).Draw(t, "package")}
				if v := rapid.SampledFrom([]string{"", "1*", "1.0", "*a"}).Draw(t, "versions"); v != "" {
					r.Versions = []string{v}
				}
				e.Allow = append(e.Allow, r)
			}
			s, err := x.lower(&policy.Document{Version: 2, Networks: []policy.Network{{Key: "n", AnyBinary: true, Endpoints: []policy.Endpoint{e}}}})
			if err != nil {
				t.Fatal(err)
			}
			x.sides = append(x.sides, s)
		}
		if err := x.partition(); err != nil {
			t.Fatal(err)
		}
		for _, c := range x.cells {
			if len(c.sides[0]) == 0 || len(c.sides[1]) == 0 {
				continue
			}
			err := x.prepare(c)
			var many *TooManyError
			if errors.As(err, &many) {
				t.Skip(err) // another draw: such a policy gets this error, and no answer
			}
			if err != nil {
				t.Fatal(err)
			}
			k := c.requests.kinds
			signs := func(method, path string) (string, int) {
				text, n := "", 0
				for i := range k.r.packages.registries {
					r := &k.r.packages.registries[i]
					one, err := registry.Parse(r.kind, r.prefix, method, path)
					if err != nil {
						text += "nothing; "
						continue
					}
					n++
					text += fmt.Sprint(one.Action)
					for _, p := range k.r.packages.named[r.kind].names {
						text += fmt.Sprint(" ", one.Name != "" && p.match(one.Name))
					}
					for _, p := range k.r.packages.named[r.kind].versions {
						text += fmt.Sprint(" ", one.Version != "" && p.match(one.Version))
					}
					text += "; "
				}
				return text, n
			}
			listed := map[string]bool{}
			for i := range c.requests.list {
				q := &c.requests.list[i]
				if q.message != nil && q.message.path != "" {
					method := k.r.methods[q.method].example(k.r.methods)
					sign, _ := signs(method, q.message.path)
					listed[fmt.Sprint(q.path, method, sign)] = true
				}
			}
			for range 60 {
				i := rapid.IntRange(0, 1).Draw(t, "which")
				path := prefixes[i] + "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pathParts), 0, 6).Draw(t, "parts"), "")
				if rapid.IntRange(0, 3).Draw(t, "near one") > 0 {
					path = prefixes[i] + rapid.SampledFrom(wholePaths).Draw(t, "path")
					if at := rapid.IntRange(0, 5*len(path)).Draw(t, "where"); at < len(path) {
						path = path[:at] + rapid.SampledFrom(pathParts).Draw(t, "what") + path[at+rapid.IntRange(0, 1).Draw(t, "of it"):]
					}
				}
				if !automaton.Paths().Match(path) {
					continue
				}
				class, ok := k.r.classes.Of(path)
				if !ok {
					continue
				}
				for _, method := range []string{"GET", "PUT"} {
					sign, n := signs(method, path)
					if n == 0 {
						continue
					}
					if n == 2 {
						both++
					}
					if strings.Contains(path, ".tgz") || strings.Contains(path, ".crate") {
						doubled++
					}
					if !listed[fmt.Sprint(class, method, sign)] {
						t.Fatalf("%s %s asks %v below %q for %s and is not listed", method, path, kinds, prefixes, sign)
					}
				}
			}
		}
	}
	for range 8 {
		if rapid.Check(t, property); both >= 20 && doubled >= 20 {
			return
		}
		left = max(left, 30)
	}
	t.Errorf("%d paths asked both registries, and of %d a part stood twice", both, doubled)
}
