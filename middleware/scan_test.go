package middleware_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/middleware"
)

// finds gives every place of a word.
func finds(word string) func(context.Context, []byte) ([]middleware.Finding, error) {
	return func(_ context.Context, text []byte) (list []middleware.Finding, _ error) {
		for at := 0; ; {
			i := bytes.Index(text[at:], []byte(word))
			if i < 0 {
				return list, nil
			}
			list = append(list, middleware.Finding{Rule: "w", From: at + i, To: at + i + len(word)})
			at += i + 1
		}
	}
}

func TestScan(t *testing.T) {
	for _, tt := range []struct {
		word, config, body, want string // of a body; "deny" or "pass"
	}{
		{"aa", `{}`, "x aa", "deny"},
		{"aa", `{}`, "x", "pass"},
		{"aa", `{"mode": "report"}`, "x aa", "pass"},
		{"aa", `{"mode": "redact"}`, "x aa aaa y", "x [redacted:w] [redacted:w] y"},
		{"11", `{"mode": "redact"}`, `{"a": 11, "b": "11", "c": [11 ,11]}`, `{"a": 0, "b": "[redacted:w]", "c": [0 ,0]}`},
		{`"`, `{"mode": "redact"}`, `{"a": "x"}`, "deny"}, // it would be no JSON any more
		{"[", `{"mode": "redact"}`, `x [ y`, "deny"},      // what stands in its place is found again
		{"aa", `{"mode": "redact", "parts": ["target"]}`, "x aa", "pass"},
		{"aa", `{"mode": "redact", "on": ["response"]}`, "x aa", "pass"},
	} {
		scan := &middleware.Scan{What: "a word", Most: 1000, Find: finds(tt.word)}
		var config map[string]any
		if err := json.Unmarshal([]byte(tt.config), &config); err != nil {
			t.Fatal(err)
		}
		settings := middleware.NewSettings(config)
		scan.Read(settings)
		if err := settings.Err(); err != nil {
			t.Fatal(err)
		}
		m := request(tt.body)
		if scan.Takes()&m.Direction == 0 {
			continue // the chain does not ask
		}
		a, err := scan.Check(context.Background(), m)
		got := a.Action.String()
		if a.Action == middleware.Change {
			got = string(a.Body)
		}
		if err != nil || got != tt.want || strings.Contains(a.Reason, tt.word) && tt.word == "aa" {
			t.Errorf("%+v: %q, %+v, %v", tt, got, a, err)
		}
		if string(m.Body) != tt.body {
			t.Errorf("%+v: the message was changed", tt)
		}
	}
}

func TestScanHeaders(t *testing.T) {
	scan := &middleware.Scan{What: "a word", Parts: []middleware.Part{middleware.Header}, Find: finds("aa"), Mode: middleware.ModeReport}
	m := request("aa")
	m.Header = http.Header{"A": {"x", "aa y"}, "B": {"z aa"}, "C-aa": {""}}
	a, err := scan.Check(context.Background(), m)
	if err != nil || len(a.Findings) != 4 {
		t.Fatalf("%+v, %v", a, err)
	}
	for i, want := range []middleware.Finding{{Name: "A", From: 0, To: 2}, {Name: "B", From: 2, To: 4}, {Name: ""}} { // the others are in a name, as it is and in lower case, which is not told
		want.Rule, want.Part = "w", middleware.Header
		if f := a.Findings[i]; f.Name != want.Name || f.From != want.From || f.To != want.To || f.Part != want.Part {
			t.Errorf("%+v, want %+v", f, want)
		}
	}
	scan.Find = func(context.Context, []byte) ([]middleware.Finding, error) { return nil, errors.New("too much") }
	if a, err := scan.Check(context.Background(), m); err == nil || a.Action != middleware.Deny {
		t.Errorf("an error: %+v, %v", a, err)
	}
	scan.Mode = 9
	if a, err := scan.Check(context.Background(), m); err == nil || a.Action != middleware.Deny {
		t.Errorf("no such mode: %+v, %v", a, err)
	}
}

func TestSettings(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "", `{"mode": "redact", "on": ["request", "response"]}`: "",
		`{"mode": "Redact"}`: "mode: want one of deny, redact, report", `{"mode": 1}`: "mode: want",
		`{"on": []}`: "on: want a list of", `{"on": "request"}`: "on: want", `{"on": ["request", "request"]}`: "each once", `{"on": ["requests"]}`: "on: want",
		`{"x": 1, "y": 2}`: `"x" is no key of it; its keys are mode, on; "y" is no key`,
	} {
		var values map[string]any
		if err := json.Unmarshal([]byte(config), &values); err != nil {
			t.Fatal(err)
		}
		s := middleware.NewSettings(values)
		s.Choice("mode", "deny", "deny", "redact", "report")
		s.Choices("on", nil, "request", "response")
		err := s.Err()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}
