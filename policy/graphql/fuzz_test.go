package graphql

import (
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var documents = []string{
	`{ a }`, `query Q($x: [Int!]! = [1, {y: "z"}]) @d(a: 1) { b: a(x: $x) @skip(if: true) { c } ...F }  fragment F on Query { d }`,
	`mutation M { x: b } query N { c }`, `{ ... on Query { ...F } } fragment F on Query { ... @include(if: false) { a } }`,
	"{ a(s: [\"\"\"x\"\"\"\" ] ) hidden #\" ]) evil\n}", "{ a # \" \n b(s: \"\\\"#\", t: \"\"\"\\\"\"\" } \"\"\") }", `{ ...F } fragment F on Q { ...F }`,
	`"""d""" subscription { a(x: -1.5e+3, y: FOO) }`, "{ a # \u2028 } mutation { b }\n}", `{ a(s: ["x""y"]) }`,
}

// What is taken has the same operations for a second reader of the grammar.
func FuzzDocument(f *testing.F) {
	for _, d := range documents {
		f.Add(d, "")
		f.Add(d, "M")
	}
	f.Fuzz(func(t *testing.T, doc, name string) {
		if len(doc) > DefaultBytes || !json.Valid([]byte(quote(t, doc))) {
			return
		}
		op, err := parseDocument(doc, name)
		if err != nil {
			if reason(err) == "" || !reflect.DeepEqual(op, Operation{}) {
				t.Fatalf("%+v %v", op, err)
			}
			return
		}
		if strings.Count(doc, "...") > 30 {
			return // the second reader expands without memory
		}
		types, names, fields := naiveFields(doc)
		i := slices.Index(names, op.Name)
		if i < 0 || types[i] != op.Type || !slices.Equal(fields[i], op.Fields) || name != "" && op.Name != name || len(op.Fields) == 0 {
			t.Fatalf("%q: %+v, another reader %v %v %v", doc, op, types, names, fields)
		}
	})
}

// Whatever the bytes are, nothing panics, and a reader that folds the case of
// keys and keeps the last of equal ones sees the same documents.
func FuzzParseHTTP(f *testing.F) {
	for _, d := range documents {
		f.Add(true, "", []byte(quote(f, d)))
		f.Add(false, "query="+url.QueryEscape(d), []byte(nil))
	}
	for _, s := range []string{
		`[{"query":"{a}"},{"id":"x"}]`, `{"query":"{a}","Query":"{b}","qu\u0065ry":"{c}"}`, `{"extensions":{"persistedQuery":{"sha256Hash":"abc"}}}`,
	} {
		f.Add(true, "v=1", []byte(s))
	}
	f.Add(false, "query={a}%23;query=mutation{b}&query[]=x&id=%ff", []byte(nil))
	f.Fuzz(func(t *testing.T, isPost bool, query string, body []byte) {
		method := "GET"
		if isPost {
			method = "POST"
		}
		r, err := ParseHTTP(method, query, nil, body, 0)
		if err != nil {
			if reason(err) == "" || len(r.Operations) != 0 || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Fatalf("%+v %q", r, err)
			}
			return
		}
		if len(r.Operations) == 0 {
			t.Fatalf("taken, and runs nothing: %q %q", query, body)
		}
		list := lenient(t, isPost, query, body)
		if len(list) != len(r.Operations) {
			t.Fatalf("%d operations, another reader %d: %q", len(r.Operations), len(list), body)
		}
		for i, e := range list {
			op := r.Operations[i]
			hash := e.Extensions.PersistedQuery.Sha256Hash
			want := Operation{Name: e.OperationName}
			if strings.TrimSpace(e.Query) != "" {
				if want, err = parseDocument(e.Query, e.OperationName); err != nil {
					t.Fatalf("%q: %v", e.Query, err)
				}
			}
			want.Hash, want.ID = hash, e.ID+e.DocumentID+e.QueryID
			if !reflect.DeepEqual(op, want) {
				t.Fatalf("%q %q: %+v, another reader %+v", query, body, op, want)
			}
			if !slices.IsSorted(op.Fields) || (op.Type == "") != (len(op.Fields) == 0) || op.Type == "" && op.Hash == "" && op.ID == "" {
				t.Fatalf("%+v", op)
			}
		}
	})
}

type lenientEnvelope struct {
	Query, OperationName, ID, DocumentID, QueryID string
	Extensions                                    struct {
		PersistedQuery struct{ Sha256Hash string }
	}
}

func lenient(t *testing.T, isPost bool, query string, body []byte) []lenientEnvelope {
	t.Helper()
	list := make([]lenientEnvelope, 1)
	if !isPost {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		e := &list[0]
		e.Query, e.OperationName, e.ID, e.DocumentID, e.QueryID = v.Get("query"), v.Get("operationName"), v.Get("id"), v.Get("documentId"), v.Get("queryId")
		if x := v.Get("extensions"); x != "" {
			if err := json.Unmarshal([]byte(x), &e.Extensions); err != nil {
				t.Fatalf("%q: %v", x, err)
			}
		}
		return list
	}
	if json.Unmarshal(body, &list) != nil {
		list = make([]lenientEnvelope, 1)
		if err := json.Unmarshal(body, &list[0]); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
	}
	return list
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{
		`{"type":"subscribe","id":"1","payload":{"query":"{a}"}}`, `{"type":"ping"}`, `{"type":"start","id":"1","payload":{"id":"x"}}`,
		`{"type":"ping","Type":"subscribe"}`, `[{"type":"ping"}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMessage(data, 0)
		if err != nil {
			if reason(err) == "" || !reflect.DeepEqual(m, Message{}) {
				t.Fatalf("%+v %v", m, err)
			}
			return
		}
		var other struct {
			Type    string
			Payload json.RawMessage
		}
		if err := json.Unmarshal(data, &other); err != nil || other.Type != m.Type {
			t.Fatalf("%q: %q, another reader %q (%v)", data, m.Type, other.Type, err)
		}
		if m.Control != (len(m.Request.Operations) == 0) {
			t.Fatalf("%+v", m)
		}
		if !m.Control {
			r, err := ParseHTTP("POST", "", nil, other.Payload, 0)
			if err != nil || !reflect.DeepEqual(r, m.Request) {
				t.Fatalf("%q: %+v, as a body %+v %v", data, m.Request, r, err)
			}
		}
	})
}
