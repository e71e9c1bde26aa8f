package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs is the folder of the pages about the policy language.
const docs = "../docs/policy"

// The tutorial's `creel policy` commands print what the page says, with the
// policy that its steps make. Line numbers may differ; … stands for anything.
func TestTutorial(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(docs, "tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	streams := IO{In: strings.NewReader(""), Getenv: func(name string) (string, bool) { return "/nowhere", name == "HOME" }}
	ran := 0
	replace := ""
	block := regexp.MustCompile("(?s)<!-- test: replace ([^\n]*) -->|```(\\w+)\n(.*?)```")
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		switch {
		case m[1] != "":
			replace = m[1]
		case m[2] == "yaml" && replace != "":
			text, err := os.ReadFile("agent.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Count(text, []byte("\n"+replace+"\n"))+bytes.Count(text, []byte(" "+replace+"\n")) == 0 {
				t.Fatalf("the policy has no %q:\n%s", replace, text)
			}
			// The last one: the comments of the built-in policy show rules, too.
			at := bytes.LastIndex(text, []byte(replace+"\n"))
			text = append(append(bytes.Clone(text[:at]), strings.TrimRight(m[3], "\n")...), text[at+len(replace):]...)
			if err := os.WriteFile("agent.yaml", text, 0o644); err != nil {
				t.Fatal(err)
			}
			replace = ""
		case m[2] == "console":
			for _, step := range regexp.MustCompile(`(?m)^\$ `).Split(m[3], -1)[1:] {
				command, want, _ := strings.Cut(step, "\n")
				args, ok := strings.CutPrefix(command, "creel ")
				if !ok || !strings.HasPrefix(args, "policy ") {
					continue
				}
				args, file, redirected := strings.Cut(args, " > ")
				var out bytes.Buffer
				streams.Out, streams.Err = &out, &out
				Main(context.Background(), strings.Fields(args), streams)
				if redirected {
					if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
					out.Reset()
				}
				ran++
				if !pattern(want).Match(out.Bytes()) {
					t.Errorf("%s\nprints:\n%s\nthe page says:\n%s", command, out.String(), want)
				}
			}
		}
	}
	if ran < 12 {
		t.Errorf("only %d commands: the test has lost its page", ran)
	}
}

// pattern matches an output as the page shows it.
func pattern(want string) *regexp.Regexp {
	p := regexp.QuoteMeta(want)
	p = strings.ReplaceAll(p, "…\n", `(?s:.*)`)
	p = regexp.MustCompile(`:\d+:\d+`).ReplaceAllString(p, `:\d+:\d+`)
	return regexp.MustCompile("^" + p + "$")
}

// Every command that the pages name exists.
func TestPagesNameCommandsThatExist(t *testing.T) {
	pages, err := filepath.Glob(docs + "/*.md")
	if err != nil || len(pages) < 4 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	root := newRoot(IO{In: strings.NewReader(""), Out: new(bytes.Buffer), Err: new(bytes.Buffer), Getenv: func(string) (string, bool) { return "", false }})
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)(?:`|^|\\$ )creel ([a-z][a-z ]*)").FindAllStringSubmatch(string(text), -1) {
			words := strings.Fields(m[1])
			cmd, _, err := root.Find(words)
			if err != nil || cmd == root || cmd.HasSubCommands() && !strings.HasSuffix(m[1], cmd.Name()) {
				t.Errorf("%s: no command creel %s (%v)", filepath.Base(page), m[1], err)
			}
		}
	}
}
