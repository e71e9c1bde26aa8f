package automaton_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/glob"
)

// sets are automata of random globs, with the globs.
func sets(t *rapid.T, label string, most int, parts ...string) (list []*automaton.Automaton, by []glob.Glob) {
	for range rapid.IntRange(1, most).Draw(t, label) {
		g, err := glob.Compile(patterns(parts...).Draw(t, label), '/')
		if err != nil {
			t.Skip(err)
		}
		a, err := automaton.Glob(g)
		if err != nil {
			t.Fatal(err)
		}
		list, by = append(list, a), append(by, g)
	}
	return list, by
}

// follows reports whether a text is one of each glob's, one after the other.
func follows(text string, by []glob.Glob) bool {
	if len(by) == 0 {
		return text == ""
	}
	for i := 0; i <= len(text); i++ {
		if by[0].Match(text[:i]) && follows(text[i:], by[1:]) {
			return true
		}
	}
	return false
}

func TestConcatIsOneAfterTheOther(t *testing.T) {
	in := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		list, by := sets(t, "part", 3, "a", "b", "/", "*", "**", "?", "[ab]", "{a,b}", "/**")
		all, err := automaton.Concat(list...)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			s := texts("a", "b", "/", "c").Draw(t, "text")
			want := follows(s, by)
			if in[want]++; all.Match(s) != want {
				t.Fatalf("%s: %q: %v, want %v", by, s, !want, want)
			}
		}
	})
	if in[true] == 0 || in[false] == 0 {
		t.Errorf("%v", in)
	}
}

// words are all texts of some letters up to a length.
func words(letters string, most int) []string {
	list := []string{""}
	for from := 0; most > 0; most-- {
		to := len(list)
		for _, w := range list[from:to] {
			for _, c := range letters {
				list = append(list, w+string(c))
			}
		}
		from = to
	}
	return list
}

// cut is a text with a slash behind every n bytes; false: it is not that long.
func cut(text string, n int) (string, bool) {
	if n == 0 {
		return text, true
	}
	var b strings.Builder
	for ; len(text) >= n; text = text[n:] {
		b.WriteString(text[:n] + "/")
	}
	return b.String(), text == ""
}

// chained are short texts of a chain, each with the classes of its parts.
func chained(ch automaton.Chain, within []string) map[string][][]int {
	type partly struct {
		text string
		of   []int
	}
	list := []partly{{}}
	for _, p := range ch.Parts {
		var next []partly
		for _, one := range list {
			for _, w := range within {
				if class, ok := p.Of(w); ok {
					next = append(next, partly{one.text + w, append(slices.Clone(one.of), class)})
				}
			}
		}
		list = next
	}
	out := map[string][][]int{}
	for _, one := range list {
		text := one.text
		parts := strings.Split(text, "\x00")
		if !ch.Twice && len(parts) != 1 || ch.Twice && len(parts) != 3 {
			continue
		}
		if ch.Twice {
			first, ok := cut(parts[1], ch.Cut)
			if !ok {
				continue
			}
			text = parts[0] + first + ch.Between + parts[1] + parts[2]
		}
		out[text] = append(out[text], one.of)
	}
	return out
}

// What is listed is what short texts have; and what is listed is had.
func TestChainedIsWhatTextsHave(t *testing.T) {
	plain, marked := words("ab", 2), words("ab\x00", 3)
	found, tried := map[bool]int{}, map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		ch := automaton.Chain{Twice: rapid.Bool().Draw(t, "twice")}
		if ch.Twice {
			ch.Cut, ch.Between = rapid.IntRange(0, 2).Draw(t, "cut"), rapid.SampledFrom([]string{"", "-", "/"}).Draw(t, "between")
		}
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			list, _ := sets(t, "of a part", 3, "a", "b", "*", "?", "[ab]", "\x00", "\x00*", "*\x00", "{\x00,a}")
			of, err := automaton.And(list[0], automaton.OnlyOf("ab\x00"))
			if err != nil {
				t.Fatal(err)
			}
			c, err := automaton.Classify(of, list[1:])
			if err != nil {
				t.Fatal(err)
			}
			ch.Parts = append(ch.Parts, c)
		}
		list, _ := sets(t, "set", 3, "a", "b", "*", "**", "?", "-", "*", "/", "[ab]", "/**", "*-*")
		c, err := automaton.Classify(automaton.Without("\x00"), list)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := c.Chained(ch)
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, one := range got {
			has[fmt.Sprint(one.Class, one.Parts)] = true
			if class, ok := c.Of(one.Text); !ok || class != one.Class {
				t.Fatalf("%q is in class %d, want %d", one.Text, class, one.Class)
			}
			if len(one.Text) <= map[bool]int{false: 2, true: 1}[ch.Twice] { // with its marks not longer than what is tried
				if of := chained(ch, marked)[one.Text]; !slices.ContainsFunc(of, func(list []int) bool { return slices.Equal(list, one.Parts) }) {
					t.Fatalf("%q is of %v, want one of %v", one.Text, one.Parts, of)
				}
				found[ch.Twice]++
			}
		}
		within := plain
		if ch.Twice {
			within = marked
		}
		for text, of := range chained(ch, within) {
			for _, list := range of {
				if class, _ := c.Of(text); !has[fmt.Sprint(class, list)] {
					t.Fatalf("%q of %v is not listed", text, list)
				}
				tried[ch.Twice]++
			}
		}
	})
	for _, twice := range []bool{false, true} {
		if found[twice] == 0 || tried[twice] == 0 {
			t.Errorf("twice %v: %d found, %d tried", twice, found[twice], tried[twice])
		}
	}
}
