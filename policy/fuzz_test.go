package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/creel-run/creel/policy"
)

// Whatever the bytes are, Parse ends, does not panic, gives either a document
// or faults with positions, and what it accepts can be compiled and explained.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/golden/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, entry := range archive.Files {
			if strings.HasSuffix(entry.Name, ".yaml") {
				f.Add(entry.Data)
			}
		}
	}
	f.Add([]byte(policy.Default()))
	f.Add([]byte(explained))
	f.Add([]byte(mixed))
	if data, err := os.ReadFile("testdata/corpus/openshell/crates--openshell-prover--testdata--policy.yaml"); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, warns, err := policy.Parse("fuzz.yaml", data)
		if (doc == nil) == (err == nil) {
			t.Fatalf("document %v, error %v", doc, err)
		}
		for _, w := range warns {
			if w.At.Line < 1 || w.Text == "" {
				t.Errorf("warning without place or text: %+v", w)
			}
		}
		if err != nil {
			faults, ok := err.(policy.Faults)
			if !ok || len(faults) == 0 {
				t.Fatalf("error %T %v", err, err)
			}
			for _, one := range faults {
				if one.At.Line < 1 || one.At.Column < 1 || one.Kind == "" || strings.ContainsAny(one.Error(), "\n\x00\x1b") {
					t.Errorf("fault: %+v", one)
				}
			}
			return
		}
		e, err := policy.Compile(doc)
		if err != nil {
			t.Fatalf("parsed and not compiled: %v", err)
		}
		c := curl(t, "api.a.test", 443)
		r := request(c, "POST", "/v1/x")
		d, x := e.Request(r), e.Explain(c, &r)
		if d.Verdict != x.Verdict {
			t.Errorf("request %v, explained %v", d.Verdict, x.Verdict)
		}
		for _, m := range messages {
			for _, name := range []string{"a.test", "api.test"} {
				r := m.request(t)
				r.Host = host(t, name)
				d, x := e.Request(r), e.Explain(r.Connection, &r)
				if d.Verdict != x.Verdict || d.Reason == "" {
					t.Errorf("%s: request %+v, explained %v", m.name, d, x.Verdict)
				}
			}
		}
		for _, f := range policy.Unenforced(doc) {
			if f.At.Line < 1 || f.Path == "" || f.Kind != policy.NotYet {
				t.Errorf("unenforced: %+v", f)
			}
		}
		if e.Connect(policy.Connection{}).Verdict != policy.Deny {
			t.Error("the zero connection is allowed")
		}
	})
}

// Aliases that multiply, and nesting without end, are refused in bounded work.
func TestBounds(t *testing.T) {
	bomb := "version: 1\nnetwork_policies:\n  a:\n    endpoints: &e\n" +
		strings.Repeat("      - {host: a.test, port: 443}\n", 2000) + "  b: {endpoints: *e}\n"
	var many strings.Builder
	many.WriteString(bomb)
	for i := range 5000 {
		many.WriteString("  c" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26%11) + strings.Repeat("z", i/300) + ": {endpoints: *e}\n")
	}
	for name, text := range map[string]string{
		"aliases": many.String(),
		"size":    "version: 2\n#" + strings.Repeat("x", policy.MaxBytes),
		"depth":   "version: 2\nlandlock: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"cycle":   "version: 2\nlandlock: &a {compatibility: *a}\n",
		"faults":  "version: 2\nnetwork_policies:\n" + strings.Repeat("  k: 1\n", 20000),
	} {
		_, _, err := policy.Parse(name, []byte(text))
		faults, ok := err.(policy.Faults)
		if !ok || len(faults) > 250 {
			t.Errorf("%s: %T with %d faults", name, err, len(faults))
		}
	}
}

func TestManyOverlapsAreRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 2\nnetwork_policies:\n  k:\n    binaries: any\n    endpoints:\n")
	for range 4000 {
		b.WriteString("      - {host: a.test, port: 443, protocol: rest, access: full}\n")
	}
	_, _, err := policy.Parse("p", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "overlapping endpoints") {
		t.Errorf("got %v", err)
	}
}
