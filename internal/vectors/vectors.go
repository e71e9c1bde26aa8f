package vectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Env names the variable that points to another folder of vectors.
const Env = "CREEL_VECTORS"

// Entry is one vector.
type Entry struct {
	ID     string          `json:"id"`
	In     json.RawMessage `json:"in"`
	Want   json.RawMessage `json:"want"`
	Source string          `json:"source"`
	Note   string          `json:"note"`
}

// Outcome compares what Creel did with what the vector wants. The zero value fails.
type Outcome uint8

const (
	Wrong     Outcome = iota // laxer, or simply different
	Same                     // as the vector wants
	Stricter                 // refuses where the vector would permit
	Permitted                // different in a way that the note permits in words
	Pending                  // about a part of the language that is not built: neither passed nor failed
)

// Judge evaluates one entry. The string says what came out, for failures.
type Judge func(t *testing.T, e Entry) (Outcome, string)

// Bool is the outcome for a permission: got false where true is wanted is stricter.
func Bool(got, want bool) Outcome {
	switch {
	case got == want:
		return Same
	case want:
		return Stricter
	}
	return Wrong
}

// Decode fills a struct from an entry's in or want.
func Decode(t *testing.T, raw json.RawMessage, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("decode vector: %v", err)
	}
}

// Run judges every entry of a file (its name without .json), one subtest per
// id, and prints the counts. Deviations maps the ids that are judged more
// strictly on purpose to the reason; an entry there that is not stricter is
// an error, so that the table stays true.
func Run(t *testing.T, file string, deviations map[string]string, judge Judge) {
	t.Helper()
	run(t, file, nil, deviations, judge)
}

// RunKinds is Run for the entries of some kinds, where several packages judge
// one file.
func RunKinds(t *testing.T, file string, kinds []string, deviations map[string]string, judge Judge) {
	t.Helper()
	run(t, file, kinds, deviations, judge)
}

func run(t *testing.T, file string, kinds []string, deviations map[string]string, judge Judge) {
	t.Helper()
	foreign := os.Getenv(Env) != ""
	entries, err := Load(file)
	if foreign && errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no %s.json in %s", file, os.Getenv(Env))
	}
	if err != nil {
		t.Fatal(err)
	}
	entries = ofKinds(t, entries, kinds)
	label := file
	if kinds != nil {
		label += " " + strings.Join(kinds, ",")
	}
	counts := map[Outcome]int{}
	for _, e := range entries {
		t.Run(e.ID, func(t *testing.T) {
			outcome, got := judge(t, e)
			reason, listed := deviations[e.ID]
			switch {
			case outcome == Same && listed && !foreign:
				t.Errorf("listed as stricter (%s) but the outcome is the wanted one", reason)
			case outcome == Same:
			case outcome == Pending && listed:
				t.Errorf("listed as stricter (%s) but it is pending", reason)
			case outcome == Pending:
				counts[Pending]++
				t.Skipf("pending: %s", got)
			case outcome != Wrong && e.Note == "":
				t.Errorf("differs on purpose, but the vector has no note: in %s, want %s, got %s", e.In, e.Want, got)
			case outcome != Wrong && !listed && !foreign:
				t.Errorf("differs without an entry in the table: in %s, want %s, got %s, note %q", e.In, e.Want, got, e.Note)
			case outcome != Wrong:
				t.Logf("differs on purpose: %s (note: %s)", reason, e.Note)
			default:
				t.Errorf("in %s, want %s, got %s, note %q", e.In, e.Want, got, e.Note)
			}
			if t.Failed() {
				outcome = Wrong
			}
			counts[outcome]++
		})
	}
	if !foreign {
		known := map[string]bool{}
		for _, e := range entries {
			known[e.ID] = true
		}
		for id := range deviations {
			if !known[id] {
				t.Errorf("deviation %s: no such vector in %s", id, file)
			}
		}
	}
	fmt.Printf("vectors %s: %d passed, %d stricter, %d failed, %d pending\n",
		label, counts[Same], counts[Stricter]+counts[Permitted], counts[Wrong], counts[Pending])
}

// ofKinds keeps the entries of some kinds; nil keeps all.
func ofKinds(t *testing.T, entries []Entry, kinds []string) []Entry {
	t.Helper()
	if kinds == nil {
		return entries
	}
	return slices.DeleteFunc(entries, func(e Entry) bool {
		var in struct{ Kind string }
		Decode(t, e.In, &in)
		return !slices.Contains(kinds, in.Kind)
	})
}

// Load reads the entries of a file, without its extension: those of another
// folder, if one is named, else those of both folders of the repository.
func Load(file string) ([]Entry, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	entries, err := read(filepath.Join(dir, file+".json"))
	if err != nil || os.Getenv(Env) != "" {
		return entries, err
	}
	more, err := read(filepath.Join(dir+"-more", file+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return entries, nil
	}
	return append(entries, more...), err
}

func read(file string) ([]Entry, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("load vectors: %w", err)
	}
	var entries []Entry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("load vectors %s: %w", file, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("load vectors %s: no entries", file)
	}
	return entries, nil
}

// Dir is the folder of vectors: CREEL_VECTORS, else the repository's own.
func Dir() (string, error) {
	if d := os.Getenv(Env); d != "" {
		return d, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "testdata", "vectors"), nil
}

// Root is the repository's folder, found from the working folder of the test.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find repository: no go.mod above the working folder")
		}
		dir = parent
	}
}
