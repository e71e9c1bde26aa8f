package automaton_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/target"
)

// patterns are texts made of the parts that globs treat in ways of their own.
func patterns(parts ...string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 7).Draw(t, "parts"), "")
	})
}

func texts(parts ...string) *rapid.Generator[string] { return patterns(parts...) }

var globParts = []string{"a", "b", "/", ".", "*", "**", "?", "[ab]", "[!a]", "[^/]", "{a,b}", "{a/**,**}", "{,a}", `\*`, "/**", "**/", "%2F", "é", "-"}

func TestGlobIsTheGlob(t *testing.T) {
	for _, sep := range []byte{'/', '.'} {
		t.Run(string(sep), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				g, err := glob.Compile(patterns(globParts...).Draw(t, "pattern"), sep)
				if err != nil {
					return
				}
				a, err := automaton.Glob(g)
				if err != nil {
					t.Fatal(err)
				}
				for range 20 {
					s := texts("a", "b", "/", ".", "x", "*", "é", "%2F", "\x00", "\xff").Draw(t, "text")
					if a.Match(s) != g.Match(s) {
						t.Fatalf("%s and %q: automaton %v, glob %v", g, s, a.Match(s), g.Match(s))
					}
				}
				if w, some := a.Witness(); some && !g.Match(w) || !some && len(g.Nodes()) == 0 {
					t.Fatalf("%s: witness %q, %v", g, w, some)
				}
			})
		})
	}
}

func TestSelectorIsTheSelector(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := target.ParseSelector(patterns("/", "a", "*", "/**", "[ab]", "[!a]", "?").Draw(t, "selector"))
		if err != nil {
			return
		}
		a, err := automaton.Selector(s)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			p := texts("/", "a", "b", "x").Draw(t, "path")
			if a.Match(p) != s.Match(p) {
				t.Fatalf("%s and %q: automaton %v, selector %v", s, p, a.Match(p), s.Match(p))
			}
		}
	})
}

func TestHostIsThePattern(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := netname.ParsePattern(patterns("a", "b", ".", "*", "**.", "*.", "a.b", "a-*").Draw(t, "pattern"))
		if err != nil {
			return
		}
		a, err := automaton.Host(p)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			h, err := netname.ParseHost(texts("a", "b", ".", "-", "a.b", "1").Draw(t, "host"))
			if err != nil {
				continue
			}
			if a.Match(h.String()) != p.Match(h) {
				t.Fatalf("%s and %s: automaton %v, pattern %v", p, h, a.Match(h.String()), p.Match(h))
			}
		}
	})
}

func TestHostSelectorIsTheSelector(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := netname.ParseSelector(patterns("a", "b", ".", "*", "**", "**.", "*.", "a.b").Draw(t, "pattern"))
		if err != nil {
			return
		}
		a, err := automaton.HostSelector(p)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			h, err := netname.ParseHost(texts("a", "b", ".", "-", "a.b", "1").Draw(t, "host"))
			if err != nil || h.IsAddr() {
				continue
			}
			if a.Match(h.String()) != p.Match(h) {
				t.Fatalf("%s and %s: automaton %v, selector %v", p, h, a.Match(h.String()), p.Match(h))
			}
		}
	})
}

// The universes are what the parsers of the project take unchanged.
func TestUniverses(t *testing.T) {
	is := map[string]struct {
		a     *automaton.Automaton
		parts []string
		want  func(s string) bool
	}{
		"paths": {automaton.Paths(), []string{"/", ".", "a", "%2F", "%5C", "%20", "%3B", "%41", "%2f", "%", "..", "é", ";", "\x01", "*", "%80", "?"}, func(s string) bool {
			p, err := target.Parse(s, true)
			return err == nil && p.Path == s && !p.HasQuery
		}},
		"names": {automaton.HostNames(), []string{"a", "0", "x", "f", "9", "0x", "-", "_", ".", "g", "A", "*"}, func(s string) bool {
			h, err := netname.ParseHost(s)
			return err == nil && !h.IsAddr() && h.String() == s
		}},
		"values": {automaton.Values(), []string{"a", "é", "\x80", "\xed", "\xa0", "\xf0", "\x90", "\xf4", "\x00", "😀", "\xc0", "\xe0"}, utf8.ValidString},
		"nul":    {automaton.HoldsNUL(), []string{"a", "\x00"}, func(s string) bool { return strings.Contains(s, "\x00") }},
		"slash":  {automaton.EncodedSlash(), []string{"%", "2", "F", "%2F", "a"}, func(s string) bool { return strings.Contains(s, "%2F") }},
		"programs": {automaton.Programs(), []string{"/", ".", "..", "a", "\x00", "é"}, func(s string) bool {
			if !strings.HasPrefix(s, "/") || strings.Contains(s, "\x00") {
				return false
			}
			for part := range strings.SplitSeq(s[1:], "/") {
				if part == "" || part == "." || part == ".." {
					return false
				}
			}
			return true
		}},
	}
	for name, c := range is {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := texts(c.parts...).Draw(t, "text")
				if got, want := c.a.Match(s), c.want(s); got != want {
					t.Fatalf("%q: %v, want %v", s, got, want)
				}
			})
		})
	}
	long := strings.Repeat("a", 63)
	if c := automaton.HostNamesCounted(); !c.Match(long+".test") || c.Match(long+"a.test") || !automaton.HostNames().Match(long+"a.test") {
		t.Error("labels are not counted")
	}
}

func mustGlob(t testing.TB, pattern string) *automaton.Automaton {
	t.Helper()
	g, err := glob.Compile(pattern, '/')
	if err != nil {
		t.Fatal(err)
	}
	a, err := automaton.Glob(g)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAlgebra(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *automaton.Automaton {
			g, err := glob.Compile(patterns("a", "/", "*", "/**", "**/", "?", "[!a]").Draw(t, name), '/')
			if err != nil {
				return automaton.Everything()
			}
			a, err := automaton.Glob(g)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		a, b := draw("a"), draw("b")
		and, err1 := automaton.And(a, b)
		or, err2 := automaton.Or(a, b)
		minus, err3 := automaton.Minus(a, b)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			s := texts("a", "b", "/").Draw(t, "text")
			x, y := a.Match(s), b.Match(s)
			if and.Match(s) != (x && y) || or.Match(s) != (x || y) || minus.Match(s) != (x && !y) || automaton.Not(a).Match(s) == x {
				t.Fatalf("%q: %v %v, and %v or %v minus %v", s, x, y, and.Match(s), or.Match(s), minus.Match(s))
			}
		}
		if w, some := minus.Witness(); some && (!a.Match(w) || b.Match(w)) {
			t.Fatalf("witness %q of the difference", w)
		}
		covers, w, err := automaton.Includes(b, a)
		if err != nil || covers != minus.Empty() || !covers && !minus.Match(w) {
			t.Fatalf("includes %v %q %v", covers, w, err)
		}
		// De Morgan, through the other operations.
		both, err := automaton.Or(automaton.Not(a), automaton.Not(b))
		if err != nil {
			t.Fatal(err)
		}
		if same, w, err := automaton.Equal(automaton.Not(both), and); !same || err != nil {
			t.Fatalf("not (not a or not b) is not a and b: %q %v", w, err)
		}
	})
}

func TestMinimal(t *testing.T) {
	for pattern, states := range map[string]int{"**": 1, "/a": 4, "/a/**": 5, "/{a,b}/x": 6, "/{ab,ab}": 5} {
		if got := mustGlob(t, pattern).Minimal().Size(); got != states {
			t.Errorf("%s has %d states, want %d", pattern, got, states)
		}
	}
}

func TestClassify(t *testing.T) {
	sets := []*automaton.Automaton{mustGlob(t, "/repos/**"), mustGlob(t, "/repos/*/*/keys"), mustGlob(t, "/never//x")}
	c, err := automaton.Classify(automaton.Paths(), sets)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range c.List {
		got = append(got, fmt.Sprintf("%v%v%v %s", k.In(0), k.In(1), k.In(2), k.Witness))
		if i, ok := c.Of(k.Witness); !ok || c.List[i].Witness != k.Witness {
			t.Errorf("%s is not of its own class", k.Witness)
		}
	}
	want := "[falsefalsefalse / truefalsefalse /repos/ truetruefalse /repos/a/a/keys]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if _, ok := c.Of("/a//b"); ok {
		t.Error("a path that is not canonical has a class")
	}
}

// The bound is an error, and comes soon.
func TestTooLarge(t *testing.T) {
	wide, err := glob.Compile("*a"+strings.Repeat("?", 20), '/')
	if err != nil {
		t.Fatal(err)
	}
	var large *automaton.TooLargeError
	if _, err := automaton.Glob(wide); !errors.As(err, &large) {
		t.Errorf("got %v, want a bound", err)
	}
	var many []*automaton.Automaton
	for c := 'a'; c <= 'z'; c++ {
		many = append(many, mustGlob(t, "*"+string(c)+"*"))
	}
	if _, err := automaton.Classify(nil, many); !errors.As(err, &large) {
		t.Errorf("got %v, want a bound", err)
	}
}

func TestZero(t *testing.T) {
	var a automaton.Automaton
	if a.Match("") || !a.Empty() || a.Size() != 1 {
		t.Error("the zero automaton is not empty")
	}
	if (*automaton.Automaton)(nil).Match("a") || !automaton.Not(&a).Match("a") {
		t.Error("nil is not the empty set")
	}
}

// Products of few and of many sets are built in two ways; both know the sets of
// every text.
func TestClassifyIsTheSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sets []*automaton.Automaton
		for range rapid.SampledFrom([]int{0, 1, 3, 30, 80}).Draw(t, "sets") {
			g, err := glob.Compile("/"+patterns("a", "b", "/", "*", "/**", "ab", "?").Draw(t, "pattern"), '/')
			if err != nil {
				continue
			}
			a, err := automaton.Glob(g)
			if err != nil {
				t.Fatal(err)
			}
			sets = append(sets, a)
		}
		c, err := automaton.Classify(automaton.Paths(), sets)
		var large *automaton.TooLargeError
		if errors.As(err, &large) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		check := func(s string) {
			i, ok := c.Of(s)
			if ok != automaton.Paths().Match(s) {
				t.Fatalf("%q: in a class: %v", s, ok)
			}
			for k, set := range sets {
				if ok && c.List[i].In(k) != set.Match(s) {
					t.Fatalf("%q: set %d: %v", s, k, set.Match(s))
				}
			}
		}
		for i, class := range c.List {
			check(class.Witness)
			if got, _ := c.Of(class.Witness); got != i {
				t.Fatalf("%q is of class %d, not %d", class.Witness, got, i)
			}
		}
		for range 20 {
			check("/" + texts("a", "b", "/", "x").Draw(t, "text"))
		}
	})
}
