//go:build agents

// The real agents of `make agents`; `make test-agents` runs these.

package e2e

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/internal/fakemodel"
)

// agentPatience bounds one turn: OpenClaw needs 20 s on a quiet machine with two
// processors.
const agentPatience = 4 * time.Minute

// agentsRoot is where the agents are installed, in a place that every user can
// read: a checkout may lie in a home of root's.
func agentsRoot(t *testing.T) string {
	t.Helper()
	root, err := bindAgents()
	if err != nil {
		t.Fatalf("the agents: %v\nhint: make agents, then make test-agents", err)
	}
	return root
}

var bindAgents = sync.OnceValues(func() (string, error) {
	return bind(agentsVar, filepath.Join("node_modules", "openclaw"))
})

// agentRun is one agent with its model, its hosts and a task.
type agentRun struct {
	name   string
	words  []string // its arguments
	flags  []string
	fetch  bool // it has a fetch tool that goes out by itself
	folder string
	sink   *sink
	model  *fakemodel.Server
	key    string
}

const lastWord = "the last word is HERON"

// do gives the agent the task and checks, from outside, what it did.
func (a *agentRun) do(t *testing.T) result {
	t.Helper()
	root := agentsRoot(t)
	a.sink, a.key = newSink(t), canary("model")
	a.folder = filepath.Join(t.TempDir(), "ws")
	if err := os.Mkdir(a.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	task := filepath.Join(a.folder, "task.txt")
	if err := os.WriteFile(task, []byte("the task is PELICAN\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := fakemodel.Script{
		{Say: "I read the task first."}, {Read: task},
		{Write: &fakemodel.File{Path: filepath.Join(a.folder, "notes.md"), Content: "read and understood\n"}},
		{Run: "curl -sS https://allowed.test/page"},
		{Fetch: "https://allowed.test/fetched"},
		{Run: "curl -sS https://denied.test/secret"},
		// Quick, because OpenClaw puts what lasts 10 s into the background. In two parts: what the agent notes of this command must not be what is looked for.
		{Run: "a=" + a.key[:3] + " b=" + a.key[3:12] + " c=KEY; cat /proc/[0-9]*/environ /run/creel/agent/* 2>/dev/null | grep -qa $a$b && echo $c-FOUND; grep -rqa --include='*.json' --include='*.toml' $a$b ~ && echo $c-FOUND; echo searched"},
		{Say: "All done, " + lastWord + "."},
	}
	if !a.fetch { // its tool asks the model's service to fetch
		script[4] = fakemodel.Step{Run: "curl -sS https://allowed.test/fetched"}
	}
	a.model = fakemodel.New(fakemodel.Config{Key: a.key, Script: script})
	backend := httptest.NewServer(a.model)
	defer backend.Close()
	// What a newcomer does: print the agent's policy, and add a host.
	text := creelCmd(t, "agent", "policy", a.name).want(t, 0).stdout
	text = strings.Replace(text, "network_policies: {}", `network_policies:
  allowed:
    endpoints: [{host: allowed.test, port: 443, protocol: rest, access: read-only}]
    binaries: any`, 1)
	b := box{policy: text, workspace: a.folder, env: []string{"E2E_MODEL_KEY=" + a.key},
		flags: join([]string{"--agent", a.name, "--agent-root", root, "--trust-ca", caFile(t), "--inference", backend.URL, "--inference-key", "env:E2E_MODEL_KEY"},
			a.sink.upstreams("allowed.test", "denied.test"), a.flags)}
	cmd, log, _ := b.setup(t, a.words...)
	r := finishIn(t, cmd, agentPatience)
	r.audit = log
	if r.code != 0 {
		t.Fatalf("status %d\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
	}
	a.check(t, r)
	return r
}

func (a *agentRun) check(t *testing.T, r result) {
	t.Helper()
	r.out(t, lastWord)
	if got, err := os.ReadFile(filepath.Join(a.folder, "notes.md")); err != nil || string(got) != "read and understood\n" {
		t.Errorf("the note: %q, %v", got, err)
	}
	if !a.sink.got("/page") || !a.sink.got("/fetched") {
		t.Errorf("the allowed host saw %v", a.sink.requests())
	}
	if a.sink.got("/secret") || a.sink.has(func(s seen) bool { return s.Host != "allowed.test" }) {
		t.Errorf("a denied request arrived: %v", a.sink.requests())
	}
	asked := a.model.Requests()
	var turns, results int
	for _, q := range asked {
		if q.Key != a.key {
			t.Errorf("%s %s came with another key", q.Method, q.Path)
		}
		if len(q.Tools) > 0 {
			turns++
			if !q.Stream {
				t.Errorf("%s was asked for without streaming", q.Path)
			}
		}
		results = max(results, len(q.Results))
	}
	last := asked[len(asked)-1]
	for _, q := range asked {
		if len(q.Results) >= len(last.Results) {
			last = q
		}
	}
	if turns < 7 || results != 6 {
		t.Errorf("the model was asked %d times and saw %d results", turns, results)
	}
	all := strings.Join(last.Results, "\n")
	if !strings.Contains(all, "PELICAN") || !strings.Contains(all, "policy_denied") || !strings.Contains(all, "searched") {
		t.Errorf("what the tools gave back: %s", all)
	}
	if strings.Contains(all, "KEY-FOUND") || a.sink.holds(a.key[:12]) {
		t.Errorf("the key is inside: %s", all)
	}
	log, err := os.ReadFile(r.audit)
	if err != nil || strings.Contains(string(log)+r.stderr+r.stdout, a.key) {
		t.Errorf("the log: %v, or it holds the key", err)
	}
	events := readEvents(t, r.audit)
	for what, match := range map[string]func(audit.Event) bool{
		"the denied host": func(e audit.Event) bool { return e.Verdict == "deny" && e.Host == "denied.test" },
		"the allowed one": func(e audit.Event) bool { return e.Verdict == "allow" && e.Host == "allowed.test" },
		"the rerouted model": func(e audit.Event) bool {
			return e.Kind == audit.Inference && e.Verdict == "reroute"
		},
	} {
		if !slices.ContainsFunc(events, match) {
			t.Errorf("the audit does not tell of %s", what)
		}
	}
	creelCmd(t, "audit", "verify", r.audit).want(t, 0)
}

func TestAgentClaude(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		a := agentRun{name: "claude", words: []string{"-p", "do the task", "--dangerously-skip-permissions"}}
		a.do(t)
	})
}

func TestAgentCodex(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		a := agentRun{name: "codex", words: []string{"exec", "--skip-git-repo-check", "do the task"}}
		a.do(t)
	})
}

func TestAgentGemini(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		a := agentRun{name: "gemini", words: []string{"--yolo", "-m", "gemini-2.5-pro", "-p", "do the task"}}
		a.do(t)
	})
}

func TestAgentOpenCode(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		a := agentRun{name: "opencode", words: []string{"run", "do the task"}, fetch: true}
		a.do(t)
	})
}

// TestAgentOpenClaw: one turn without a gateway.
func TestAgentOpenClaw(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		a := agentRun{name: "openclaw", words: []string{"agent", "--local", "--agent", "main", "--message", "do the task"}, fetch: true}
		a.do(t)
	})
}

// gateway starts OpenClaw as it is meant to run, waits until it listens, sends
// it a message from a second process of the sandbox, and prints the answer.
const gateway = `
echo "$PPID $$ $(id -u)" >&2
sh -c "exec $CREEL_AGENT gateway run" >gateway.log 2>&1 &
for i in $(seq 600); do
	(exec 9<>/dev/tcp/127.0.0.1/18789) 2>/dev/null && break
	kill -0 $! || { cat gateway.log; exit 9; }
	sleep 0.2
done
sh -c "exec $CREEL_AGENT agent --agent main --message 'do the task' --timeout 150" && status=0 || { status=$?; tail -50 gateway.log; }
ls ~/.openclaw >&2
kill $!
wait $!
exit $status
`

// TestAgentOpenClawGateway: the always-on gateway takes a message and answers;
// what it keeps is there at the next start under the same name.
func TestAgentOpenClawGateway(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("claw-%d", os.Getpid())
		a := agentRun{name: "openclaw", words: []string{"bash", "-c", gateway}, flags: []string{"--agent-shell", "--name", name}, fetch: true}
		a.do(t)
		if log, err := os.ReadFile(filepath.Join(a.folder, "gateway.log")); err != nil || !strings.Contains(string(log), "ready") {
			t.Errorf("the gateway: %s, %v", log, err)
		}
		b := box{workspace: a.folder, name: name, env: []string{"OPENAI_API_KEY=none"},
			flags: []string{"--agent", "openclaw", "--agent-root", agentsRoot(t), "--agent-shell"}}
		r := b.run(t, "sh", "-c", "ls ~/.openclaw/agents").want(t, 0)
		r.out(t, "main")
	})
}
