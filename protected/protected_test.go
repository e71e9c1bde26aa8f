package protected

import (
	"os"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		path, entry string
		nested      bool
	}{
		{".git/hooks/pre-commit", ".git/hooks", false},
		{".git/hooks", ".git/hooks", false},
		{".git/config", ".git/config", false},
		{".git", ".git", false},
		{".git/HEAD", "", false},
		{".git/objects/aa/bb", "", false},
		{".git/hooksx", "", false},
		{"a/b/.git/config", ".git/config", true},
		{".GIT/Config", ".git/config", false},
		{"git~1/hooks/x", ".git/hooks", false},
		{".g\u200cit/hooks/x", ".git/hooks", false},
		{".git./hooks /x", ".git/hooks", false},
		{".git::$INDEX_ALLOCATION/config", ".git/config", false},
		{".CURSOR/mcp.json", ".cursor", false},
		{".ba\u017Fhrc", ".bashrc", false},
		{"pkg/.vscode/tasks.json", ".vscode", true},
		{".envrc", ".envrc", false},
		{".envrc.by-agent", "", false},
		{"src/main.go", "", false},
		{"creel.yaml", "creel.yaml", false},
		{"AGENTS.md", "", false},
		{".config/fish/config.fish", ".config/fish", false},
		{".config/x", "", false},
	} {
		e, nested, ok := Match(tt.path)
		if e.Path != tt.entry || ok != (tt.entry != "") || nested != tt.nested {
			t.Errorf("%q: %q %v, want %q %v", tt.path, e.Path, nested, tt.entry, tt.nested)
		}
	}
}

func TestOpens(t *testing.T) {
	for _, tt := range []struct {
		word string
		want bool
	}{{"all", true}, {".git", true}, {".git/config", true}, {".git/hooks/x", false}, {".gi", false}, {"", false}, {".config", true}} {
		if got := Known(tt.word); got != tt.want {
			t.Errorf("%q: %v", tt.word, got)
		}
	}
}

func TestHarmlessConfig(t *testing.T) {
	for text, want := range map[string]bool{
		"": true,
		"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n": true,
		"[remote \"origin\"]\n\turl = https://ok.test/x.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n":   true,
		"[user]\n name = A # b\n email = a@b.test\n":                                                            true,
		"[core]\n\tfsmonitor = ./x\n":                               false,
		"[core]\n\tbare = true\n":                                   false,
		"[CORE]\n\thooksPath = x\n":                                 false,
		"[core] fsmonitor = ./x\n":                                  false,
		"[core]\n\tfilemode = tr\\\nue\n":                           false,
		"[core]\nfilemode = \"a\\\n[core]\n\tfsmonitor=./x\n":       false,
		"[include]\n\tpath = x\n":                                   false,
		"[core.fsmonitor]\nx=y\n":                                   false,
		"[alias]\n st = !sh\n":                                      false,
		"[remote \"o\"]\n url = ext::sh -c x\n":                     false,
		"[remote \"o\"]\n url = \"e\"xt::sh\n":                      false,
		"[remote \"o\"]\n uploadpack = x\n":                         false,
		"[filter \"x\"]\n clean = sh\n":                             false,
		"[user]\n name = x\n[extensions]\n worktreeConfig = true\n": false,
		"[user]\r\n name = x\r\n":                                   true,
		"[user \"a\\\"]\"]\n name = x\n":                            false,
		"name = x\n":                                                false,
		"[user]\n name = \"a\n[core]\nfsmonitor=x\"\n":              false,
		"\xef\xbb\xbf[core]\nfsmonitor=x\n":                         false,
	} {
		if got := harmlessConfig([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestDocument: docs/protected-files.md shows the whole list and nothing else.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../docs/protected-files.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, s := range Sections() {
		want.WriteString("### " + s.Title + "\n\n| path | why |\n|---|---|\n")
		for _, e := range s.Entries {
			want.WriteString("| `" + e.Path + "` | " + e.Why + " |\n")
		}
		want.WriteString("\n")
	}
	if !strings.Contains(string(b), want.String()) {
		if os.Getenv("CREEL_UPDATE") != "" {
			head, rest, _ := strings.Cut(string(b), "<!-- list -->\n")
			_, tail, _ := strings.Cut(rest, "<!-- end of list -->\n")
			if err := os.WriteFile("../docs/protected-files.md", []byte(head+"<!-- list -->\n"+want.String()+"<!-- end of list -->\n"+tail), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		t.Error("docs/protected-files.md does not show the list of this package: CREEL_UPDATE=1 go test ./protected writes it")
	}
}
