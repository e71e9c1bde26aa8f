package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// serveTLS serves a handler with the tests' own CA.
func serveTLS(t *testing.T, h http.Handler) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := testCA().config()
	config.NextProtos = []string{"http/1.1"}
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(tls.NewListener(l, config)) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String()
}

// TestMessages: a sandbox whose policy speaks of operations, calls, pushes and
// packages starts, and real clients meet the rules.
func TestMessages(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		root := t.TempDir()
		bare := filepath.Join(root, "team", "app.git")
		seed := t.TempDir()
		git := func(dir string, args ...string) string {
			t.Helper()
			cmd := exec.Command("git", args...)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + seed, "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.test", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.test"}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("git %s: %s", args, out)
			}
			return strings.TrimSpace(string(out))
		}
		git(root, "init", "-q", "--bare", "-b", "main", bare)
		git(bare, "config", "http.receivepack", "true")
		git(seed, "init", "-q", "-b", "main")
		git(seed, "commit", "-q", "--allow-empty", "-m", "first")
		git(seed, "push", "-q", bare, "main")
		backend := filepath.Join(git(seed, "--exec-path"), "git-http-backend")
		mux := http.NewServeMux()
		mux.Handle("/team/", &cgi.Handler{Path: backend, InheritEnv: []string{"PATH"}, Stderr: io.Discard,
			Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=agent", "HOME=" + seed}})
		mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintln(w, `{"data":"arrived"}`)
		})
		addr := serveTLS(t, mux)
		policy := policyHead() + `network_policies:
  all:
    endpoints:
      - {host: git.test, port: 443, protocol: git, rules: [{allow: {operation: fetch, repository: "**"}}, {allow: {operation: push, repository: team/app, refs: ["agent/*"]}}]}
      - {host: api.test, port: 443, path: /graphql, protocol: graphql, rules: [{allow: {operation_type: query}}]}
      - {host: api.test, port: 443, path: /rpc, protocol: json-rpc, rules: [{allow: {method: sum}}]}
      - {host: api.test, port: 443, path: /mcp, protocol: mcp, rules: [{allow: {method: tools/call, tool: search}}]}
      - {host: api.test, port: 443, path: "/npm/**", protocol: package, registry: npm, registry_path: /npm, rules: [{allow: {package: lib, versions: ["1.*"]}}]}
    binaries: any
`
		l := box{policy: policy, flags: []string{"--trust-ca", caFile(t), "--upstream", "git.test:443=" + addr, "--upstream", "api.test:443=" + addr}}.start(t)
		for _, c := range []struct{ script, want string }{
			{"git clone -q https://git.test/team/app a && cd a && git config user.email a@example.test && git config user.name a && git commit -q --allow-empty -m second && echo cloned", "cloned"},
			{"cd a && git push -q origin HEAD:refs/heads/agent/one && echo pushed", "pushed"},
			{"cd a && git push origin HEAD:main; echo ended", "403"},
			{"cd a && git push -q origin :agent/one; echo ended", "403"},
			{`curl -sS -H 'Content-Type: application/json' -d '{"query":"{a}"}' https://api.test/graphql`, "arrived"},
			{`curl -sS -H 'Content-Type: application/json' -d '{"query":"mutation {a}"}' https://api.test/graphql`, "policy_denied"},
			{`curl -sS -H 'Content-Type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"sum"}' https://api.test/rpc`, "arrived"},
			{`curl -sS -H 'Content-Type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"drop"}' https://api.test/rpc`, `"id":1,"error":{"code":403`},
			{`curl -sS -H 'Content-Type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"other"}}' https://api.test/mcp`, `"id":1,"error":{"code":403`},
			{"curl -sS https://api.test/npm/lib/-/lib-1.0.0.tgz", "arrived"},
			{"curl -sS https://api.test/npm/lib/-/lib-2.0.0.tgz", "policy_denied"},
		} {
			if got := l.sh(c.script); !strings.Contains(got, c.want) {
				t.Errorf("%s: %s, want %s", c.script, got, c.want)
			}
		}
		if main := git(bare, "rev-parse", "main"); main != git(seed, "rev-parse", "main") {
			t.Error("main was pushed to")
		}
		git(bare, "rev-parse", "--verify", "agent/one")
		l.event(0, "the push", func(e audit.Event) bool {
			return e.Verdict == "deny" && e.Detail["git"] == "push team/app refs/heads/main (not known to be a fast forward)"
		})
		l.event(0, "the mutation", func(e audit.Event) bool { return e.Verdict == "deny" && e.Detail["graphql"] == "mutation{a}" })
	})
}
