package analyse_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/glob"
)

// The classes of a difference, read as people read them, are what changed: a
// random request changes if and only if some class tells of it.
func TestClassesAreTheDifference(t *testing.T) {
	changed := 0
	rapid.Check(t, func(t *rapid.T) {
		a := drawDocument(t)
		b := mutate(t, a)
		d, err := analyse.Diff(a, b, time.Time{})
		if err != nil {
			t.Fatalf("%v", err)
		}
		x, y := compile(t, a), compile(t, b)
		named := namedHosts(a, b)
		all := slices.Concat(d.Allowed, d.Denied, d.Recorded)
		for range 30 {
			w := drawRequest(t)
			w.Ancestors = nil
			if strings.Contains(w.Path, "%2F") || strings.Contains(w.Path, "%00") {
				continue // patterns stand for plain paths; NUL is in no sentence
			}
			was, err1 := analyse.Judge(x, w)
			is, err2 := analyse.Judge(y, w)
			if err1 != nil || err2 != nil {
				t.Fatalf("%v %v", err1, err2)
			}
			told := false
			for _, c := range all {
				if c.Address || !coversPlace(t, c, w, named) {
					continue
				}
				same := (is > was) == (c.Is > c.Was)
				switch {
				case c.Traffic == w.Traffic:
					if w.Traffic == analyse.HTTP && !coversRequest(t, c, w) {
						continue
					}
					if was != c.Was || is != c.Is {
						t.Fatalf("%s: %s, then %s; but the class %+v", w, was, is, c)
					}
					told = true
				case w.Traffic == analyse.Connection:
					told = told || same
				case c.Traffic != analyse.Connection && c.Traffic != analyse.HTTP:
					told = told || same
				}
			}
			if was != is {
				changed++
				if !told {
					t.Fatalf("%s: %s, then %s; no class of %+v", w, was, is, all)
				}
			}
		}
	})
	if changed < 20 {
		t.Errorf("only %d requests changed", changed)
	}
}

func namedHosts(docs ...*policy.Document) (list []string) {
	for _, d := range docs {
		for _, n := range d.Networks {
			for _, e := range n.Endpoints {
				list = append(list, e.Host)
			}
		}
	}
	return list
}

// sentence reads "A that is also B but not C, D".
func sentence(text string, holds func(pattern string) bool) bool {
	with, without, cut := strings.Cut(text, " but not ")
	for p := range strings.SplitSeq(with, " that is also ") {
		if !holds(p) {
			return false
		}
	}
	if cut {
		for p := range strings.SplitSeq(without, ", ") {
			if holds(p) {
				return false
			}
		}
	}
	return true
}

func coversPlace(t fataler, c analyse.Class, w analyse.Witness, named []string) bool {
	h, err := netname.ParseHost(w.Host)
	if err != nil {
		t.Fatalf("%v", err)
	}
	isHost := func(p string) bool {
		if p == "" {
			return false
		}
		pattern, err := netname.ParsePattern(p)
		if err != nil {
			t.Fatalf("%q: %v", p, err)
		}
		return pattern.Match(h)
	}
	host := slices.ContainsFunc(c.Hosts, func(text string) bool {
		text, others := strings.CutSuffix(text, ", and is not of a model service")
		if others && slices.Contains(policy.ModelServices(), w.Host) {
			return false
		}
		switch text {
		case "every name that is not named":
			return !h.IsAddr() && !slices.ContainsFunc(named, isHost)
		case "every address that is not named":
			return h.IsAddr() && !slices.ContainsFunc(named, isHost)
		}
		return sentence(text, isHost)
	})
	caller := slices.ContainsFunc(c.Callers, func(text string) bool {
		text, sum, digest := strings.Cut(text, " with sha256 ")
		text, others, other := strings.Cut(text, " with a sha256 other than ")
		switch {
		case text == "any program":
			return true
		case text == "a program that is not known":
			return !w.Known
		case !w.Known, digest && w.SHA256 != sum, strings.Contains(text, " started by "):
			return false
		case other && w.SHA256 != "" && strings.Contains(others, w.SHA256):
			return false
		}
		return sentence(text, func(p string) bool {
			return p == "any known program" || p == w.Binary || strings.Contains(p, "*") && matches(p, w.Binary)
		})
	})
	return host && caller && slices.Contains(c.Ports, w.Port)
}

func coversRequest(t fataler, c analyse.Class, w analyse.Witness) bool {
	method := strings.ToUpper(w.Method)
	if c.Methods != nil && !slices.Contains(c.Methods, method) {
		but, every := strings.CutPrefix(c.Methods[0], "every method but ")
		if !every || slices.Contains(strings.Split(but, ", "), method) {
			return false
		}
	}
	path, raw, _ := strings.Cut(w.Path, "?")
	if c.Paths != nil && !slices.ContainsFunc(c.Paths, func(text string) bool {
		return sentence(text, func(p string) bool {
			return matches(p, path)
		})
	}) {
		return false
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c.Query == nil || slices.ContainsFunc(c.Query, func(text string) bool { return holdsQuery(t, text, values) })
}

func holdsQuery(t fataler, text string, values url.Values) bool {
	for key := range strings.SplitSeq(text, "; ") {
		for one := range strings.SplitSeq(key, ", ") {
			if name, absent := strings.CutSuffix(one, " is absent"); absent {
				if values[name] != nil {
					return false
				}
				continue
			}
			how, rest, _ := strings.Cut(one, " value of ")
			name, globs, _ := strings.Cut(rest, " is ")
			hits := 0
			for _, v := range values[name] {
				for g := range strings.SplitSeq(globs, " or ") {
					compiled, err := glob.Compile(g, '.')
					if err != nil {
						t.Fatalf("%q: %v", one, err)
					}
					if compiled.Match(v) {
						hits++
						break
					}
				}
			}
			all := len(values[name]) > 0 && hits == len(values[name])
			switch {
			case len(values[name]) == 0, how == "every" && !all, how == "some" && (hits == 0 || all), how == "no" && hits > 0:
				return false
			}
		}
	}
	return true
}
