package policy

import (
	"testing"

	"github.com/creel-run/creel/policy/glob"
)

// All globs of up to three of these parts, against all texts of up to four
// letters: two globs that match one text overlap, and where no ** is in play
// globs that share no text do not.
func TestGlobsOverlap(t *testing.T) {
	parts := []string{"a", "b", "/", "*", "?", "/**", "**/"}
	var globs []string
	var grow func(prefix string, left int)
	grow = func(prefix string, left int) {
		if prefix != "" {
			globs = append(globs, prefix)
		}
		for _, p := range parts {
			if left > 0 {
				grow(prefix+p, left-1)
			}
		}
	}
	grow("", 3)
	var texts []string
	var spell func(prefix string, left int)
	spell = func(prefix string, left int) {
		texts = append(texts, prefix)
		for _, c := range []string{"a", "b", "/"} {
			if left > 0 {
				spell(prefix+c, left-1)
			}
		}
	}
	spell("", 4)
	matched := make([]map[int]bool, len(globs))
	for i, g := range globs {
		compiled, err := glob.Compile(g, '/')
		if err != nil {
			t.Fatal(err)
		}
		matched[i] = map[int]bool{}
		for j, s := range texts {
			if compiled.Match(s) {
				matched[i][j] = true
			}
		}
	}
	failed := 0
	for i, a := range globs {
		for k, b := range globs {
			common := ""
			found := false
			for j := range matched[i] {
				if matched[k][j] {
					common, found = texts[j], true
					break
				}
			}
			got := globsOverlap(a, b, '/')
			switch {
			case found && !got:
				t.Errorf("%q and %q both match %q", a, b, common)
			case !found && got && len(a) <= 2 && len(b) <= 2:
				t.Errorf("%q and %q share no text", a, b)
			default:
				continue
			}
			if failed++; failed > 20 {
				t.FailNow()
			}
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"host", "port", "protocol", "read_only", "filesystem_policy", "key"}
	for in, want := range map[string]string{
		"hots": "host", "prot": "port", "Protocol": "protocol", "readonly": "read_only", "read-only": "read_only",
		"filesystem": "filesystem_policy", "api_key": "key", "zzzz": "", "": "", "x": "",
	} {
		if got := nearest(in, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLooksSecret(t *testing.T) {
	for s, want := range map[string]bool{
		"sk-proj-abc": true, "ghp_x": true, "https://user:pass@a.test/": true, "eyJhbGciOi": true,
		"a1b2c3d4e5f6a7b8c9d0": true, "Bearer x": true,
		"api.example.com": false, "/usr/lib/node_modules/@openai/codex": false, "us-central1-aiplatform.googleapis.com": false,
		"allow_api_github_com_443": false, "network_policies": false, "https://models.example/v1": false, "": false,
	} {
		if got := looksSecret(s); got != want {
			t.Errorf("looksSecret(%q) = %v", s, got)
		}
	}
}
