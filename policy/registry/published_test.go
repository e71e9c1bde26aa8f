package registry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/policy/registry"
)

func TestPublished(t *testing.T) {
	const at = "2026-01-02T03:04:05Z"
	for _, tt := range []struct {
		kind         registry.Kind
		prefix, path string
		sources      string
		answers      []string // to each, empty: none
		want         bool
	}{
		{registry.NPM, "", "/left-pad/-/left-pad-1.3.0.tgz", "/left-pad", []string{`{"versions":{"1.3.0":{"time":{"1.3.0":"x"}}},"time":{"created":"` + at + `","1.3.0":"` + at + `"}}`}, true},
		{registry.NPM, "", "/@acme%2Fapp/-/app-2.0.0.tgz", "/@acme%2Fapp", []string{`{"time":{"2.0.0":"` + at + `"}}`}, true},
		{registry.NPM, "/npm", "/npm/@acme/app/-/app-2.0.0.tgz", "/npm/@acme/app", []string{`{"time":{"2.0.1":"` + at + `"}}`}, false},
		{registry.NPM, "", "/left-pad/-/left-pad-1.3.0.tgz", "/left-pad", []string{`{"versions":{"1.3.0":{"time":"` + at + `"}}}`}, false},
		{registry.NPM, "", "/left-pad/-/left-pad-1.3.0.tgz", "/left-pad", []string{`{"time":["` + at + `"]}`}, false},
		{registry.NPM, "", "/left-pad/-/left-pad-1.3.0.tgz", "/left-pad", []string{`{"time":{"1.3.0":"soon"}}`}, false},
		{registry.NPM, "", "/left-pad/-/left-pad-1.3.0.tgz", "/left-pad", []string{`<html>`}, false},

		{registry.PyPI, "", "/packages/ab/Foo_Bar-1.0-py3-none-any.whl", "/simple/foo-bar/ /pypi/foo-bar/1.0/json",
			[]string{`{"meta":{},"files":[{"filename":"foo_bar-0.9.tar.gz","upload-time":"2020-01-01T00:00:00Z"},{"filename":"Foo_Bar-1.0-py3-none-any.whl","upload-time":"` + at + `"}]}`, ""}, true},
		{registry.PyPI, "/p", "/p/packages/ab/foo-1.0.tar.gz", "/p/simple/foo/ /p/pypi/foo/1.0/json",
			[]string{`<!DOCTYPE html>`, `{"info":{"urls":[]},"urls":[{"filename":"foo-1.0.tar.gz","upload_time_iso_8601":"` + at + `"}]}`}, true},
		{registry.PyPI, "", "/packages/ab/foo-1.0.tar.gz", "/simple/foo/ /pypi/foo/1.0/json",
			[]string{`{"files":[{"filename":"foo-1.0.tar.gz"}]}`, `{"urls":[{"filename":"foo-1.0.zip","upload_time_iso_8601":"` + at + `"}]}`}, false},

		{registry.Go, "", "/example.test/!mod/@v/v1.0.0.zip", "/example.test/!mod/@v/v1.0.0.info", []string{`{"Version":"v1.0.0","Time":"` + at + `"}`}, true},
		{registry.Go, "", "/example.test/mod/@v/v1.0.0.zip", "/example.test/mod/@v/v1.0.0.info", []string{`{"Version":"v1.0.1","Time":"` + at + `"}`}, false},

		{registry.Cargo, "", "/api/v1/crates/Serde_Json/1.0.1/download", "/api/v1/crates/Serde_Json/1.0.1 /se/rd/serde_json",
			[]string{`{"version":{"num":"1.0.1","created_at":"` + at + `"}}`, ""}, true},
		{registry.Cargo, "/c", "/c/crates/abc/abc-1.0.1.crate", "/c/api/v1/crates/abc/1.0.1 /c/3/a/abc",
			[]string{`{"version":{"num":"1.0.2","created_at":"` + at + `"}}`, "{\"vers\":\"1.0.0\"}\n\n{\"vers\":\"1.0.1\",\"pubtime\":\"" + at + "\"}\n"}, true},
		{registry.Cargo, "", "/crates/abc/abc-1.0.1.crate", "/api/v1/crates/abc/1.0.1 /3/a/abc", []string{`{}`, "{\"vers\":\"1.0.1\"}"}, false},

		{registry.Debian, "", "/debian/pool/main/c/curl/curl_8.0.1-1_amd64.deb", "", nil, false},
	} {
		r, err := registry.Parse(tt.kind, tt.prefix, "GET", tt.path)
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		var got time.Time
		for i, s := range registry.Sources(r, tt.prefix, tt.path) {
			paths = append(paths, s.Path)
			if i >= len(tt.answers) || tt.answers[i] == "" || s.Accept == "" {
				continue
			}
			when, err := s.Read(strings.NewReader(tt.answers[i]), r)
			if err == nil && got.IsZero() {
				got = when
			}
			if (err == nil) == when.IsZero() {
				t.Errorf("%s: %v %v", tt.path, when, err)
			}
		}
		if strings.Join(paths, " ") != tt.sources {
			t.Errorf("%s: asks %q, want %q", tt.path, paths, tt.sources)
		}
		if fmt.Sprint(got.Format(time.RFC3339) == at) != fmt.Sprint(tt.want) || !tt.want && !got.IsZero() {
			t.Errorf("%s: %v", tt.path, got)
		}
	}
	index, err := registry.Parse(registry.NPM, "", "GET", "/left-pad")
	if err != nil || registry.Sources(index, "", "/left-pad") != nil || registry.Sources(nil, "", "/") != nil {
		t.Error("sources of what is no download", err)
	}
}

func FuzzPublished(f *testing.F) {
	f.Add("/a/-/a-1.tgz", []byte(`{"time":{"1":"2026-01-02T03:04:05Z"}}`))
	f.Add("/p/a-1.zip", []byte(`{"files":[{"filename":"a-1.zip","upload-time":"2026-01-02T03:04:05Z"}]}`))
	f.Add("/crates/a/a-1.crate", []byte(`{"vers":"1","pubtime":"2026-01-02T03:04:05Z"}`))
	f.Fuzz(func(t *testing.T, path string, answer []byte) {
		for _, kind := range registry.Kinds() {
			r, err := registry.Parse(kind, "", "GET", path)
			if err != nil {
				continue
			}
			for _, s := range registry.Sources(r, "", path) {
				if when, err := s.Read(strings.NewReader(string(answer)), r); (err == nil) == when.IsZero() {
					t.Errorf("%v %v", when, err)
				}
			}
		}
	})
}
