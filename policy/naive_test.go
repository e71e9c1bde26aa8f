package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/internal/naive"
	"github.com/creel-run/creel/internal/policygen"
	"github.com/creel-run/creel/internal/vectors"
	"github.com/creel-run/creel/policy"
)

// The compiled engine and the naive evaluator agree about random documents and
// requests: whether a connection is let through and how it goes on, whether a
// request is, and whether that is for audit alone.
func TestEngineAgreesWithNaive(t *testing.T) {
	counts := map[string]int{}
	property := func(t *rapid.T) {
		doc, text, err := policygen.Draw(t)
		if err != nil {
			counts["documents refused"]++
			t.Skip(err)
		}
		counts["documents"]++
		engine, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		plain := naive.FromDocument(doc)
		for range 50 {
			counts[agree(t, engine, doc, plain, policygen.Question(t, doc), text)]++
		}
	}
	for range 4 { // a document says one thing, and there is much to say
		rapid.Check(t, property)
	}
	t.Log(counts)
	for _, outcome := range []string{"documents", "refused connection", "uninspected", "denied", "allowed", "audited"} {
		if counts[outcome] == 0 {
			t.Errorf("no %s among what was drawn: %v", outcome, counts)
		}
	}
	if counts["documents refused"] > counts["documents"] {
		t.Errorf("most documents are refused: %v", counts)
	}
}

// The same for policies that people wrote: the corpus and the vectors.
func TestEngineAgreesWithNaiveOnWritten(t *testing.T) {
	documents := written(t)
	if len(documents) < 20 {
		t.Fatalf("only %d documents", len(documents))
	}
	names := slices.Sorted(maps.Keys(documents))
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "document")
		doc := documents[name]
		engine, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		plain := naive.FromDocument(doc)
		for range 20 {
			counts[agree(t, engine, doc, plain, policygen.Question(t, doc), name)]++
		}
	})
	t.Log(len(documents), counts)
}

// written are all documents of the corpus and of the vectors that load and name
// an endpoint.
func written(t *testing.T) map[string]*policy.Document {
	t.Helper()
	documents := map[string]*policy.Document{}
	add := func(name string, data []byte) {
		doc, _, err := policy.Parse(name, data)
		if err == nil && len(doc.Networks) > 0 && !slices.ContainsFunc(doc.Networks, func(n policy.Network) bool { return len(n.Endpoints) == 0 }) {
			documents[name] = doc
		}
	}
	err := filepath.WalkDir("testdata/corpus", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			add(path, data)
			add(path+" as a preset", presetDocument(t, data))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := vectors.Dir()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"policy_decision.json", "policy_validation.json"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another folder of vectors, see package vectors
		}
		if err != nil {
			t.Fatal(err)
		}
		var entries []struct {
			ID string
			In struct{ Policy string }
		}
		if err := json.Unmarshal(data, &entries); err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			add(e.ID, []byte(e.In.Policy))
		}
	}
	return documents
}

// agree compares the two and names the outcome. What they disagree about is
// shown with as little of the document as it takes.
func agree(t *rapid.T, engine *policy.Engine, doc *policy.Document, plain naive.Policy, r policy.Request, text string) string {
	outcome, fault := compare(engine, plain, r)
	if fault == "" {
		return outcome
	}
	least := policygen.Reduce(doc, func(d *policy.Document) bool {
		e, err := policy.Compile(d)
		if err != nil {
			return false
		}
		_, fault := compare(e, naive.FromDocument(d), r)
		return fault != ""
	})
	e, err := policy.Compile(least)
	if err != nil {
		t.Fatal(err)
	}
	_, fault = compare(e, naive.FromDocument(least), r)
	t.Fatalf("%s\nof %+v\nof:\n%s", fault, naive.FromDocument(least), text)
	return ""
}

// compare says where engine and evaluator differ, or names the outcome.
func compare(engine *policy.Engine, plain naive.Policy, r policy.Request) (outcome, fault string) {
	asked, err := json.Marshal(r)
	if err != nil {
		return "", err.Error()
	}
	c, want := engine.Connect(r.Connection), naive.Judge(plain, naive.FromConnection(r.Connection))
	different := func(got any) (string, string) {
		return "", fmt.Sprintf("%s %s\nengine %+v\nnaive  %+v", r.Host, asked, got, want)
	}
	if (c.Verdict == policy.Allow) != want.Allowed || c.Audited != want.Audited {
		return different(c)
	}
	if !want.Allowed {
		if d := engine.Request(r); d.Verdict != policy.Deny {
			return different(d)
		}
		return "refused connection", ""
	}
	if !slices.Contains(want.Policies, c.Rule.Policy) || c.Inspect != want.Inspect || c.SkipTLS != want.SkipTLS || c.AllowEncodedSlash != want.EncodedSlash {
		return different(c)
	}
	d := engine.Request(r)
	want = naive.Judge(plain, naive.FromRequest(r))
	if (d.Verdict == policy.Allow) != want.Allowed || d.Audited != want.Audited {
		return different(d)
	}
	switch {
	case !want.Inspect:
		return "uninspected", ""
	case want.Audited:
		return "audited", ""
	case want.Allowed:
		return "allowed", ""
	}
	return "denied", ""
}
