package policy

import (
	"strings"
	"testing"
)

// TestUnreadable: what is no text is named where it stands.
func TestUnreadable(t *testing.T) {
	for text, want := range map[string]string{
		"version: 2\n# \xff\n":                          "p.yaml:2:3: bytes that are not UTF-8, want UTF-8 text",
		"version: 2\n# é\x00\n":                         "p.yaml:2:4: control characters are not allowed",
		"version: 2\n# \u0080\n":                        "p.yaml:2:3: control characters are not allowed",
		"\xff\xfev\x00e\x00":                            "p.yaml:1:1: bytes that are not UTF-8, want UTF-8 text\n  hint: it looks like UTF-16: iconv -f UTF-16 -t UTF-8",
		"\xfe\xff\x00v\x00e":                            "hint: it looks like UTF-16",
		"version: 2\nnetwork_policies: " + ruleOfDenial: "rules[0].deny: unknown key \"deny\" of a rule\n  hint: write it without deny: into deny_rules of the endpoint",
	} {
		if _, _, err := Parse("p.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

const ruleOfDenial = "{a: {endpoints: [{host: a.test, port: 1, protocol: rest, rules: [{deny: {method: GET, path: /x}}]}], binaries: any}}\n"
