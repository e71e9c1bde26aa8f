package target

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy/glob"
)

func TestParseReasons(t *testing.T) {
	for target, want := range map[string]Reason{
		"*":                         Malformed,
		"a/b":                       Malformed,
		"host:443":                  Malformed,
		"://x/a":                    Malformed,
		"http:///a":                 Malformed,
		"http://h st/a":             Malformed,
		"http://u@h/a":              Userinfo,
		"/a%2fb":                    EncodedSlash,
		"/a%00":                     ControlByte,
		"/a%7f":                     ControlByte,
		"/a%":                       BadPercent,
		"/a%2":                      BadPercent,
		"/a?x=%":                    BadPercent,
		"/a?x=%ff":                  NotUTF8,
		"/a?x y":                    Space,
		"/é":                        NonASCII,
		"/a#":                       Fragment,
		"/%2e%2e":                   AboveRoot,
		"/a/..;x/..":                AboveRoot,
		"/p/..%5c..%5cs":            HiddenDots,
		`/p/x\..\s`:                 HiddenDots,
		"/" + long(MaxPath):         TooLong,
		"/" + longOf("|", 2000):     TooLong, // in canonical form
		"/?" + long(MaxQuery+1):     TooLong,
		"http://h/" + long(MaxPath): TooLong,
	} {
		_, err := Parse(target, false)
		var e *Error
		if !errors.As(err, &e) || e.Reason != want {
			t.Errorf("%.40q: %v, want %q", target, err, want)
		}
	}
}

func long(n int) string             { return longOf("a", n) }
func longOf(s string, n int) string { return strings.Repeat(s, n) }

func TestParseForms(t *testing.T) {
	for in, want := range map[string]string{
		"": "/", "?": "/?", "?a": "/?a", "/a?": "/a?", "/a b": "/a%20b", "/a/;x": "/a/", "/;x/a": "/a", "/a/.": "/a/", "/a/b/../": "/a/",
		"/%61": "/a", "/a%2ab": "/a*b", "/%e2%82%ac": "/%E2%82%AC", "/%25": "/%25", "ftp://h/x/../y": "/y", "http://[2001:db8::1]:80": "/",
	} {
		got, err := Parse(in, false)
		if err != nil || got.String() != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	got, err := Parse("/a?b=1&b=2&c", false)
	want := map[string][]string{"b": {"1", "2"}, "c": {""}}
	if err != nil || !reflect.DeepEqual(got.Query, want) {
		t.Errorf("query %v %v, want %v", got.Query, err, want)
	}
}

func TestSelector(t *testing.T) {
	for _, c := range []struct {
		selector   string
		match, not string
	}{
		{"/v1/**", "/v1 /v1/ /v1/a/b", "/v10 /v2 /"},
		{"/v1/*/**", "/v1/a /v1/a/b/c", "/v1 /v2/a"},
		{"/**/x/**", "/x /a/x /a/x/b", "/ /y"},
		{"/a/*", "/a/b /a/", "/a /a/b/c"},
		{"/a/[!b]", "/a/c", "/a/b"},
		{"", "/ /a/b", ""},
		{"/**", "/ /a/b", ""},
	} {
		s, err := ParseSelector(c.selector)
		if err != nil {
			t.Errorf("%s: %v", c.selector, err)
			continue
		}
		any := func(path string) bool {
			for _, g := range s.Globs() {
				if g.Match(path) {
					return true
				}
			}
			return false
		}
		for _, path := range strings.Fields(c.match) {
			if !s.Match(path) || !any(path) {
				t.Errorf("%q does not take %s", c.selector, path)
			}
		}
		for _, path := range strings.Fields(c.not) {
			if s.Match(path) || any(path) {
				t.Errorf("%q takes %s", c.selector, path)
			}
		}
	}
	for _, s := range []string{"a", "*", "/a**", "/**a/b", "/{a,b}", "/[", `/a\*`, "/[^a]", "/***"} {
		if got, err := ParseSelector(s); err == nil || got.Match("/a") {
			t.Errorf("%q is accepted", s)
		}
	}
	if (Selector{}).Match("/") || (Selector{}).Globs() != nil {
		t.Error("the zero selector matches")
	}
	if _, ok := Select(nil, "/"); ok {
		t.Error("nothing selects something")
	}
}

func TestMatchers(t *testing.T) {
	for _, globs := range [][]string{{}, {""}, {"["}, make([]string, maxGlobs+1)} {
		if m, err := ParseMatcher(globs...); err == nil || m.Match("") {
			t.Errorf("%.10q is accepted", globs)
		}
	}
	m, err := ParseMatcher("a*", "b")
	if err != nil {
		t.Fatal(err)
	}
	ms := NewMatchers(map[string]Matcher{"k": m})
	nul := map[string][]string{"k": {"a\x00"}}
	if ms.Allows(nul) || !ms.Denies(nul) {
		t.Error("a value with NUL is judged")
	}
	if !ms.Allows(map[string][]string{"k": {"ab", "b"}, "other": {"x"}}) || ms.Allows(map[string][]string{"k": {"ab", "x"}}) {
		t.Error("allow: all values must match")
	}
	if (Matcher{}).Match("") {
		t.Error("the zero matcher matches")
	}
}

func TestNeverCanonical(t *testing.T) {
	for _, p := range []string{"a", "*", "/a b", "/%7Eme", "/caf%c3%a9", "/a//b", "/a/../b", "/a;x", "/é", "/a%zz", "/a%2"} {
		if NeverCanonical(p) == "" {
			t.Errorf("%q passes", p)
		}
	}
	for _, p := range []string{"**", "/**", "**/x", "/a/*", "/a%20b", "/x%2Fy", "/@me/~x", "/[ab]", "{/a,/b}", "/caf%C3%A9", "/a+b"} {
		if why := NeverCanonical(p); why != "" {
			t.Errorf("%q: %s", p, why)
		}
	}
}

// What the fuzzer checks of every accepted target: the form that was judged is
// the form that is sent, and reading that again changes nothing.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"/a/../b", "/a%2f..%2Fb", "/a;x/./b//", "http://h/a?x=%41", "/%25%32%65", "/?", "", `/\..\a`, "/..;/a", "/%EF%BC%8E"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	all, err := glob.Compile("/**", '/')
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string, allow bool) {
		got, err := Parse(s, allow)
		if err != nil {
			if !reflect.DeepEqual(got, Target{}) {
				t.Fatalf("%q: an error and a target", s)
			}
			return
		}
		again, err := Parse(got.String(), allow)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%q: %q becomes %q, %v", s, got, again, err)
		}
		if !all.Match(got.Path) || strings.Contains(got.Path, "//") || strings.ContainsAny(got.Path, "; \\?#") {
			t.Fatalf("%q: path %q", s, got.Path)
		}
		for segment := range strings.SplitSeq(strings.ReplaceAll(got.Path, "%2F", "/"), "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("%q: dot segment in %q", s, got.Path)
			}
		}
		if !allow && strings.Contains(got.Path, "%2F") {
			t.Fatalf("%q: encoded slash in %q", s, got.Path)
		}
		for i := range len(got.Path) {
			if c := got.Path[i]; c <= ' ' || c >= 0x7f {
				t.Fatalf("%q: byte %#x in path", s, c)
			}
		}
	})
}

func FuzzSelector(f *testing.F) {
	f.Add("/v1/**", "/v1")
	f.Add("/a/*/b", "/a/x/b")
	f.Fuzz(func(t *testing.T, selector, path string) {
		s, err := ParseSelector(selector)
		if err != nil && s.Match(path) {
			t.Fatalf("refused %q takes %q", selector, path)
		}
		if err == nil && s.Specificity() > len(selector) {
			t.Fatalf("%q: specificity %d", selector, s.Specificity())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []string{"/repos/owner/name/issues/1234", "/repos/owner/n%20me/../issues?state=open&page=2"} {
		b.Run(s[:12], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Parse(s, false)
			}
		})
	}
}
