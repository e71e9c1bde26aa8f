package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/target"
)

// layersOn writes the layers as 0.yaml, 1.yaml …, each of which extends the one
// before, and loads the last.
func layersOn(t *testing.T, layers ...string) (*policy.Engine, string, error) {
	t.Helper()
	dir := t.TempDir()
	file := ""
	for i, text := range layers {
		if i > 0 {
			text = "extends: [" + filepath.Base(file) + "]\n" + text
		}
		file = filepath.Join(dir, string(rune('0'+i))+".yaml")
		if err := os.WriteFile(file, []byte("version: 2\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	doc, _, err := policy.Load(file)
	if err != nil {
		return nil, file, err
	}
	e, err := policy.Compile(doc)
	return e, file, err
}

// What is suggested for a layer is taken by those above it, or says which of them
// would have to open what.
func TestSuggestInLayers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers []string
		key    string
		closed []string // files that are named, and no other
	}{
		{"one file", []string{""}, "allow_new_test_443", nil},
		{"all is open", []string{"open: [network_policies]\n", ""}, "allow_new_test_443", nil},
		{"some names are open", []string{"open: [resources.memory, 'network_policies.team_*']\n", ""}, "team_allow_new_test_443", nil},
		{"passed on", []string{"open: ['network_policies.*_team']\n", "", ""}, "allow_new_test_443_team", nil},
		{"narrowed", []string{"open: [network_policies]\n", "open: ['network_policies.b_**']\n", ""}, "b_allow_new_test_443", nil},
		{"nothing is open", []string{"", ""}, "allow_new_test_443", []string{"0.yaml"}},
		{"closed between", []string{"open: [network_policies]\n", "open: []\n", ""}, "allow_new_test_443", []string{"1.yaml"}},
		{"closed twice", []string{"open: [resources]\n", "open: []\n", ""}, "allow_new_test_443", []string{"0.yaml", "1.yaml"}},
		{"one name is open", []string{"open: [network_policies.team]\n", ""}, "allow_new_test_443", []string{"0.yaml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, file, err := layersOn(t, tt.layers...)
			if err != nil {
				t.Fatal(err)
			}
			lines := e.Suggest(to("new.test", 443), "", "")
			if !strings.Contains(lines, "\n  "+tt.key+":\n") {
				t.Errorf("suggests\n%s", lines)
			}
			for _, layer := range []string{"0.yaml", "1.yaml", "2.yaml"} {
				named := strings.Contains(lines, "/"+layer)
				wanted := false
				for _, c := range tt.closed {
					wanted = wanted || c == layer
				}
				if named != wanted {
					t.Errorf("%s is named: %v\n%s", layer, named, lines)
				}
			}
			if tt.closed != nil && !strings.Contains(lines, "would have to say open: [network_policies."+tt.key+"]") {
				t.Errorf("no line for open:\n%s", lines)
			}
			// Taken or refused as it says.
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			doc, _, err := policy.ParseLayers(file, append(text, lines...), policy.Beside(policy.ReadFile))
			if (err == nil) != (tt.closed == nil) {
				t.Errorf("with the lines: %v", err)
			}
			if err == nil {
				e, err := policy.Compile(doc)
				if err != nil || e.Connect(to("new.test", 443)).Verdict != policy.Allow {
					t.Errorf("the lines do not allow it: %v", err)
				}
			}
			for _, c := range tt.closed {
				if !strings.Contains(err.Error(), c+" ") {
					t.Errorf("%s is not named: %v", c, err)
				}
			}
		})
	}
}

// An endpoint of a layer between belongs to it, and those above it have to open
// its name for more.
func TestSuggestIntoLayer(t *testing.T) {
	const git = "network_policies:\n  code:\n    endpoints:\n      - {host: git.test, port: 443, protocol: git, rules: [{allow: {operation: fetch, repository: %}}]}\n    binaries: any\n"
	e, _, err := layersOn(t, strings.ReplaceAll(git, "%", "'**'"), strings.ReplaceAll(git, "%", "'**'"), "")
	if err != nil {
		t.Fatal(err)
	}
	x := e.Explain(to("git.test", 443), gitPush("team/app"))
	if !strings.Contains(x.Suggestion, "1.yaml:6:9:\n") || !strings.Contains(x.Suggestion, "0.yaml would have to say open: [network_policies.code]\n") {
		t.Errorf("suggests\n%s", x.Suggestion)
	}
	// In the top layer nothing is in the way.
	if e, _, err = layersOn(t, strings.ReplaceAll(git, "%", "'**'"), ""); err != nil {
		t.Fatal(err)
	}
	x = e.Explain(to("git.test", 443), gitPush("team/app"))
	if !strings.Contains(x.Suggestion, "0.yaml:5:9:\n") || strings.Contains(x.Suggestion, "open:") {
		t.Errorf("suggests\n%s", x.Suggestion)
	}
}

// A file that a layer leads back to is one file, whatever name it goes by.
func TestLayersInACircle(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{"a.yaml": "version: 2\nextends: [b.yaml]\nfoo: 1\n", "b.yaml": "version: 2\nextends: [a.yaml]\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := policy.Load("a.yaml")
	faults, ok := err.(policy.Faults)
	if !ok || len(faults) != 2 || strings.Count(err.Error(), "unknown key") != 1 || !strings.Contains(err.Error(), "extends itself: a.yaml → ") {
		t.Errorf("%d faults: %v", len(faults), err)
	}
}

// What follows from a wrong version is no fault of its own; what is wrong in both
// languages is told.
func TestFaultsBesideTheVersion(t *testing.T) {
	const rest = "unmatched: ask\nnetwork_policies: {a: {endpoints: [{host: a.test, port: 443, protocol: git, rules: [{allow: {operation: fetch, repository: '**'}}]}], binaries: any}}\n"
	for _, tt := range []struct {
		name, text string
		want       []string // of the faults, in order
	}{
		{"quoted", "version: \"2\"\n" + rest, []string{"version: found the text"}},
		{"quoted, and a typo", "version: '2'\n" + rest + "foo: 1\n", []string{"version: found the text", "foo: unknown"}},
		{"absent", rest, []string{"version: missing"}},
		{"unknown", "version: 7\n" + rest + "foo: 1\n", []string{"version: found \"7\"", "foo: unknown"}},
		{"a word of 1 alone", "version: x\nnetwork_policies: {a: {endpoints: [{host: a.test, port: 443}], binaries: []}}\n", []string{"version: found the text"}},
		{"right", "version: 1\n" + rest, []string{"unmatched: unknown key", "protocol: found", "binaries: found"}},
	} {
		_, warns, err := policy.Parse("p", []byte(tt.text))
		faults, _ := err.(policy.Faults)
		if len(faults) != len(tt.want) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(faults[i].Error(), want) {
				t.Errorf("%s: %v, want %s", tt.name, faults[i], want)
			}
		}
		if tt.name == "absent" && (len(warns) > 0 || faults[0].Hint == "") {
			t.Errorf("%s: warnings %v, hint %q", tt.name, warns, faults[0].Hint)
		}
	}
}

// to is a connection by a program that is not known.
func to(name string, port uint16) policy.Connection {
	host, err := netname.ParseHost(name)
	if err != nil {
		panic(err)
	}
	return policy.Connection{Host: host, Port: port}
}

// gitPush is a push to the branch x of a repository.
func gitPush(repository string) *policy.Request {
	return &policy.Request{Method: "POST", Target: target.Target{Path: "/" + repository + "/git-receive-pack"},
		Git: &git.Request{Repository: repository, Push: true, Updates: []git.Update{{Ref: "refs/heads/x"}}}}
}

// What a layer took back is suggested below another name, and taken by the layer
// below it if the one above allows it.
func TestSuggestWhatWasTakenBack(t *testing.T) {
	const rule = "network_policies:\n  api:\n    endpoints: [{host: a.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: %}}]}]\n    binaries: any\n"
	wide, narrow := strings.ReplaceAll(rule, "%", "/**"), strings.ReplaceAll(rule, "%", "/v1/**")
	e, file, err := layersOn(t, wide, narrow)
	if err != nil {
		t.Fatal(err)
	}
	r := policy.Request{Method: "GET", Target: target.Target{Path: "/v2/x"}}
	x := e.Explain(to("a.test", 443), &r)
	if x.Verdict != policy.Deny || !strings.Contains(x.Suggestion, "# unless a layer above allows it itself: ") {
		t.Fatalf("%v, suggests\n%s", x.Verdict, x.Suggestion)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := policy.ParseLayers(file, append(text, strings.TrimPrefix(x.Suggestion, "network_policies:\n")...), policy.Beside(policy.ReadFile))
	if err != nil {
		t.Fatal(err)
	}
	if e, err = policy.Compile(doc); err != nil {
		t.Fatal(err)
	}
	r.Connection = to("a.test", 443)
	if d := e.Request(r); d.Verdict != policy.Allow {
		t.Errorf("with the lines: %v", d)
	}
}
