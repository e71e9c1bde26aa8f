package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// start is B1: /bin/true from the command's start to its exit.
func (b *bench) start(w who) *comparison {
	c := &comparison{
		id: "B1", title: "Running /bin/true to its exit, as " + w.label, unit: "ms", reference: "bwrap",
		target:     "at most 1.5 × bwrap, aim 1.2 ×",
		conditions: "creel: policy and network in force, quiet. bwrap: all namespaces, no policy, no network.",
	}
	true_ := "/bin/true"
	policy := b.policy("start.yaml", `version: 2
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /etc, {path: /bin, optional: true}, {path: /lib, optional: true}, {path: /lib64, optional: true}]
network_policies:
  documentation:
    endpoints:
      - {host: docs.bench.test, port: 443, protocol: rest, access: read-only}
    binaries: any
`)
	add := func(name string, args ...string) {
		c.list = append(c.list, &contender{name: name, measure: w.milliseconds(args...)})
	}
	skip := func(name, why string) { c.skipped = append(c.skipped, name+": "+why) }

	add("no sandbox", true_)
	add("creel", b.creel, "run", "--quiet", "--policy", policy, "--workspace", w.work(), "--", true_)
	if path, err := exec.LookPath("bwrap"); err == nil {
		add("bwrap", path, "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", true_)
	} else {
		skip("bwrap", "not installed")
	}

	// Peers from npm lie in the clone, which an ordinary user may not be able
	// to enter when root made it.
	if node, cli := b.srt(); node == "" {
		skip("srt", "not installed")
	} else if w.cred != nil && !w.reaches(cli) {
		skip("srt", "its folder cannot be read by this user")
	} else {
		add("srt", node, cli, true_)
	}
	if codex := b.codex(); codex == "" {
		skip("codex sandbox", "not installed")
	} else if w.cred != nil && !w.reaches(codex) {
		skip("codex sandbox", "its folder cannot be read by this user")
	} else {
		add("codex sandbox", codex, "sandbox", "--", true_)
	}
	if path, err := exec.LookPath("runsc"); err == nil {
		add("runsc do", path, "--rootless", "--network=none", "do", true_)
	} else {
		skip("runsc do", "not installed")
	}
	return c
}

func (w who) reaches(path string) bool {
	return w.command(context.Background(), "test", "-r", path).Run() == nil
}

func npmArch() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x64"
}

// srt needs a newer Node than many machines have; the peers bring one.
func (b *bench) srt() (node, cli string) {
	modules := filepath.Join(b.tools, "peers", "node_modules")
	node = filepath.Join(modules, "node-linux-"+npmArch(), "bin", "node")
	cli = filepath.Join(modules, "@anthropic-ai", "sandbox-runtime", "dist", "cli.js")
	for _, f := range []string{node, cli} {
		if _, err := os.Stat(f); err != nil {
			return "", ""
		}
	}
	return node, cli
}

func (b *bench) codex() string {
	list, _ := filepath.Glob(filepath.Join(b.tools, "agents", "node_modules", "@openai", "codex-linux-"+npmArch(), "vendor", "*", "bin", "codex"))
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// binary is B10: the cost of the program itself.
func (b *bench) binary() *comparison {
	w := b.users()[0]
	return &comparison{
		id: "B10", title: "The cost of the binary: creel version", unit: "ms", reference: "/bin/true",
		target: "at most 8 ms and 40 MB, aim 4 ms and 25 MB",
		list: []*contender{
			{name: "/bin/true", measure: w.milliseconds("/bin/true")},
			{name: "creel version", measure: w.milliseconds(b.creel, "version")},
		},
	}
}
