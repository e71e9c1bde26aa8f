package registry_test

import (
	"fmt"
	"testing"

	"github.com/creel-run/creel/policy/registry"
)

func TestParse(t *testing.T) {
	tests := []struct {
		kind                 registry.Kind
		prefix, method, path string
		want                 string // action name version; "": refused
	}{
		{registry.NPM, "", "GET", "/left-pad", "metadata left-pad "},
		{registry.NPM, "", "HEAD", "/left-pad/1.3.0", "metadata left-pad 1.3.0"},
		{registry.NPM, "", "GET", "/@acme%2Fapp", "metadata @acme/app "},
		{registry.NPM, "", "GET", "/@acme/app", "metadata @acme/app "},
		{registry.NPM, "", "GET", "/left-pad/-/left-pad-1.3.0.tgz", "download left-pad 1.3.0"},
		{registry.NPM, "", "GET", "/@acme/app/-/app-2.0.0-rc.1.tgz", "download @acme/app 2.0.0-rc.1"},
		{registry.NPM, "", "GET", "/@acme/app/-/other-2.0.0.tgz", ""}, // another package's file
		{registry.NPM, "", "PUT", "/left-pad", "publish left-pad "},
		{registry.NPM, "", "DELETE", "/left-pad/-/left-pad-1.3.0.tgz/-rev/1", "publish left-pad "},
		{registry.NPM, "", "POST", "/-/npm/v1/security/advisories/bulk", ""},
		{registry.NPM, "", "GET", "/Left-Pad", ""},
		{registry.NPM, "", "GET", "/@acme", ""},
		{registry.NPM, "", "GET", "/..", ""},
		{registry.NPM, "/repository/npm", "GET", "/repository/npm/left-pad", "metadata left-pad "},
		{registry.NPM, "/repository/npm/", "GET", "/repository/npmx/left-pad", ""},
		{registry.NPM, "", "GET", "left-pad", ""},

		{registry.PyPI, "", "GET", "/simple/", "index  "},
		{registry.PyPI, "", "GET", "/simple/Zope.Interface/", "metadata zope-interface "},
		{registry.PyPI, "", "GET", "/simple/requests", "metadata requests "},
		{registry.PyPI, "", "GET", "/packages/ab/cd/ef/requests-2.31.0-py3-none-any.whl", "download requests 2.31.0"},
		{registry.PyPI, "", "GET", "/packages/ab/cd/ef/requests-2.31.0-py3-none-any.whl.metadata", "metadata requests 2.31.0"},
		{registry.PyPI, "", "GET", "/packages/ab/zope.interface-6.0.tar.gz", "download zope-interface 6.0"},
		{registry.PyPI, "", "GET", "/packages/ab/readme.txt", ""},
		{registry.PyPI, "", "GET", "/pypi/requests/json", "metadata requests "},
		{registry.PyPI, "", "GET", "/pypi/requests/2.31.0/json", "metadata requests 2.31.0"},
		{registry.PyPI, "", "POST", "/legacy/", "publish  "},

		{registry.Go, "", "GET", "/example.test/mod/@v/list", "metadata example.test/mod "},
		{registry.Go, "", "GET", "/example.test/mod/@latest", "metadata example.test/mod "},
		{registry.Go, "", "GET", "/example.test/!mod/v2/@v/v2.0.1.zip", "download example.test/Mod/v2 v2.0.1"},
		{registry.Go, "", "GET", "/example.test/mod/@v/v0.0.0-20260101000000-abcdefabcdef.info", "metadata example.test/mod v0.0.0-20260101000000-abcdefabcdef"},
		{registry.Go, "", "GET", "/example.test/Mod/@v/v1.0.0.zip", ""}, // two forms of one name
		{registry.Go, "", "GET", "/example.test/mod/@v/../@v/v1.0.0.zip", ""},
		{registry.Go, "", "POST", "/example.test/mod/@v/list", ""},
		{registry.Go, "", "GET", "/@v/list", ""},

		{registry.Cargo, "", "GET", "/config.json", "index  "},
		{registry.Cargo, "", "GET", "/se/rd/serde", "metadata serde "},
		{registry.Cargo, "", "GET", "/3/a/abc", "metadata abc "},
		{registry.Cargo, "", "GET", "/1/a", "metadata a "},
		{registry.Cargo, "", "GET", "/xx/xx/serde", ""},
		{registry.Cargo, "", "GET", "/api/v1/crates/serde_json/1.0.1/download", "download serde-json 1.0.1"},
		{registry.Cargo, "", "GET", "/crates/serde/serde-1.0.1.crate", "download serde 1.0.1"},
		{registry.Cargo, "", "PUT", "/api/v1/crates/new", "publish  "},
		{registry.Cargo, "", "DELETE", "/api/v1/crates/serde/1.0.0/yank", "publish  "},

		{registry.Debian, "", "GET", "/debian/dists/stable/InRelease", "index  "},
		{registry.Debian, "", "GET", "/debian/pool/main/c/curl/curl_8.0.1-1_amd64.deb", "download curl 8.0.1-1"},
		{registry.Debian, "", "GET", "/debian/pool/main/v/vim/vim_2%3A9.0-1_amd64.deb", "download vim 2:9.0-1"},
		{registry.Debian, "", "GET", "/debian/pool/main/c/curl/curl_8.0.1.orig.tar.gz", ""},
		{registry.Debian, "", "PUT", "/debian/pool/main/c/curl/curl_8.0.1-1_amd64.deb", ""},

		{"", "", "GET", "/x", ""},
		{"maven", "", "GET", "/x", ""},
	}
	for _, tt := range tests {
		got := ""
		if r, err := registry.Parse(tt.kind, tt.prefix, tt.method, tt.path); err == nil {
			got = fmt.Sprintf("%v %s %s", r.Action, r.Name, r.Version)
		}
		if got != tt.want {
			t.Errorf("%s %s %s: %q, want %q", tt.kind, tt.method, tt.path, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("GET", "/@acme%2Fapp/-/app-1.0.tgz")
	f.Add("GET", "/example.test/!mod/@v/v1.0.0.zip")
	f.Fuzz(func(t *testing.T, method, path string) {
		for _, kind := range registry.Kinds() {
			r, err := registry.Parse(kind, "", method, path)
			if (err == nil) != (r != nil && r.Action != registry.Unknown) {
				t.Errorf("%s: %+v, %v", kind, r, err)
			}
			if r != nil && (r.Action == registry.Download) && (r.Name == "" || r.Version == "") {
				t.Errorf("%s %q: a download of nothing: %+v", kind, path, r)
			}
		}
	})
}
