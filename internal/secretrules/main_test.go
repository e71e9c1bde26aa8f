package main

import (
	"bytes"
	"os"
	"regexp/syntax"
	"slices"
	"testing"
)

// TestGenerated: the table is what the generator writes from the rules.
func TestGenerated(t *testing.T) {
	have, err := os.ReadFile("../../middleware/secrets/rules_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := download(); err != nil {
		t.Skip("the rules are not here, and cannot be fetched: ", err)
	}
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("middleware/secrets/rules_gen.go is not what the generator writes; run: make secret-rules")
	}
}

func TestAnalyse(t *testing.T) {
	for _, tt := range []struct {
		regex string
		want  []string
	}{
		{`\b((?:A3T[A-Z0-9]|AKIA|ASIA)[A-Z2-7]{16})\b`, []string{"a3t", "akia", "asia"}},
		{`gh[ous]_[0-9a-z]{36}`, []string{"gho_", "ghs_", "ghu_"}},
		{`(?i)(?:key|passw(?:or)?d)\s*=`, []string{"key", "passwd", "password"}},
		{`[0-9a-f]{40}`, nil},
		{`(?:abc)?[0-9]+`, nil},
		{`(?:abc)+x|abcd*`, []string{"abc"}},
		{`a.b`, nil}, // too short to tell anything
	} {
		re, err := syntax.Parse(tt.regex, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if got := core(literals(re).least()); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.regex, got, tt.want)
		}
	}
	for regex, want := range map[string]shape{
		`ab[0-9]{3,5}`:    {bytes: 7},
		`(?:a|bcd){2}x?`:  {bytes: 7},
		`[a-z]{3,}=\S*`:   {bytes: 4, runs: 2, space: true},
		`(?s)a.*b`:        {bytes: 2, runs: 1, space: true, line: true},
		`(?:x+y){2}\d{0}`: {bytes: 2, runs: 2},
	} {
		re, err := syntax.Parse(regex, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if got := measure(re); got != want {
			t.Errorf("%s: %+v, want %+v", regex, got, want)
		}
	}
	f, err := analyse(lead+`(?:acme)`+operator+`([a-f0-9]{32})`+ending, []string{"acme"})
	if err != nil || f.value != 32 || f.reach == 0 || f.before != 4 || f.chars != "09AFaf" || f.gate != nil || f.regex[:9] != "(?i)(?:ac" {
		t.Errorf("%+v, %v", f, err)
	}
}
