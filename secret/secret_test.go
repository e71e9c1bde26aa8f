package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"text/template"

	"github.com/creel-run/creel/secret"
	"go.yaml.in/yaml/v3"
)

const canary = "canary-7f3a"

type holder struct {
	Public  secret.Value
	private secret.Value
	Pointer *secret.Value
	Map     map[string]secret.Value
	List    []secret.Value
}

func newHolder() holder {
	v := secret.New(canary)
	return holder{Public: v, private: v, Pointer: &v, Map: map[string]secret.Value{"k": v}, List: []secret.Value{v}}
}

func leaks(s string) bool {
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary),
		fmt.Sprintf("% x", canary), fmt.Sprintf("%v", []byte(canary)), "Y2FuYXJ5LTdmM2"} {
		if strings.Contains(s, form) {
			return true
		}
	}
	return false
}

func TestPrintingRedacts(t *testing.T) {
	v := secret.New(canary)
	if !leaks("x "+canary) || !leaks(fmt.Sprintf("%x", canary)) {
		t.Fatal("the oracle finds nothing")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%p", "%U", "%20s", "%.3s", "%w", "%b"} {
		for name, val := range map[string]any{"value": v, "pointer": &v, "struct": newHolder(), "struct pointer": ptr(newHolder()),
			"list": []secret.Value{v}, "map": map[string]any{"a": v}, "anonymous": struct{ v secret.Value }{v}} {
			if out := fmt.Sprintf(verb, val); leaks(out) {
				t.Errorf("%s of %s shows the secret: %s", verb, name, out)
			}
		}
	}
	if got := fmt.Sprint(v); got != "[redacted]" {
		t.Errorf("Sprint = %q", got)
	}
	if got := fmt.Errorf("x: %v", v).Error(); leaks(got) {
		t.Error(got)
	}
}

func ptr[T any](v T) *T { return &v }

func TestEncodingRedacts(t *testing.T) {
	v := secret.New(canary)
	encoders := map[string]func(any) (string, error){
		"json": func(x any) (string, error) { b, err := json.Marshal(x); return string(b), err },
		"yaml": func(x any) (string, error) { b, err := yaml.Marshal(x); return string(b), err },
		"template": func(x any) (string, error) {
			var b bytes.Buffer
			err := template.Must(template.New("").Parse("{{.}}")).Execute(&b, x)
			return b.String(), err
		},
		"slog json": func(x any) (string, error) {
			var b bytes.Buffer
			slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "k", x, slog.Group("g", "v", x))
			return b.String(), nil
		},
		"slog text": func(x any) (string, error) {
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).Info("m", "k", x, slog.Any("v", x))
			return b.String(), nil
		},
	}
	for name, encode := range encoders {
		for kind, val := range map[string]any{"value": v, "pointer": &v, "struct": newHolder(), "map": map[string]secret.Value{"a": v}} {
			out, err := encode(val)
			if err != nil {
				t.Errorf("%s of %s: %v", name, kind, err)
			}
			if leaks(out) {
				t.Errorf("%s of %s shows the secret: %s", name, kind, out)
			}
			if !strings.Contains(out, "redacted") {
				t.Errorf("%s of %s does not say redacted: %s", name, kind, out)
			}
		}
	}
	// Refusing to encode is as good.
	if out, err := xml.Marshal(struct{ V secret.Value }{v}); leaks(string(out)) || err != nil && leaks(err.Error()) {
		t.Errorf("xml: %s, %v", out, err)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err == nil || leaks(b.String()) {
		t.Errorf("gob: error %v, %d bytes", err, b.Len())
	}
}

func TestZero(t *testing.T) {
	var v secret.Value
	if !v.IsZero() || !secret.New("").IsZero() || v.Reveal() != "" || secret.New("a").IsZero() || secret.New("a").Reveal() != "a" {
		t.Error("zero and non-zero values are confused")
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return "file:" + p
	}
	env := map[string]string{"KEY": canary, "EMPTY": "", "NL": canary + "\n", "TWO": "a\nb", "NUL": "a\x00b", "BIG": strings.Repeat("x", 64<<10+1)}
	getenv := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	tests := []struct {
		ref, want, err string
	}{
		{ref: "env:KEY", want: canary},
		{ref: "env:NL", want: canary},
		{ref: "env:EMPTY", err: "is empty"},
		{ref: "env:MISSING", err: "not set"},
		{ref: "env:TWO", err: "more than one line"},
		{ref: "env:NUL", err: "NUL"},
		{ref: "env:BIG", err: "more than 65536 bytes"},
		{ref: "env:", err: "neither env:VAR nor file:PATH"},
		{ref: canary, err: "neither env:VAR nor file:PATH"},
		{ref: "", err: "neither env:VAR nor file:PATH"},
		{ref: file("plain", canary, 0o600), want: canary},
		{ref: file("nl", canary+"\n", 0o600), want: canary},
		{ref: file("crlf", canary+"\r\n", 0o600), want: canary},
		{ref: file("nlnl", canary+"\n\n", 0o600), err: "more than one line"},
		{ref: file("empty", "\n", 0o600), err: "is empty"},
		{ref: file("max", strings.Repeat("x", 64<<10)+"\n", 0o600), want: strings.Repeat("x", 64<<10)},
		{ref: file("big", strings.Repeat("x", 64<<10+1), 0o600), err: "more than 65536 bytes"},
		{ref: "file:" + dir, err: "not a regular file"},
		{ref: "file:" + filepath.Join(dir, "none"), err: "no such file"},
	}
	for _, tt := range tests {
		if tt.err == "no such file" && runtime.GOOS == "windows" {
			continue
		}
		v, err := secret.Resolve(tt.ref, getenv)
		switch {
		case tt.err == "" && (err != nil || v.Reveal() != tt.want):
			t.Errorf("Resolve(%.40q) = %d bytes, %v", tt.ref, len(v.Reveal()), err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || !v.IsZero()):
			t.Errorf("Resolve(%.40q): error %v, want %q", tt.ref, err, tt.err)
		case err != nil && strings.Contains(err.Error(), canary):
			t.Errorf("Resolve(%.40q) shows the secret: %v", tt.ref, err)
		}
	}
}

func TestWarning(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no mode bits for others")
	}
	p := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if w := secret.Warning("file:" + p); w != "" {
		t.Errorf("0600 warns: %s", w)
	}
	if err := os.Chmod(p, 0o644); err != nil {
		t.Fatal(err)
	}
	if w := secret.Warning("file:" + p); !strings.Contains(w, "chmod 600") {
		t.Errorf("0644 does not warn: %q", w)
	}
	if w := secret.Warning("env:KEY"); w != "" {
		t.Errorf("env warns: %s", w)
	}
}
