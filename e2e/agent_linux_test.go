package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ownAgent writes a manifest whose program is the probe.
func ownAgent(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mine")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"agent.yaml": `manifest: 1
name: mine
title: Mine
program: {command: probe}
env: {MINE: "${files}", OPENAI_API_KEY: "${key}"}
files: [{path: own.json, content: '{"home": "${home}", "workspace": "${workspace}"}'}]
state: [.mine]
settings: [.mine.json, .never.json]
policy: policy.yaml
`,
		"policy.yaml": "version: 2\nfilesystem_policy: {include_workdir: true, read_only: [/usr, /etc]}\nnetwork_policies:\n  own:\n    endpoints: [{host: own.test, port: 443}]\n    binaries: any\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestAgentHome: what an agent keeps in its home ends with the sandbox, unless
// that has a name; nothing else of the host's is written.
func TestAgentHome(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		flags := []string{"--agent", ownAgent(t), "--agent-root", filepath.Dir(probePath()), "--agent-shell"}
		const look = `echo "home $HOME $(cat ~/kept 2>/dev/null)"; echo word > ~/kept; ln -sfn /etc ~/link; id -u`
		for range 2 {
			r := box{flags: flags}.run(t, "sh", "-c", look).want(t, 0)
			r.out(t, "home /home/agent \n").err(t, "--name NAME keeps it")
		}
		name := fmt.Sprintf("keeps-%d", os.Getpid())
		box{flags: flags, name: name}.run(t, "sh", "-c", look).want(t, 0).out(t, "home /home/agent \n")
		r := box{flags: flags, name: name}.run(t, "sh", "-c", look).want(t, 0)
		r.out(t, "home /home/agent word\n")
		if strings.Contains(r.stderr, "keeps it") {
			t.Errorf("told of a home that is kept: %s", r.stderr)
		}
		// Another name, another home.
		box{flags: flags, name: name + "-b"}.run(t, "sh", "-c", look).want(t, 0).out(t, "home /home/agent \n")
		// An ordinary command has an empty home under any name.
		box{policy: policyHead(), name: name}.run(t, "sh", "-c", `test ! -e ~/kept`).want(t, 0)
	})
}

// TestAgentManifest: settings files are there and the agent cannot change them,
// nor those in the workspace that its next start outside would obey; its policy
// holds when the operator gives none, and not beside his.
func TestAgentManifest(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		agent := ownAgent(t)
		flags := []string{"--agent", agent, "--agent-root", filepath.Dir(probePath()), "--agent-shell", "--quiet"}
		ws := filepath.Join(t.TempDir(), "ws")
		if err := os.Mkdir(ws, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(ws, ".mine.json"), []byte("before"), 0o644); err != nil {
			t.Fatal(err)
		}
		r := box{flags: flags, workspace: ws}.run(t, "sh", "-c", `cat $MINE/own.json; echo; echo key $OPENAI_API_KEY; echo start $CREEL_AGENT
echo x > $MINE/own.json || echo held 1; rm -f $MINE/own.json || echo held 2; echo x > .mine.json || echo held 3; mv .mine.json y || echo held 4; echo x > file && echo wrote`).want(t, 0)
		r.out(t, `{"home": "/home/agent", "workspace": "`+ws+`"}`, "key creel:cred:inference/key", "start "+probePath(), "held 1", "held 2", "held 3", "held 4", "wrote")
		if text, err := os.ReadFile(filepath.Join(ws, ".mine.json")); err != nil || string(text) != "before" {
			t.Errorf("the settings are %q, %v", text, err)
		}
		s := newSink(t)
		ask := []string{"curl", "-sSk", "-o", "/dev/null", "-w", "%{http_code}", "https://own.test/"}
		r = box{flags: append(flags, s.upstreams("own.test")...)}.run(t, ask...).want(t, 0)
		r.out(t, "200")
		log, err := os.ReadFile(r.audit)
		if err != nil || !strings.Contains(string(log), filepath.Join(agent, "policy.yaml")) || !strings.Contains(string(log), `"agent":"mine"`) {
			t.Errorf("the log does not say whose policy it was: %v\n%s", err, log)
		}
		// A policy of the operator's stands in its place, whole.
		r = box{policy: policyHead() + "network_policies: {}\n", flags: append(flags, s.upstreams("own.test")...)}.run(t, ask...)
		if strings.Contains(r.stdout, "200") {
			t.Errorf("the agent's policy held beside the operator's: %s", r.stdout)
		}
		// So does one in the workspace.
		if err := os.WriteFile(filepath.Join(ws, "creel.yaml"), []byte("version: 2\nfilesystem_policy: {include_workdir: true, read_only: [/usr, /etc]}\nnetwork_policies: {}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		fresh := filepath.Join(t.TempDir(), "fresh")
		if err := os.Rename(ws, fresh); err != nil { // no agent has written there
			t.Fatal(err)
		}
		r = box{workspace: fresh, flags: append(flags, s.upstreams("own.test")...)}.run(t, ask...)
		if strings.Contains(r.stdout, "200") {
			t.Errorf("the agent's policy held beside creel.yaml: %s", r.stdout)
		}
	})
}
