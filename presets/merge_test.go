package presets

import (
	"errors"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

// Merging changes nothing but the new lines; NEW stands for them.
func TestMerge(t *testing.T) {
	rules := used(t, "telegram")
	for _, c := range []struct{ name, in, want string }{
		{"no section", "# mine\nversion: 2\nlandlock: {compatibility: hard_requirement}   # hard\n# end\n",
			"# mine\nversion: 2\nlandlock: {compatibility: hard_requirement}   # hard\n\nnetwork_policies:\nNEW2\n# end\n"},
		{"empty section with a comment", "version: 2\nnetwork_policies: {}  # none yet\n# end\n", "version: 2\nnetwork_policies:   # none yet\nNEW2\n# end\n"},
		{"empty section in between", "version: 2\nnetwork_policies:\n\nprocess: {}\n", "version: 2\nnetwork_policies:\nNEW2\n\nprocess: {}\n"},
		{"nothing in it", "version: 2\nnetwork_policies: ~\nprocess: {}\n", "version: 2\nnetwork_policies:\nNEW2\nprocess: {}\n"},
		{"behind the last rule, other indentation, no newline at the end", "network_policies:\n    a:   {binaries: any, endpoints: [{host: a.example, port: 1}]} # a\n    # about a\nversion: 2",
			"network_policies:\n    a:   {binaries: any, endpoints: [{host: a.example, port: 1}]} # a\n\nNEW4\n    # about a\nversion: 2\n"},
		{"rules without empty lines between them", "version: 2\nnetwork_policies:\n  a: {binaries: any}\n  b: {binaries: any}\n", "version: 2\nnetwork_policies:\n  a: {binaries: any}\n  b: {binaries: any}\nNEW2\n"},
		{"rules with them", "version: 2\nnetwork_policies:\n  a: {binaries: any}\n\n  # b\n  b: {binaries: any}\n", "version: 2\nnetwork_policies:\n  a: {binaries: any}\n\n  # b\n  b: {binaries: any}\n\nNEW2\n"},
		{"carriage returns", "version: 2\r\nnetwork_policies: {}\r\n", "version: 2\r\nnetwork_policies:\r\nNEW2\r\n"},
		{"end of document", "---\nversion: 2\n...\n", "---\nversion: 2\n\nnetwork_policies:\nNEW2\n...\n"},
		{"an indented document", "  version: 2\n  process: {}\n", "  version: 2\n  process: {}\n\n  network_policies:\nNEW4\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Merge("p.yaml", []byte(c.in), rules, policy.Parse)
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			for _, n := range []string{"2", "4"} {
				spaces := map[string]string{"2": "  ", "4": "    "}[n]
				want = strings.Replace(want, "NEW"+n, spaces+strings.ReplaceAll(strings.TrimRight(rules.Text, "\n"), "\n", "\n"+spaces), 1)
			}
			if strings.Contains(c.in, "\r\n") {
				want = strings.ReplaceAll(strings.ReplaceAll(want, "\r\n", "\n"), "\n", "\r\n")
			}
			if string(got) != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	rules := used(t, "telegram")
	for _, c := range []struct{ name, in, want string }{
		{"a name that is taken", "version: 2\nnetwork_policies:\n  telegram: {binaries: any}\n", "p.yaml:3:3: there is a rule telegram already"},
		{"version 1", "version: 1\n", "version: 1"},
		{"a fault", "version: 2\nnonsense: 1\n", "unknown key"},
		{"braces", "version: 2\nnetwork_policies: {a: {binaries: any}}\n", "within { }"},
		{"braces around all", "{version: 2}\n", "within { }"},
		{"rules that disagree", "version: 2\nnetwork_policies:\n  a: {binaries: any, endpoints: [{host: api.telegram.org, port: 443, tls: skip}]}\n", "would be faulty"},
		{"an alias", "version: 2\nnetwork_policies: &a\n  x: {binaries: any}\n", ""},
	} {
		out, err := Merge("p.yaml", []byte(c.in), rules, policy.Parse)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || out != nil {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	_, err := Merge("p.yaml", []byte("version: 2\nnetwork_policies:\n  a: {binaries: any, endpoints: [{host: api.telegram.org, port: 443, tls: skip}]}\n"), rules, policy.Parse)
	var faults policy.Faults
	if !errors.As(err, &faults) {
		t.Errorf("the faults are lost: %v", err)
	}
}

func FuzzMerge(f *testing.F) {
	p, err := Load("telegram")
	if err != nil {
		f.Fatal(err)
	}
	rules, err := p.Rules(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(policy.Default())
	f.Add("version: 2\nnetwork_policies:\n  a:\n    name: |-\n      x\n      # y\n    binaries: any\n")
	f.Add("network_policies: &x {}\nversion: 2\n")
	f.Add("? network_policies\n: {}\n? version\n: 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		out, err := Merge("p.yaml", []byte(text), rules, policy.Parse)
		if err != nil {
			return
		}
		doc, _, err := policy.Parse("p.yaml", out)
		if err != nil || len(doc.Networks) == 0 {
			t.Fatalf("%v\n%s", err, out)
		}
		// Whatever was there is still there, line by line.
		rest := string(out)
		for _, line := range strings.Fields(text) {
			if line == "{}" || line == "null" || line == "~" {
				continue
			}
			_, after, ok := strings.Cut(rest, line)
			if !ok {
				t.Fatalf("%q is lost:\n%s", line, out)
			}
			rest = after
		}
	})
}
