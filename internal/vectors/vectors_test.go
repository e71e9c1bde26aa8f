package vectors

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file without a subject is pending by name: skipped, never passed.
func TestVectorPending(t *testing.T) {
	for _, s := range Subjects() {
		if s.Package != "" {
			continue
		}
		t.Run(strings.Join(append([]string{s.File}, s.Kinds...), " "), func(t *testing.T) {
			entries, err := Load(s.File)
			if os.Getenv(Env) != "" && os.IsNotExist(errors.Unwrap(err)) {
				t.Skipf("pending, and not in this folder: %s", s.Pending)
			}
			if err != nil {
				t.Fatal(err)
			}
			entries = ofKinds(t, entries, s.Kinds)
			fmt.Printf("vectors %s: 0 passed, 0 stricter, 0 failed, %d pending (%s)\n",
				strings.Join(append([]string{s.File}, s.Kinds...), " "), len(entries), s.Pending)
			t.Skipf("pending: %s", s.Pending)
		})
	}
}

// Every file has a subject, and a subject that is claimed is run by a test.
func TestVectorSubjects(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	claimed := map[string]bool{}
	for _, s := range Subjects() {
		claimed[s.File+".json"] = true
		if (s.Package == "") != (s.Pending != "") {
			t.Errorf("%s: name either a package or why it is pending", s.File)
		}
		if s.Package == "" {
			continue
		}
		tests, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(s.Package), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		runs := false
		for _, f := range tests {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			call := `vectors.Run(t, "` + s.File + `"`
			if s.Kinds != nil {
				call = `vectors.RunKinds(t, "` + s.File + `", []string{"` + strings.Join(s.Kinds, `", "`) + `"}`
			}
			runs = runs || strings.Contains(string(text), call)
		}
		if !runs {
			t.Errorf("%s: no test in %s runs it", s.File, s.Package)
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "testdata", "vectors", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("list vectors: %v, %d files", err, len(files))
	}
	for _, f := range files {
		if !claimed[filepath.Base(f)] {
			t.Errorf("%s: no subject", filepath.Base(f))
		}
	}
}

// Where subjects share a file by kinds, every entry is of a kind that exactly
// one of them has.
func TestVectorKinds(t *testing.T) {
	owners := map[string]map[string]int{}
	for _, s := range Subjects() {
		for _, k := range s.Kinds {
			if owners[s.File] == nil {
				owners[s.File] = map[string]int{}
			}
			owners[s.File][k]++
		}
	}
	for file, kinds := range owners {
		entries, err := Load(file)
		if os.Getenv(Env) != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			var in struct{ Kind string }
			Decode(t, e.In, &in)
			if kinds[in.Kind] != 1 {
				t.Errorf("%s: %d subjects for its kind %q", e.ID, kinds[in.Kind], in.Kind)
			}
		}
	}
}

// The repository's own vectors are for files that have a subject, under ids that
// are used once, and say what is done here: none has a note that would let
// another outcome pass.
func TestVectorMore(t *testing.T) {
	if os.Getenv(Env) != "" {
		t.Skip("another folder is named")
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "testdata", "vectors-more", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("list vectors: %v, %d files", err, len(files))
	}
	claimed := map[string]bool{}
	for _, s := range Subjects() {
		claimed[s.File+".json"] = s.Package != ""
	}
	for _, f := range files {
		if !claimed[filepath.Base(f)] {
			t.Errorf("%s: no test runs it", filepath.Base(f))
		}
		own, err := read(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range own {
			if e.Note != "" {
				t.Errorf("%s has a note: say in want what is done, and in source why", e.ID)
			}
		}
	}
	seen := map[string]bool{}
	for _, s := range Subjects() {
		if seen[s.File+".json"] {
			continue // by kinds
		}
		seen[s.File+".json"] = true
		entries, err := Load(s.File)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if seen[e.ID] {
				t.Errorf("%s: two vectors have this id", e.ID)
			}
			seen[e.ID] = true
		}
	}
}

// The copy in the repository equals the shared set, where that is at hand.
func TestVectorCopy(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(root, "..", "shared", "vectors")
	list, err := os.ReadDir(shared)
	if os.IsNotExist(err) {
		t.Skip("no shared vectors beside this checkout")
	}
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(root, "testdata", "vectors")
	names := map[string]bool{}
	for _, e := range list {
		names[e.Name()] = true
		want, err := os.ReadFile(filepath.Join(shared, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(own, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the shared file", e.Name())
		}
	}
	err = fs.WalkDir(os.DirFS(own), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !names[path] {
			t.Errorf("%s is not in the shared set", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
