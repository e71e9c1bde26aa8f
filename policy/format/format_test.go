package format_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/format"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The archives hold pairs: NAME.in is a policy, NAME.out its canonical form.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(archive.Files); i += 2 {
			in, out := archive.Files[i], &archive.Files[i+1]
			name := strings.TrimSuffix(in.Name, ".in")
			if out.Name != name+".out" {
				t.Fatalf("%s: %s has no .out", file, in.Name)
			}
			got, err := format.File(in.Name, in.Data, policy.Parse)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if diff := cmp.Diff(string(out.Data), string(got)); diff != "" && !*update {
				t.Errorf("%s: -want +got:\n%s", name, diff)
			}
			out.Data = got
			if again, err := format.File(in.Name, got, policy.Parse); err != nil || !bytes.Equal(got, again) {
				t.Errorf("%s: not settled: %v\n%s", name, err, cmp.Diff(string(got), string(again)))
			}
		}
		if *update {
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Every policy that the tests of the language have is written so that it means
// the same, keeps its comments, and does not change a second time.
func TestCorpus(t *testing.T) {
	texts := map[string][]byte{"default.yaml": []byte(policy.Default())}
	for _, pattern := range []string{"../testdata/corpus/*/*.yaml", "../../agents/*/*.yaml", "../../demo/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if texts[f], err = os.ReadFile(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden, err := filepath.Glob("../testdata/golden/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range golden {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			texts[filepath.Base(file)+"/"+f.Name] = f.Data
		}
	}
	done := 0
	for name, text := range texts {
		if _, _, err := policy.Parse(name, text); err != nil {
			// A preset of others has no version; with one it may be a policy.
			text = append([]byte("version: 1\n"), text...)
			text = cutPreset(text)
			if _, _, err := policy.Parse(name, text); err != nil {
				continue
			}
		}
		done++
		checkFormat(t, name, text)
	}
	if done < 40 {
		t.Errorf("only %d policies: the test has lost its input", done)
	}
	t.Logf("%d policies", done)
}

// cutPreset takes the section preset out, which is none of the language.
func cutPreset(text []byte) []byte {
	var out []string
	inside := false
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			inside = strings.HasPrefix(line, "preset:")
		}
		if !inside {
			out = append(out, line)
		}
	}
	return []byte(strings.Join(out, ""))
}

func checkFormat(t *testing.T, name string, text []byte) {
	t.Helper()
	out, err := format.File(name, text, policy.Parse)
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, text)
		return
	}
	before, _, err := policy.Parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := policy.Parse(name, out)
	if err != nil || !format.Same(before, after) {
		t.Errorf("%s: means something else: %v\n%s", name, err, out)
	}
	if !strings.HasPrefix(uncommented(out), "version:") {
		t.Errorf("%s: the version is not first:\n%s", name, out)
	}
	again, err := format.File(name, out, policy.Parse)
	if err != nil || !bytes.Equal(out, again) {
		t.Errorf("%s: not settled: %v\n%s", name, err, cmp.Diff(string(out), string(again)))
	}
}

func uncommented(text []byte) string {
	var out []string
	for line := range strings.Lines(string(text)) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed != "---" && trimmed[0] != '#' {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestFaultsAreGiven(t *testing.T) {
	_, err := format.File("p.yaml", []byte("version: 2\nnonsense: 1\n"), policy.Parse)
	var faults policy.Faults
	if !errors.As(err, &faults) || len(faults) != 1 || faults[0].At.Line != 2 {
		t.Errorf("got %v", err)
	}
}

func TestSame(t *testing.T) {
	parse := func(text string) *policy.Document {
		doc, _, err := policy.Parse("p.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	const rule = "version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /x}}]}]}}\n"
	one := parse(rule)
	for _, c := range []struct {
		text string
		same bool
	}{
		{rule, true},
		{"# moved\n\n" + rule, true},
		{strings.Replace(rule, "/x", "/y", 1), false},
		{strings.Replace(rule, "a.test", "b.test", 1), false},
		{strings.Replace(rule, "443", "444", 1), false},
		{strings.Replace(rule, "port: 443", "port: 443, allowed_ips: [10.0.0.1]", 1), false},
		{strings.Replace(rule, "binaries: any", "binaries: [/usr/bin/curl]", 1), false},
		{strings.Replace(rule, "GET", "POST", 1), false},
		{rule + "landlock: {compatibility: best_effort}\n", false},
		{rule + "inference: {backend: 'http://m.test'}\n", false},
		{"version: 2\n", false},
	} {
		if format.Same(one, parse(c.text)) != c.same {
			t.Errorf("want %v for %s", c.same, c.text)
		}
	}
	if format.Same(nil, nil) || format.Same(one, nil) {
		t.Error("nothing is a policy")
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(policy.Default()))
	f.Add([]byte("# a\n\n# b\nnetwork_policies: {}   # c\n# d\nversion: 2 # e\n# f\n"))
	f.Add([]byte("version: 2\nfilesystem_policy:\n  read_only: [ # x\n    /usr, # y\n    '/etc']\n"))
	f.Add([]byte("version: 1\nfilesystem_policy: {read_only: &a [/usr], read_write: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		before, _, err := policy.Parse("p.yaml", data)
		out, ferr := format.File("p.yaml", data, policy.Parse)
		if err != nil {
			if ferr == nil {
				t.Fatal("formats what is no policy")
			}
			return
		}
		if ferr != nil {
			if !errors.Is(ferr, format.ErrMeaning) && !errors.Is(ferr, format.ErrComments) {
				t.Fatalf("another failure: %v", ferr)
			}
			return
		}
		after, _, err := policy.Parse("p.yaml", out)
		if err != nil || !format.Same(before, after) {
			t.Fatalf("means something else: %v\n%s", err, out)
		}
	})
}
