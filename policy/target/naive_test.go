package target_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/internal/naive"
	"github.com/creel-run/creel/policy/target"
)

// Selectors agree with the naive reading, and so does the choice among them.
func TestSelectorAgreesWithNaive(t *testing.T) {
	pieces := []string{"a", "b", "/", "/", "*", "**", "?", "[ab]", "[!a]", "/**"}
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		var selectors []target.Selector
		for range rapid.IntRange(1, 3).Draw(t, "selectors") {
			text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 6).Draw(t, "selector"), "")
			if text != "" && text != "**" {
				text = "/" + text
			}
			s, err := target.ParseSelector(text)
			if err != nil {
				counts["refused"]++
				continue
			}
			if s.Specificity() != naive.Specificity(text) {
				t.Fatalf("%q: specificity %d, want %d", text, s.Specificity(), naive.Specificity(text))
			}
			texts, selectors = append(texts, text), append(selectors, s)
		}
		for range 10 {
			path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "/"}), 0, 6).Draw(t, "path"), "")
			for i, s := range selectors {
				want := naive.SelectorPath(texts[i], path)
				if s.Match(path) != want {
					t.Fatalf("%q takes %q: %v, want %v", texts[i], path, s.Match(path), want)
				}
				counts[map[bool]string{true: "taken", false: "not taken"}[want]]++
			}
			got, ok := target.Select(selectors, path)
			if want := naive.Choose(texts, path); want != got && (ok || want >= 0) {
				t.Fatalf("of %q for %q: %d %v, want %d", texts, path, got, ok, want)
			}
		}
	})
	t.Log(counts)
	if counts["taken"] == 0 || counts["not taken"] == 0 {
		t.Errorf("one outcome is missing: %v", counts)
	}
}

// Matchers of queries agree with the naive reading, as allow and as deny.
func TestMatchersAgreeWithNaive(t *testing.T) {
	globs := rapid.SampledFrom([]string{"a", "b", "a*", "*", "**", "*.b", "a.**", "{a,b}", "[!a]", "?", `\*`, "a.b"})
	values := rapid.SampledFrom([]string{"a", "b", "", "ab", "a.b", "a.", "*", "c", "x.a.b"})
	keys := rapid.SampledFrom([]string{"q", "k", "Q"})
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		written := rapid.MapOfN(keys, rapid.SliceOfN(globs, 1, 2), 0, 2).Draw(t, "matchers")
		params := rapid.MapOfN(keys, rapid.SliceOfN(values, 1, 3), 0, 3).Draw(t, "params")
		byKey := map[string]target.Matcher{}
		var rules []naive.Query
		for k, list := range written {
			m, err := target.ParseMatcher(list...)
			if err != nil {
				t.Fatal(err)
			}
			byKey[k] = m
			rules = append(rules, naive.Query{Key: k, Any: list})
		}
		ms := target.NewMatchers(byKey)
		if got, want := ms.Allows(params), naive.QueryAllows(rules, params); got != want {
			t.Fatalf("%q allows %q: %v, want %v", written, params, got, want)
		} else if want {
			counts["allows"]++
		}
		if got, want := ms.Denies(params), naive.QueryDenies(rules, params); got != want {
			t.Fatalf("%q denies %q: %v, want %v", written, params, got, want)
		} else if want {
			counts["denies"]++
		}
		counts["all"]++
	})
	t.Log(counts)
	if counts["allows"] == 0 || counts["denies"] == 0 || counts["allows"] == counts["all"] {
		t.Errorf("one outcome is missing: %v", counts)
	}
}

// A query decodes to the same values, or to an error, in both.
func TestDecodeQueryAgreesWithNaive(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"a", "=", "&", "+", "%41", "%2B", "%", "%zz", "%ff", "%C3%A9", "é", ";", "[]", "b"})
	rapid.Check(t, func(t *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(pieces, 0, 8).Draw(t, "query"), "")
		got, err := target.DecodeQuery(raw)
		want, werr := naive.DecodeQuery(raw)
		if err != nil && werr == nil {
			return // it may refuse more, see path_canonical and http_framing
		}
		if err == nil && werr != nil {
			t.Fatalf("%q is %q, want an error: %v", raw, got, werr)
		}
		if err == nil && !equal(got, want) {
			t.Fatalf("%q is %q, want %q", raw, got, want)
		}
	})
}

func equal(a, b map[string][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, list := range a {
		if strings.Join(list, "\x00") != strings.Join(b[k], "\x00") || len(list) != len(b[k]) {
			return false
		}
	}
	return true
}
