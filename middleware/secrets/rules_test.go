package secrets

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/middleware"
)

// naive is what the rules mean: every expression over the whole text.
func naive(text []byte, only int) []middleware.Finding {
	var out []middleware.Finding
	lower := strings.ToLower(string(text))
	for i := range table {
		r := &table[i]
		if only >= 0 && i != only {
			continue
		}
		closed := slices.ContainsFunc(r.gate, func(set []string) bool {
			return !slices.ContainsFunc(set, func(w string) bool { return strings.Contains(lower, w) })
		})
		if closed {
			continue
		}
		p := compiled(r)
		for _, m := range p.regex.FindAllSubmatchIndex(text, -1) {
			if from, to, ok := r.secret(p, text, 0, m); ok {
				out = append(out, middleware.Finding{Rule: prefix + r.id, From: from, To: to})
			}
		}
	}
	return out
}

func find(t interface{ Fatal(...any) }, text string, known ...Known) []middleware.Finding {
	s, err := NewScanner(known...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Find(context.Background(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// covered reports whether one of list has the rule and all bytes of f.
func covered(list []middleware.Finding, f middleware.Finding) bool {
	return slices.ContainsFunc(list, func(x middleware.Finding) bool {
		return x.Rule == f.Rule && x.From <= f.From && f.To <= x.To
	})
}

// sample draws a text that a rule takes for a secret, never written down
// anywhere: tests hold no secrets.
func sample(r *rule, seed int) (string, bool) {
	gen, p := drawn(r), compiled(r)
	for i := range 60 {
		text := gen.Example(seed*1000 + i)
		// In letters of any size, the expressions take two that are not ASCII, for k
		// and s; no service does.
		if text = strings.NewReplacer("\u017f", "s", "\u212a", "k").Replace(text); strings.ContainsFunc(text, func(r rune) bool { return r > 0x7e }) {
			continue
		}
		for _, set := range r.gate {
			if !slices.ContainsFunc(set, func(w string) bool { return strings.Contains(strings.ToLower(text), w) }) {
				text = set[0] + "\n" + text
			}
		}
		if m := p.regex.FindStringSubmatchIndex(text); m != nil {
			if _, _, ok := r.secret(p, []byte(text), 0, m); ok {
				return text, true
			}
		}
	}
	return "", false
}

// compiled and drawn keep what costs the most.
func compiled(r *rule) *program {
	p, ok := programs[r.id]
	if !ok {
		p = r.compile()
		programs[r.id] = p
	}
	return p
}

func drawn(r *rule) *rapid.Generator[string] {
	g, ok := generators[r.id]
	if !ok {
		g = rapid.StringMatching(ascii(r.regex))
		generators[r.id] = g
	}
	return g
}

var programs, generators = map[string]*program{}, map[string]*rapid.Generator[string]{}

// ascii keeps what rapid draws to characters of texts.
func ascii(regex string) string {
	return strings.NewReplacer(`[\s\S-]`, `[A-Za-z0-9+/\n]`, `(?:.*?|.*?(?:[\r\n]{1,2}.*?){1,5})`, ` -s`, `.*?`, ` `).Replace(regex)
}

// TestEveryRule: a match of every rule is found, wherever it stands in a text.
func TestEveryRule(t *testing.T) {
	n := 0
	for i := range table {
		r := &table[i]
		for seed := range 4 {
			text, ok := sample(r, seed)
			if !ok {
				continue
			}
			n++
			filler := strings.Repeat("ordinary words of a text, and more of them.\n", 40*seed)
			whole := filler + text + "\n" + filler
			want := naive([]byte(whole), i)
			if len(want) == 0 {
				continue // a boundary that the text around it takes away
			}
			have := find(t, whole)
			for _, w := range want {
				if !covered(have, w) {
					t.Errorf("%s: %q at %d to %d is not among %v", r.id, whole[w.From:w.To], w.From, w.To, have)
				}
			}
		}
	}
	if n < 3*len(table) {
		t.Errorf("only %d secrets were drawn for %d rules", n, len(table))
	}
}

// TestAsNaive: in texts with many secrets and pieces of them side by side, all
// that the expressions find alone is found.
func TestAsNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	joints := []string{" ", "\n", `"`, `","`, "=", ": ", "&", ";", "-", "", "'", "x", ".", "\\n", "\t"}
	for round := range 60 {
		var b bytes.Buffer
		for range 1 + rng.IntN(12) {
			r := &table[rng.IntN(len(table))]
			text, _ := sample(r, rng.IntN(50))
			switch rng.IntN(4) {
			case 0:
				text = text[:rng.IntN(len(text)+1)]
			case 1:
				w := append(r.need, "key", "token=", "BEGIN")
				text = w[rng.IntN(len(w))]
			}
			b.WriteString(text)
			b.WriteString(joints[rng.IntN(len(joints))])
		}
		have := find(t, b.String())
		for _, w := range naive(b.Bytes(), -1) {
			if !covered(have, w) {
				t.Fatalf("round %d: %s at %d to %d is not among %v in\n%q", round, w.Rule, w.From, w.To, have, b.String())
			}
		}
	}
}

// TestTable: what the generator worked out holds for texts that it did not see.
func TestTable(t *testing.T) {
	if len(table) < 200 {
		t.Fatalf("only %d rules", len(table))
	}
	ids := map[string]bool{}
	for i := range table {
		r := &table[i]
		if ids[r.id] || r.bytes <= 0 || r.need == nil && (r.gate == nil || r.solid < minScattered) {
			t.Errorf("%s: stands twice, or nothing bounds it: %+v", r.id, r)
		}
		ids[r.id] = true
		if _, err := regexp.Compile(r.regex); err != nil {
			t.Error(err)
		}
		for seed := range 8 {
			text, ok := sample(r, 100+seed)
			if !ok {
				continue
			}
			m := compiled(r).regex.FindString(text)
			if r.need != nil && !slices.ContainsFunc(r.need, func(n string) bool { return strings.Contains(strings.ToLower(m), n) }) {
				t.Errorf("%s: %q has none of %q", r.id, m, r.need)
			}
			if r.runs == 0 && len(m) > r.bytes {
				t.Errorf("%s: %q has more than %d bytes", r.id, m, r.bytes)
			}
		}
	}
	if got := fmt.Sprint(len(theCatalogue().loose)); got != "2" {
		t.Errorf("%s rules have no text to look for", got)
	}
}
