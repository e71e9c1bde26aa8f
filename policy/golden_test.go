package policy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/creel-run/creel/policy"
)

var update = flag.Bool("update", false, "rewrite the golden reports")

// report is what policy check shows for a document.
func report(name string, text []byte) string {
	doc, warns, err := policy.Parse(name, text)
	var b strings.Builder
	switch {
	case err != nil:
		b.WriteString(err.Error() + "\n")
	case doc == nil:
		b.WriteString("no document and no error\n")
	default:
		b.WriteString("valid\n")
	}
	for _, w := range warns {
		b.WriteString("warning: " + w.String() + "\n")
	}
	for _, f := range policy.Unenforced(doc) {
		b.WriteString("note: " + f.Error() + "\n")
	}
	return b.String()
}

// The archives hold pairs: NAME.yaml is a policy, NAME.want its report.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, f := range archive.Files {
			if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
				want[name] = string(f.Data)
			}
		}
		out := &txtar.Archive{Comment: archive.Comment}
		for _, f := range archive.Files {
			name, ok := strings.CutSuffix(f.Name, ".yaml")
			if !ok {
				continue
			}
			got := report(f.Name, f.Data)
			out.Files = append(out.Files, f, txtar.File{Name: name + ".want", Data: []byte(got)})
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
				if diff := cmp.Diff(want[name], got); diff != "" && !*update {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
		if *update && !bytes.Equal(txtar.Format(out), txtar.Format(archive)) {
			if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestFaultsAreJSON(t *testing.T) {
	_, _, err := policy.Parse("p.yaml", []byte("version: 1\nfilesystem_policy: {readonly: [/usr]}\n"))
	data, jerr := json.Marshal(err)
	if jerr != nil {
		t.Fatal(jerr)
	}
	want := `[{"at":{"file":"p.yaml","line":2,"column":21},"path":"filesystem_policy.readonly","kind":"unknown_key","found":"\"readonly\" of filesystem_policy","hint":"did you mean read_only?"}]`
	if string(data) != want {
		t.Errorf("got %s\nwant %s", data, want)
	}
}

// Nothing that could be a secret is repeated, wherever it stands.
func TestNoSecretIsEchoed(t *testing.T) {
	const secret = "sk-proj-1234567890abcdefghij"
	for _, text := range []string{
		"version: " + secret,
		secret + ": 1",
		"version: 2\n" + secret + ": 1",
		"version: 2\ninference: {key: " + secret + "}",
		"version: 2\ninference: {key: [" + secret + "]}",
		"version: 2\ninference: {backend: 'https://user:" + secret + "@models.example'}",
		"version: 2\ninference: {backend: '" + secret + "'}",
		"version: 2\ninference: {models: {" + secret + ": 1}}",
		"version: 2\ninference: {hosts: ['" + secret + ":1']}",
		"version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: '" + secret + "!', port: 1}]}}",
		"version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: " + secret + ", protocol: " + secret + ", tls: " + secret + "}]}}",
		"version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 1, allowed_ips: [" + secret + "]}]}}",
		"version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: '" + secret + " x', path: '[" + secret + "'}}]}]}}",
		"version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 1, protocol: rest, rules: [{allow: {method: GET, path: '/', query: {token: '[" + secret + "'}}}]}]}}",
		"version: 2\nnetwork_policies: {" + secret + ": {binaries: any, endpoints: 3}}",
		"version: 2\nfilesystem_policy: {read_only: ['" + secret + "']}",
		"version: 2\nprocess: {run_as_user: '" + secret + "'}",
		"version: 2\nlandlock: {compatibility: " + secret + "}",
		"version: 2\nlandlock: *" + secret,
		"- " + secret,
		secret,
		"\"" + secret,
		"a: b: " + secret,
	} {
		_, _, err := policy.Parse("p.yaml", []byte(text))
		if err == nil {
			t.Errorf("accepted: %s", text)
			continue
		}
		data, _ := json.Marshal(err)
		if strings.Contains(err.Error(), secret) || strings.Contains(string(data), secret) {
			t.Errorf("echoed by %q:\n%v", text, err)
		}
	}
}
