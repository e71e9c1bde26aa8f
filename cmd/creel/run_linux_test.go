package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/creel-run/creel/agents"
	"github.com/creel-run/creel/cli"
)

// The summary names the file that lines belong into, or the command that makes
// one where there is none.
func TestWhereToAdd(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "claw.yaml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o           cli.RunOptions
		where, next string
	}{
		{cli.RunOptions{Policy: "/p/agent.yaml"}, "/p/agent.yaml", "then: creel policy check /p/agent.yaml"},
		{cli.RunOptions{}, "a policy of your own (creel policy default > ~/creel.yaml)", "then: creel policy check ~/creel.yaml && creel run --policy ~/creel.yaml …"},
		{cli.RunOptions{Agent: &agents.Launch{Name: "codex"}}, "a policy of your own (creel agent policy codex > ~/codex.yaml)",
			"then: creel policy check ~/codex.yaml && creel run --agent codex --policy ~/codex.yaml …"},
		{cli.RunOptions{Agent: &agents.Launch{Name: "claw"}}, "a policy of your own (~/claw.yaml is there already)",
			"then: creel policy check ~/claw.yaml && creel run --agent claw --policy ~/claw.yaml …"},
	} {
		if where, next := whereToAdd(c.o, home); where != c.where || next != c.next {
			t.Errorf("got %q, %q\nwant %q, %q", where, next, c.where, c.next)
		}
	}
}
