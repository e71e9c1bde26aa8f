package analyse_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// The sets of texts that are classified are those that the readers give.
func TestTextsAreWhatReadersGive(t *testing.T) {
	parse := func(kind registry.Kind, path, name, version string) bool {
		t, err := target.Parse(path, true)
		if err != nil || t.Path != path {
			return false
		}
		r, err := registry.Parse(kind, "", "GET", path)
		return err == nil && r.Name == name && r.Version == version
	}
	body := func(method, tool string) bool {
		message := map[string]any{"jsonrpc": "2.0", "id": 1, "method": method}
		if tool != "" {
			message["params"] = map[string]any{"name": tool}
		}
		text, err := json.Marshal(message)
		if err != nil {
			return false
		}
		r, err := jsonrpc.ParseBody(text, jsonrpc.Options{MCP: tool != ""})
		return err == nil && r.Calls[0].Method == method && r.Calls[0].Tool == tool
	}
	for name, one := range map[string]struct {
		set    *automaton.Automaton
		pieces []string
		read   func(s string) bool
	}{
		"refs": {automaton.GitRefs(), []string{"refs/", "heads", "/", ".", "..", ".lock", "@", "{", "a", "~", " ", "é", "\ufffd", "\xff", "lock"}, func(s string) bool {
			line := strings.Repeat("0", 40) + " " + strings.Repeat("1", 40) + " " + s + "\x00x"
			u, _, err := git.ReadCommands(strings.NewReader(fmt.Sprintf("%04x%s0000", len(line)+4, line)))
			return err == nil && u[0].Ref == s
		}},
		"npm": {automaton.NPMNames(), []string{"@", "a", "/", ".", "-", "_", "A", "1", "~"}, func(s string) bool { return parse(registry.NPM, "/"+s, s, "") }},
		"pypi": {automaton.PyPINames(), []string{"a", "-", "_", ".", "A", "1"}, func(s string) bool {
			return parse(registry.PyPI, "/simple/"+s+"/", s, "")
		}},
		"go": {automaton.GoModules(), []string{"a", ".", "..", "/", "-", "~", "_", "1", "@"}, func(s string) bool { return parse(registry.Go, "/"+s+"/@v/list", s, "") }},
		"crates": {automaton.Crates(), []string{"a", "-", "_", "A", "1", "."}, func(s string) bool {
			return parse(registry.Cargo, "/crates/"+strings.Replace(s, "-", "_", 1)+"/1/download", s, "1")
		}},
		"debian": {automaton.DebianNames(), []string{"a", "-", "+", ".", "..", "_", "1"}, func(s string) bool { return parse(registry.Debian, "/pool/"+s+"_1_all.deb", s, "1") }},
		"versions": {automaton.PackageVersions(""), []string{".", "..", "1", "a", "-", "!", "~", "_", ":", "+", "/", "@"}, func(s string) bool {
			return parse(registry.NPM, "/x/"+s, "x", s)
		}},
		"methods": {automaton.Words(), []string{"a", "/", "\n", "\x7f", "\u0085", "é", "\u00a0", " "}, func(s string) bool { return body(s, "") }},
		"tools":   {automaton.ToolNames(), []string{"a", "A", ".", "-", "_", " ", "é", "/", "1"}, func(s string) bool { return body("tools/call", s) }},
	} {
		in := 0
		rapid.Check(t, func(t *rapid.T) {
			for range 10 {
				s := strings.Join(rapid.SliceOfN(rapid.SampledFrom(one.pieces), 0, 6).Draw(t, "pieces"), "")
				if name == "refs" && rapid.Bool().Draw(t, "a ref") {
					s = "refs/" + s
				}
				if s == "" {
					continue // of no way to ask but PyPI's
				}
				if one.set.Match(s) != one.read(s) {
					t.Fatalf("%s: %q: set %v, reader %v", name, s, one.set.Match(s), one.read(s))
				}
				if one.set.Match(s) {
					in++
				}
			}
		})
		if in < 20 {
			t.Errorf("%s: only %d texts were in the set", name, in)
		}
	}
}
