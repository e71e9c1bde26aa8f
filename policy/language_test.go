package policy

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"slices"
	"strings"
	"testing"
)

// Every word has a type that is complete and a description of one line, and
// every section is reached from the document.
func TestEveryWordIsDescribed(t *testing.T) {
	language := Language()
	byName := map[string]Section{}
	for _, s := range language {
		if s.About == "" || strings.Contains(s.About, "\n") || len(s.Words) == 0 || byName[s.Name].Name != "" {
			t.Errorf("section %q: without description or words, or twice", s.Name)
		}
		byName[s.Name] = s
	}
	reached := map[string]bool{language[0].Name: true}
	var check func(where string, v Shape)
	check = func(where string, v Shape) {
		switch v.Form {
		case Flag, Size, Text, Anything:
		case Number:
			if v.Low > v.High || v.High == 0 {
				t.Errorf("%s: a number without bounds", where)
			}
		case OneOf:
			if len(v.Words) == 0 {
				t.Errorf("%s: one of no words", where)
			}
		case List, Map:
			if len(v.Of) != 1 {
				t.Errorf("%s: of %d shapes, want one", where, len(v.Of))
			}
		case AnyOf:
			if len(v.Of) < 2 {
				t.Errorf("%s: %d alternatives", where, len(v.Of))
			}
		case Mapping:
			if _, ok := byName[v.Section]; !ok {
				t.Errorf("%s: no section %q", where, v.Section)
			}
			reached[v.Section] = true
		default:
			t.Errorf("%s: no type", where)
		}
		for _, of := range v.Of {
			check(where, of)
		}
	}
	for _, s := range language {
		for i, w := range s.Words {
			where := s.Name + "." + w.Name
			check(where, w.Value)
			switch {
			case w.About == "" || strings.ContainsAny(w.About, "\n|") || !strings.HasSuffix(w.About, "."):
				t.Errorf("%s: no description of whole sentences on one line: %q", where, w.About)
			case w.Since < 1 || w.Since > 2:
				t.Errorf("%s: since version %d", where, w.Since)
			case slices.ContainsFunc(s.Words[:i], func(o Word) bool { return o.Name == w.Name }):
				t.Errorf("%s stands twice", where)
			}
		}
	}
	for name := range byName {
		if !reached[name] {
			t.Errorf("section %q is reached from nowhere", name)
		}
	}
}

// Every list of words of words.go is a section.
func TestEveryListOfWordsIsASection(t *testing.T) {
	file, err := parser.ParseFile(gotoken.NewFileSet(), "words.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	lists := 0
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if array, ok := lit.Type.(*ast.ArrayType); ok {
			if of, ok := array.Elt.(*ast.Ident); ok && of.Name == "word" {
				lists++
			}
		}
		return true
	})
	if lists != len(sections) {
		t.Errorf("%d lists of words, %d sections", lists, len(sections))
	}
}

// The values that the table names are those that the decoder takes.
func TestWordsOfValues(t *testing.T) {
	const endpoint = "network_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 443, "
	where := map[string]string{
		"landlock.compatibility":         "landlock: {compatibility: $}",
		"resources.compatibility":        "resources: {compatibility: $}",
		"workspace.mode":                 "filesystem_policy: {workspace: {mode: $}}",
		"filesystem_policy.workspace":    "filesystem_policy: {workspace: $}",
		"endpoint.protocol":              endpoint + "protocol: $}]}}",
		"endpoint.tls":                   endpoint + "tls: $}]}}",
		"policy.unmatched":               "unmatched: $",
		"network rule.unmatched":         "network_policies: {k: {binaries: any, unmatched: $}}",
		"endpoint.unmatched":             endpoint + "protocol: rest, access: full, unmatched: $}]}}",
		"endpoint.registry":              endpoint + "protocol: package, registry: $, rules: [{allow: {package: a}}]}]}}",
		"request.operation":              endpoint + "protocol: git, rules: [{allow: {operation: $, repository: a, refs: [b]}}]}]}}",
		"endpoint.persisted_queries":     endpoint + "protocol: graphql, access: full, persisted_queries: $}]}}",
		"endpoint.credential_signing":    endpoint + "protocol: rest, access: full, signing_service: s3, credential_signing: $}]}}",
		"request.operation_type":         endpoint + "protocol: graphql, rules: [{allow: {operation_type: $}}]}]}}",
		"persisted query.operation_type": endpoint + "protocol: graphql, access: full, persisted_queries: allow_registered, graphql_persisted_queries: {h: {operation_type: $}}}]}}",
		"middleware.on_error":            "network_middlewares: {k: {middleware: x, endpoints: {include: [a.test]}, on_error: $}}",
		"endpoint.enforcement":           endpoint + "protocol: rest, access: full, enforcement: $}]}}",
		"endpoint.access":                endpoint + "protocol: rest, access: $}]}}",
	}
	badValue := func(text string) bool {
		_, _, err := Parse("p.yaml", []byte("version: 2\n"+text))
		faults, _ := err.(Faults)
		return slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == BadValue })
	}
	for _, s := range Language() {
		for _, w := range s.Words {
			words, empty := w.Value.Words, w.Value.Empty
			for _, of := range w.Value.Of {
				if of.Form == OneOf && w.Value.Form == AnyOf {
					words, empty = append(slices.Clone(words), of.Words...), empty || of.Empty
				}
			}
			if w.Value.Form != OneOf && (w.Value.Form != AnyOf || len(words) == 0) {
				continue
			}
			text, ok := where[s.Name+"."+w.Name]
			if !ok {
				continue // of one protocol: its own tests have it
			}
			for _, one := range words {
				if badValue(strings.Replace(text, "$", one, 1)) {
					t.Errorf("%s.%s: %s is refused", s.Name, w.Name, one)
				}
			}
			if got := badValue(strings.Replace(text, "$", `""`, 1)); got == empty {
				t.Errorf("%s.%s: the empty text is refused: %v", s.Name, w.Name, got)
			}
			if !badValue(strings.Replace(text, "$", "nonsense", 1)) {
				t.Errorf("%s.%s: nonsense is taken", s.Name, w.Name)
			}
		}
	}
}
