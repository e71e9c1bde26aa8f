package egress

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

const gitPolicy = `version: 2
network_policies:
  code:
    endpoints:
      - host: ok.test
        port: 443
        protocol: git
        rules:
          - allow: {operation: fetch, repository: "team/*"}
          - allow: {operation: push, repository: team/app, refs: ["agent/*"]}
          - allow: {operation: push, repository: team/free, refs: ["refs/**"], force: true, delete: true}
        deny_rules:
          - {operation: fetch, repository: team/secret}
    binaries: any
`

// gitRig is a Git client of an agent's, and a real server behind the egress.
type gitRig struct {
	*rig
	env  []string
	root string // of the server's repositories
}

func newGitRig(t *testing.T, text string) *gitRig {
	t.Helper()
	core, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed")
	}
	backend := filepath.Join(strings.TrimSpace(string(core)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("git-http-backend is not installed")
	}
	g := &gitRig{rig: newRig(t, text), root: t.TempDir()}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, g.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	g.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_SSL_CAINFO=" + ca,
		"HTTPS_PROXY=http://" + g.proxy, "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.test", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.test"}
	served := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + g.root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=agent"},
		InheritEnv: []string{"PATH"}, Stderr: io.Discard}
	g.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		if len(q.TransferEncoding) > 0 { // CGI has none
			b, err := io.ReadAll(q.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			q.TransferEncoding, q.ContentLength, q.Body = nil, int64(len(b)), io.NopCloser(bytes.NewReader(b))
		}
		served.ServeHTTP(w, q)
	})
	for _, name := range []string{"team/app", "team/free", "team/secret", "other/app"} {
		path := filepath.Join(g.root, name+".git")
		g.git(t.TempDir(), "init", "-q", "--bare", "-b", "main", path)
		g.git(path, "config", "http.receivepack", "true")
		seed := t.TempDir()
		g.git(seed, "init", "-q", "-b", "main")
		g.commit(seed, "first")
		g.git(seed, "push", "-q", path, "main", "main:agent/one")
	}
	return g
}

// try runs git as the agent does, and gives what it says.
func (g *gitRig) try(dir string, args ...string) (string, bool) {
	g.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, g.env
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func (g *gitRig) git(dir string, args ...string) string {
	g.t.Helper()
	out, ok := g.try(dir, args...)
	if !ok {
		g.t.Fatalf("git %s: %s", args, out)
	}
	return strings.TrimSpace(out)
}

func (g *gitRig) commit(dir, text string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.git(dir, "add", "file")
	g.git(dir, "commit", "-q", "-m", text)
}

// at is what a ref of the server's points to; empty: it is not there.
func (g *gitRig) at(repository, ref string) string {
	g.t.Helper()
	out, _ := g.try(filepath.Join(g.root, repository+".git"), "rev-parse", "--verify", "-q", ref)
	return strings.TrimSpace(out)
}

func TestGit(t *testing.T) {
	g := newGitRig(t, gitPolicy)
	for _, version := range []string{"0", "2"} {
		for _, name := range []string{"team/app", "team/app.git"} {
			dir := filepath.Join(t.TempDir(), "c")
			g.git(t.TempDir(), "-c", "protocol.version="+version, "clone", "-q", "https://ok.test/"+name, dir)
			if g.git(dir, "rev-parse", "HEAD") != g.at("team/app", "refs/heads/main") {
				t.Error("the clone is another one")
			}
		}
	}
	g.git(t.TempDir(), "clone", "-q", "--depth", "1", "https://ok.test/team/free", filepath.Join(t.TempDir(), "c"))
	for _, name := range []string{"team/secret", "other/app"} {
		if out, ok := g.try(t.TempDir(), "clone", "-q", "https://ok.test/"+name, filepath.Join(t.TempDir(), "c")); ok || !strings.Contains(out, "403") {
			t.Errorf("%s: %s", name, out)
		}
	}
	g.event("denied fetch", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && ev.Detail["git"] == "refs for a fetch of other/app" && ev.Rule == ""
	})

	work := filepath.Join(t.TempDir(), "w")
	g.git(t.TempDir(), "clone", "-q", "https://ok.test/team/app", work)
	g.commit(work, "second")
	push := func(to string, flags ...string) (string, bool) {
		t.Helper()
		return g.try(work, append(append([]string{"push", "-q"}, flags...), "origin", to)...)
	}
	want := func(allowed bool, what, ref, to string, flags ...string) {
		t.Helper()
		before := g.at("team/app", ref)
		out, ok := push(to, flags...)
		if after := g.at("team/app", ref); ok != allowed || (after != before) != allowed || !allowed && !strings.Contains(out, "403") {
			t.Errorf("%s: %s\n%s before, %s after", what, out, before, after)
		}
	}
	want(false, "main", "refs/heads/main", "HEAD:main")
	g.event("a push that nobody looked at", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && ev.Detail["git"] == "push team/app refs/heads/main (not known to be a fast forward)"
	})
	want(true, "fast forward", "refs/heads/agent/one", "HEAD:agent/one")
	want(true, "new branch", "refs/heads/agent/new", "HEAD:refs/heads/agent/new")
	g.event("allowed push", func(ev audit.Event) bool {
		return ev.Verdict == "allow" && ev.Detail["git"] == "push team/app refs/heads/agent/one"
	})
	want(false, "tag", "refs/tags/v1", "HEAD:refs/tags/v1")
	g.event("denied tag", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && ev.Detail["git"] == "push team/app refs/tags/v1" &&
			strings.HasPrefix(ev.Detail[audit.RuleMissing], "# add to the rules of the endpoint at test.yaml:") &&
			strings.Contains(ev.Detail[audit.RuleMissing], "#   - allow: {operation: push, repository: team/app, refs: [refs/tags/v1]}\n")
	})
	want(false, "deep branch", "refs/heads/agent/a/b", "HEAD:refs/heads/agent/a/b")
	want(false, "deletion", "refs/heads/agent/new", ":agent/new")
	if out, ok := g.try(work, "push", "-q", "origin", "HEAD:refs/heads/agent/two", "HEAD:main"); ok || g.at("team/app", "refs/heads/agent/two") != "" {
		t.Errorf("one of two: %s", out)
	}
	g.commit(work, "third")
	want(true, "one of several commits", "refs/heads/agent/one", "HEAD:agent/one")
	g.git(work, "reset", "-q", "--hard", "HEAD~1")
	g.commit(work, "another third")
	want(false, "force", "refs/heads/agent/one", "+HEAD:agent/one")
	g.event("denied force", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && ev.Detail["git"] == "push team/app refs/heads/agent/one (forced)" && ev.Detail["error"] == codePolicy
	})
	g.git(work, "fetch", "-q", "origin")
	g.git(work, "merge", "-q", "-X", "ours", "origin/agent/one", "-m", "merge")
	want(true, "merge", "refs/heads/agent/one", "HEAD:agent/one")

	// Where the rule says so, all of it goes.
	g.git(work, "remote", "set-url", "origin", "https://ok.test/team/free")
	for _, to := range []string{"+HEAD:refs/heads/main", "HEAD:refs/tags/v1", ":refs/heads/agent/one"} {
		if out, ok := push(to); !ok {
			t.Errorf("%s: %s", to, out)
		}
	}
	if g.at("team/free", "refs/tags/v1") == "" || g.at("team/free", "refs/heads/agent/one") != "" {
		t.Error("the free repository is not as it was pushed")
	}
}

// oneOne makes git speak HTTP/1.1 where a push does not fit into a buffer: with
// windows of HTTP/2 that are full now and then, git 2.39 over libcurl 7.88 asks for
// more of a pack that has ended, and hangs; towards a server of Go's alone, too.
const oneOne = "http.version=HTTP/1.1"

// TestLargePush: git sends what is longer than its buffer in chunks, and asks
// before with a push that does nothing.
func TestLargePush(t *testing.T) {
	g := newGitRig(t, gitPolicy)
	work := filepath.Join(t.TempDir(), "w")
	g.git(t.TempDir(), "clone", "-q", "https://ok.test/team/app", work)
	noise := make([]byte, 3<<20)
	x := uint32(7)
	for i := range noise { // no compression makes it small
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	if err := os.WriteFile(filepath.Join(work, "noise"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	g.git(work, "add", "noise")
	g.git(work, "commit", "-q", "-m", "noise")
	tip := g.git(work, "rev-parse", "HEAD")
	for _, ref := range []string{"refs/heads/agent/one", "refs/heads/agent/large"} { // looked at, and not
		g.git(work, "-c", oneOne, "-c", "http.postBuffer=65536", "push", "-q", "origin", "HEAD:"+ref)
		if g.at("team/app", ref) != tip {
			t.Errorf("%s is not there", ref)
		}
	}
	if out, ok := g.try(work, "-c", oneOne, "-c", "http.postBuffer=65536", "push", "-q", "origin", "HEAD:main"); ok || g.at("team/app", "refs/heads/main") == tip {
		t.Error(out)
	}
	if !g.s.spools.TryAcquire(maxSpools) {
		t.Error("room for pushes is still counted")
	}
}

// TestGitRequests that no client of Git makes, or not for what rules speak of.
func TestGitRequests(t *testing.T) {
	r := newRig(t, gitPolicy)
	h, arrived := arrivals()
	r.web("ok.test", 443, h)
	c := r.client()
	const (
		old  = "1111111111111111111111111111111111111111"
		tip  = "2222222222222222222222222222222222222222"
		zero = "0000000000000000000000000000000000000000"
	)
	pkt := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	create := pkt(zero+" "+tip+" refs/heads/agent/x\x00report-status") + "0000"
	encode := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		fmt.Fprint(z, s)
		z.Close()
		return b.String()
	}
	const upload, receive = "application/x-git-upload-pack-request", "application/x-git-receive-pack-request"
	for name, tt := range map[string]struct {
		method, path, body string
		header             []string
		allowed            bool
	}{
		"fetch":               {"POST", "/team/app.git/git-upload-pack", "0000", []string{"Content-Type", upload}, true},
		"encoded fetch":       {"POST", "/team/app.git/git-upload-pack", encode("0000"), []string{"Content-Type", upload, "Content-Encoding", "gzip"}, true},
		"fetch as a form":     {"POST", "/team/app.git/git-upload-pack", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, false},
		"create":              {"POST", "/team/app.git/git-receive-pack", create + "PACK", []string{"Content-Type", receive}, true},
		"probe":               {"POST", "/team/app.git/git-receive-pack", "0000", []string{"Content-Type", receive}, true},
		"probe elsewhere":     {"POST", "/other/app.git/git-receive-pack", "0000", []string{"Content-Type", receive}, false},
		"more than a probe":   {"POST", "/team/app.git/git-receive-pack", "0000" + create, []string{"Content-Type", receive}, false},
		"encoded push":        {"POST", "/team/app.git/git-receive-pack", encode(create), []string{"Content-Type", receive, "Content-Encoding", "gzip"}, false},
		"push as a fetch":     {"POST", "/team/app.git/git-receive-pack", create, []string{"Content-Type", upload}, false},
		"push of nothing":     {"POST", "/team/app.git/git-receive-pack", "", []string{"Content-Type", receive}, false},
		"push by PUT":         {"PUT", "/team/app.git/git-receive-pack", create, []string{"Content-Type", receive}, false},
		"half a command":      {"POST", "/team/app.git/git-receive-pack", create[:30], []string{"Content-Type", receive}, false},
		"update, no pack":     {"POST", "/team/app.git/git-receive-pack", pkt(old+" "+tip+" refs/heads/agent/x\x00report-status") + "0000", []string{"Content-Type", receive}, false},
		"update, odd pack":    {"POST", "/team/app.git/git-receive-pack", pkt(old+" "+tip+" refs/heads/agent/x\x00report-status") + "0000PACKxxxxxxxx", []string{"Content-Type", receive}, false},
		"two refs":            {"POST", "/team/app.git/git-receive-pack", pkt(zero+" "+tip+" refs/heads/agent/x\x00report-status") + pkt(zero+" "+tip+" refs/heads/main") + "0000", []string{"Content-Type", receive}, false},
		"refs with a body":    {"GET", "/team/app.git/info/refs?service=git-upload-pack", "x", nil, false},
		"refs of two":         {"GET", "/team/app.git/info/refs?service=git-upload-pack&service=git-receive-pack", "", nil, false},
		"the old protocol":    {"GET", "/team/app.git/info/refs", "", nil, false},
		"an object":           {"GET", "/team/app.git/objects/11/11111111111111111111111111111111111111", "", nil, false},
		"HEAD of the server":  {"GET", "/team/app.git/HEAD", "", nil, false},
		"large files":         {"POST", "/team/app.git/info/lfs/objects/batch", "{}", []string{"Content-Type", "application/vnd.git-lfs+json"}, false},
		"another API":         {"GET", "/api/v1/repos", "", nil, false},
		"a query with a push": {"POST", "/team/app.git/git-receive-pack?x=y", create, []string{"Content-Type", receive}, false},
		"update of another":   {"POST", "/team/app.git/git-receive-pack", pkt(old+" "+tip+" refs/heads/main\x00report-status") + "0000PACKxxxxxxxx", []string{"Content-Type", receive}, false},
		"removal":             {"POST", "/team/app.git/git-receive-pack", pkt(old+" "+zero+" refs/heads/agent/x\x00report-status") + "0000", []string{"Content-Type", receive}, false},
		"refs of a push":      {"GET", "/other/app.git/info/refs?service=git-receive-pack", "", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := send(t, c, tt.method, "https://ok.test"+tt.path, tt.body, tt.header...)
			got := arrived()
			if want, ok := map[string]string{
				"update of another": "refs: [refs/heads/main]}\n",
				"two refs":          "refs: [refs/heads/main]}\n", // the other one is allowed
				"removal":           "refs: [refs/heads/agent/x], delete: true}\n",
				"refs of a push":    "# no lines are suggested: which refs would be pushed is not known yet",
				"probe elsewhere":   "# no lines are suggested: which refs would be pushed is not known yet",
			}[name]; ok {
				var d denialBody
				if err := json.Unmarshal([]byte(body), &d); err != nil || d.RuleMissing == nil || !strings.Contains(d.RuleMissing.Lines, want) {
					t.Errorf("suggests %+v, want %q", d.RuleMissing, want)
				}
			}
			if tt.allowed {
				if resp.StatusCode != 200 || len(got) != 1 || got[0] != tt.method+" "+tt.path+" "+tt.body {
					t.Errorf("%d %s, arrived %q", resp.StatusCode, body, got)
				}
				return
			}
			if wantDenial(t, resp, body, http.StatusForbidden, codePolicy); len(got) != 0 {
				t.Errorf("arrived %q", got)
			}
		})
	}
}
