package git_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy/git"
)

func TestParseTarget(t *testing.T) {
	tests := []struct {
		method, path, service string
		want                  *git.Request
	}{
		{"GET", "/team/app.git/info/refs", "git-upload-pack", &git.Request{Repository: "team/app", Discovery: true}},
		{"GET", "/team/app/info/refs", "git-receive-pack", &git.Request{Repository: "team/app", Push: true, Discovery: true}},
		{"POST", "/team/app.git/git-upload-pack", "", &git.Request{Repository: "team/app"}},
		{"POST", "/a/b/c/git-receive-pack", "", &git.Request{Repository: "a/b/c", Push: true}},
		{"GET", "/team/app.git/info/refs", "", nil},                   // the dumb protocol
		{"GET", "/team/app.git/HEAD", "", nil},                        // likewise
		{"GET", "/team/app.git/info/refs", "git-upload-archive", nil}, // another service
		{"POST", "/team/app.git/info/refs", "", nil},
		{"GET", "/team/app.git/git-receive-pack", "git-receive-pack", nil},
		{"PUT", "/team/app.git/git-receive-pack", "", nil},
		{"POST", "/.git/git-receive-pack", "", nil},
		{"POST", "//git-receive-pack", "", nil},
		{"POST", "/git-receive-pack", "", nil},
		{"POST", "/a.git.git/git-receive-pack", "", nil},
		{"POST", "/a%2Fb/git-receive-pack", "", nil},
	}
	for _, tt := range tests {
		query := map[string][]string{}
		if tt.service != "" {
			query["service"] = []string{tt.service}
		}
		got, err := git.ParseTarget(tt.method, tt.path, query)
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%s %s?%s: %+v, %v; want %+v", tt.method, tt.path, tt.service, got, err, tt.want)
		}
	}
	for _, query := range []map[string][]string{
		{"service": {"git-upload-pack", "git-receive-pack"}},
		{"service": {"git-upload-pack"}, "x": {"y"}},
	} {
		if got, err := git.ParseTarget("GET", "/a/info/refs", query); err == nil {
			t.Errorf("%v: %+v", query, got)
		}
	}
}

const (
	zero = "0000000000000000000000000000000000000000"
	one  = "1111111111111111111111111111111111111111"
	two  = "2222222222222222222222222222222222222222"
)

func line(text string) string {
	const digits = "0123456789abcdef"
	n := len(text) + 4
	return string([]byte{digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15]}) + text
}

func TestReadCommands(t *testing.T) {
	caps := "\x00report-status side-band-64k agent=git/2"
	tests := []struct {
		name, text string
		want       string // kind and ref of each; "": refused
	}{
		{"create", line(zero+" "+one+" refs/heads/agent/x"+caps) + "0000", "create refs/heads/agent/x"},
		{"move, delete", line(one+" "+two+" refs/heads/a"+caps) + line(one+" "+zero+" refs/tags/v1\n") + "0000", "move refs/heads/a, delete refs/tags/v1"},
		{"shallow first", line("shallow "+one) + line(zero+" "+one+" refs/heads/a"+caps) + "0000", "create refs/heads/a"},
		{"options", line(zero+" "+one+" refs/heads/a\x00push-options") + "0000" + line("ci.skip") + "0000", "create refs/heads/a"},
		{"options that do not end", line(zero+" "+one+" refs/heads/a\x00push-options") + "0000" + line("ci.skip"), ""},
		{"nothing", "0000", ""},
		{"cut off", line(zero + " " + one + " refs/heads/a" + caps), ""},
		{"a ref twice", line(zero+" "+one+" refs/heads/a"+caps) + line(zero+" "+two+" refs/heads/a") + "0000", ""},
		{"no capabilities", line(zero+" "+one+" refs/heads/a") + "0000", ""},
		{"capabilities later", line(zero+" "+one+" refs/heads/a"+caps) + line(zero+" "+two+" refs/heads/b"+caps) + "0000", ""},
		{"signed", line("push-cert\x00x") + "0000", ""},
		{"upper case", line(zero+" "+strings.ToUpper("abcdef"+one[6:])+" refs/heads/a"+caps) + "0000", ""},
		{"ids of two kinds", line(zero+" "+one+one[:24]+" refs/heads/a"+caps) + "0000", ""},
		{"nothing to nothing", line(zero+" "+zero+" refs/heads/a"+caps) + "0000", ""},
		{"no ref", line(zero+" "+one+" HEAD"+caps) + "0000", ""},
		{"dots", line(zero+" "+one+" refs/heads/../tags/v1"+caps) + "0000", ""},
		{"a line break in a ref", line(zero+" "+one+" refs/heads/a\nb"+caps) + "0000", ""},
		{"delimiter", "0001" + line(zero+" "+one+" refs/heads/a"+caps) + "0000", ""},
		{"length", "00zz", ""},
		{"an endless push", strings.Repeat(line("shallow "+one), 1<<20), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := strings.NewReader(tt.text + "PACK")
			updates, read, err := git.ReadCommands(in)
			if tt.want == "" {
				if !errors.Is(err, git.ErrCommands) {
					t.Errorf("%+v, %v", updates, err)
				}
				return
			}
			var got []string
			for _, u := range updates {
				kind := "move"
				switch {
				case u.Create:
					kind = "create"
				case u.Delete:
					kind = "delete"
				}
				if u.Forced != (kind == "move") {
					t.Errorf("%s: forced %v before the pack was read", u.Ref, u.Forced)
				}
				got = append(got, kind+" "+u.Ref)
			}
			if err != nil || strings.Join(got, ", ") != tt.want {
				t.Errorf("%v, %v; want %s", got, err, tt.want)
			}
			if rest, _ := io.ReadAll(in); string(read) != tt.text || string(rest) != "PACK" {
				t.Errorf("%d of %d bytes were read, %q is left", len(read), len(tt.text), rest)
			}
		})
	}
}

// repository is a real one, made by git.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main", ".")
	return r
}

func (r *repository) git(args ...string) string { return r.gitIn("", args...) }

func (r *repository) gitIn(in string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = r.dir, strings.NewReader(in)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+r.dir, "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.test",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.test", "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z")
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// commit makes one with a message so long that git writes later ones as differences.
func (r *repository) commit(name string) string {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(strings.Repeat(name, 2000)), 0o644); err != nil {
		r.t.Fatal(err)
	}
	r.git("add", ".")
	r.git("commit", "-q", "-m", name+"\n\n"+strings.Repeat("a long message that many commits share\n", 200))
	return r.git("rev-parse", "HEAD")
}

// push is the pack that git sends to move old to new, with its command.
func (r *repository) push(old, new string) ([]git.Update, []byte) {
	r.t.Helper()
	updates, _, err := git.ReadCommands(strings.NewReader(line(old+" "+new+" refs/heads/main\x00report-status") + "0000"))
	if err != nil {
		r.t.Fatal(err)
	}
	pack := exec.Command("git", "pack-objects", "--thin", "--stdout", "--revs", "--delta-base-offset", "-q")
	pack.Dir, pack.Stdin = r.dir, strings.NewReader(new+"\n^"+old+"\n")
	out, err := pack.Output()
	if err != nil {
		r.t.Fatal(err)
	}
	return updates, out
}

func TestFastForward(t *testing.T) {
	r := newRepository(t)
	first := r.commit("one")
	second := r.commit("two")
	for _, name := range []string{"three", "four", "five"} {
		r.commit(name)
	}
	last := r.git("rev-parse", "HEAD")
	r.git("checkout", "-q", "-b", "side", second)
	side := r.commit("aside")
	r.git("checkout", "-q", "main")
	r.git("merge", "-q", "--no-ff", "-m", "both", "side")
	merged := r.git("rev-parse", "HEAD")
	r.git("checkout", "-q", "-b", "other", first)
	amended := r.commit("instead")

	for name, tt := range map[string]struct {
		old, new string
		forced   bool
	}{
		"one commit":          {first, second, false},
		"many":                {first, last, false},
		"a merge":             {last, merged, false},
		"a merge, other side": {side, merged, false},
		"rewritten":           {last, amended, true},
		"back":                {last, first, true}, // an empty pack
	} {
		updates, pack := r.push(tt.old, tt.new)
		if err := git.FastForward(bytes.NewReader(pack), updates); err != nil || updates[0].Forced != tt.forced {
			t.Errorf("%s: forced %v, %v", name, updates[0].Forced, err)
		}
	}

	updates, pack := r.push(first, last)
	for name, bad := range map[string][]byte{
		"cut off": pack[:len(pack)-30], "more behind": append(bytes.Clone(pack), 0), "none": []byte("PACX"), "empty": nil,
		"count": append(append(bytes.Clone(pack[:8]), 0xff, 0xff, 0xff, 0xff), pack[12:]...),
	} {
		if err := git.FastForward(bytes.NewReader(bad), updates); !errors.Is(err, git.ErrPack) || !updates[0].Forced {
			t.Errorf("%s: forced %v, %v", name, updates[0].Forced, err)
		}
	}
}

func FuzzFastForward(f *testing.F) {
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		updates, _, err := git.ReadCommands(strings.NewReader(line(one+" "+two+" refs/heads/a\x00x") + "0000"))
		if err != nil {
			t.Fatal(err)
		}
		_ = git.FastForward(bytes.NewReader(data), updates)
		if !updates[0].Forced {
			t.Error("a push that nobody can have made is a fast forward") // it would be a collision of SHA-1
		}
	})
}

func FuzzReadCommands(f *testing.F) {
	f.Add(line(zero+" "+one+" refs/heads/agent/x\x00push-options") + "0000" + "0000")
	f.Fuzz(func(t *testing.T, text string) {
		updates, read, err := git.ReadCommands(strings.NewReader(text))
		if err == nil && (len(updates) == 0 || !strings.HasPrefix(text, string(read))) {
			t.Errorf("%+v from %q", updates, read)
		}
	})
}
