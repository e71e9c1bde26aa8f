package policy_test

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

const spliced = "version: 2\nnetwork_policies:\n  # the first\n  a: {endpoints: [{host: a.test, port: 1}], binaries: any}\n"

// The rest of a text stays, and the rule is part of the policy.
func TestSplice(t *testing.T) {
	rule := func(indent string) string {
		return indent + "new:\n" + indent + "  endpoints: [{host: new.test, port: 443}]\n" + indent + "  binaries: any\n"
	}
	tests := []struct {
		name, text string
		want       string // part of the result; "": refused
	}{
		{"block", spliced, "network_policies:\n  new:\n"},
		{"comment stays with its rule", spliced, "binaries: any\n  # the first\n  a:"},
		{"wide indentation", "version: 2\nnetwork_policies: # all\n      a: {endpoints: [{host: a.test, port: 1}], binaries: any}\n", "network_policies: # all\n      new:\n        endpoints"},
		{"no final line feed", strings.TrimSuffix(spliced, "\n"), "new:"},
		{"other sections behind it", "version: 2\nnetwork_policies:\n  a: {endpoints: [{host: a.test, port: 1}], binaries: any}\nlandlock:\n  compatibility: best_effort\n", "compatibility: best_effort\n"},
		{"absent", "version: 2\n# end\n", "# end\nnetwork_policies:\n  new:\n"},
		{"nothing", "version: 2\nnetwork_policies:\nlandlock: {}\n", "network_policies:\n  new:\n"},
		{"empty flow", "version: 2\nnetwork_policies: {} # none\n", "network_policies: # none\n  new:\n"},
		{"flow", "version: 2\nnetwork_policies: {a: {endpoints: [{host: a.test, port: 1}], binaries: any}}\n", ""},
		{"flow document", "{version: 2}", ""},
		{"no yaml", "a: [", ""},
		{"start of document", "---\nversion: 2\nnetwork_policies:\n", "network_policies:\n  new:\n"},
		{"anchor", "version: 2\nnetwork_policies: &n\n  a: {endpoints: [{host: a.test, port: 1}], binaries: any}\n", "network_policies: &n\n  new:\n"},
	}
	for _, tt := range tests {
		got, err := policy.Splice([]byte(tt.text), rule)
		if (err != nil) != (tt.want == "") || !strings.Contains(string(got), tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, got)
			continue
		}
		if err != nil {
			continue
		}
		doc, _, err := policy.Parse("p", got)
		if err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, got)
			continue
		}
		keys := ""
		for _, n := range doc.Networks {
			keys += n.Key + " "
		}
		if !strings.HasSuffix(keys, "new ") || strings.Contains(tt.text, "a.test") != strings.Contains(keys, "a ") {
			t.Errorf("%s: rules %s", tt.name, keys)
		}
	}
}
