package schema_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/schema"
)

func resolved(t *testing.T, version int) *jsonschema.Resolved {
	t.Helper()
	text, err := schema.JSON(version)
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// instance is a document as an editor's schema checker sees it.
func instance(t *testing.T, text []byte) any {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	var v any
	if err := root.Decode(&v); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

type document struct {
	name string
	text []byte
}

// documents are all policies that the tests of the language have.
func documents(t *testing.T) (list []document) {
	t.Helper()
	err := filepath.WalkDir("../testdata/corpus", func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(path, "presets--") {
			// A preset holds the rules alone, and keys of its own.
			var p struct {
				Networks yaml.Node `yaml:"network_policies"`
			}
			if err := yaml.Unmarshal(text, &p); err != nil {
				return err
			}
			text, err = yaml.Marshal(map[string]any{"version": 1, "network_policies": &p.Networks})
		}
		list = append(list, document{filepath.Base(path), text})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	golden, err := filepath.Glob("../testdata/golden/*.txtar")
	if err != nil || len(golden) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range golden {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".yaml") {
				list = append(list, document{filepath.Base(file) + "/" + f.Name, f.Data})
			}
		}
	}
	vectors, err := os.ReadFile("../../testdata/vectors/policy_validation.json")
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct {
		ID string
		In struct{ Policy string }
	}
	if err := json.Unmarshal(vectors, &entries); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, document{e.ID, []byte(e.In.Policy)})
	}
	return append(list, document{"default.yaml", []byte(policy.Default())})
}

// What Parse takes is valid under the schema; the same with a misspelt key,
// wherever it stands, is not.
func TestSchemaAgreesWithParse(t *testing.T) {
	schemas := map[int]*jsonschema.Resolved{1: resolved(t, 1), 2: resolved(t, 2)}
	taken, typos := map[int]int{}, 0
	for _, d := range documents(t) {
		doc, _, err := policy.Parse(d.name, d.text)
		if err != nil {
			continue
		}
		taken[doc.Version]++
		v := instance(t, d.text)
		if err := schemas[doc.Version].Validate(v); err != nil {
			t.Errorf("%s: Parse takes it, the schema does not: %v\n%s", d.name, err, d.text)
			continue
		}
		typos += misspell(v, nil, func(path []string) {
			if schemas[doc.Version].Validate(v) == nil {
				t.Errorf("%s: valid with a misspelt %s", d.name, strings.Join(path, "."))
			}
		})
	}
	if taken[1] < 40 || taken[2] < 10 || typos < 500 {
		t.Errorf("only %v documents with %d keys: the test has lost its input", taken, typos)
	}
	t.Logf("%v documents by version, %d misspelt keys", taken, typos)
}

// misspell doubles the last letter of every key that is a word of the language,
// one at a time, and calls f while it is so.
func misspell(v any, path []string, f func([]string)) (n int) {
	switch v := v.(type) {
	case []any:
		for i, c := range v {
			n += misspell(c, append(slices.Clone(path), fmt.Sprint(i)), f)
		}
	case map[string]any:
		// Keys that are the writer's.
		free := len(path) > 0 && slices.Contains([]string{"network_policies", "query", "models", "network_middlewares", "graphql_persisted_queries", "hosts"}, path[len(path)-1]) ||
			slices.Contains(path, "config")
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		for _, k := range keys {
			one := v[k]
			at := append(slices.Clone(path), k)
			n += misspell(one, at, f)
			if free {
				continue
			}
			delete(v, k)
			v[k+k[len(k)-1:]] = one
			f(at)
			delete(v, k+k[len(k)-1:])
			v[k] = one
			n++
		}
	}
	return n
}

// Values of another type or word are not valid, nor are words of version 2 in
// version 1.
func TestSchemaRefuses(t *testing.T) {
	for _, c := range []struct {
		version int
		text    string
	}{
		{2, "version: 1"},
		{1, "version: 2"},
		{2, "{}"},
		{2, "version: 2\nfilesystem_policy: {read_only: /usr}"},
		{2, "version: 2\nfilesystem_policy: {include_workdir: 1}"},
		{2, "version: 2\nlandlock: {compatibility: best-effort}"},
		{2, "version: 2\nnetwork_policies: {k: {endpoints: []}}"},
		{2, "version: 2\nnetwork_policies: {k: {binaries: all}}"},
		{1, "version: 1\nnetwork_policies: {k: {binaries: any}}"},
		{1, "version: 1\nnetwork_policies: {k: {binaries: [/usr/bin/curl]}}"},
		{1, "version: 1\nfilesystem_policy: {read_only: [{path: /usr}]}"},
		{1, "version: 1\nsyscalls: {perf: true}"},
		{1, "version: 1\ndns: {upstream: host}"},
		{2, "version: 2\ndns: {upstream: [host]}"},
		{2, "version: 2\ndns: {hosts: {a.test: 10.0.0.5}}"},
		{2, "version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: '443'}]}}"},
		{2, "version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 443, enforcement: Enforce}]}}"},
		{2, "version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 443, protocol: REST, access: full}]}}"},
		{2, "version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 443, protocol: rest, rules: [{method: GET}]}]}}"},
	} {
		if resolved(t, c.version).Validate(instance(t, []byte(c.text))) == nil {
			t.Errorf("valid in version %d: %s", c.version, c.text)
		}
		if _, _, err := policy.Parse("p.yaml", []byte(c.text)); err == nil && !strings.HasPrefix(c.text, fmt.Sprintf("version: %d", 3-c.version)) {
			t.Errorf("Parse takes what the schema must refuse: %s", c.text)
		}
	}
	if _, err := schema.JSON(3); err == nil {
		t.Error("a schema for version 3")
	}
}
