package schema_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/schema"
)

// The page names every word in its section, and its links lead to headings.
func TestReferenceIsComplete(t *testing.T) {
	page := schema.Reference()
	parts := map[string]string{}
	for _, part := range strings.Split(page, "\n## ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		parts[title] = body
	}
	for _, s := range policy.Language() {
		for _, w := range s.Words {
			if !strings.Contains(parts[s.Name], "| `"+w.Name+"` | ") {
				t.Errorf("%s.%s is not in the reference", s.Name, w.Name)
			}
		}
	}
	for _, m := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, "\n## "+strings.ReplaceAll(m[1], "-", " ")+"\n") {
			t.Errorf("a link to #%s, which is no heading", m[1])
		}
	}
	for _, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, "| `") && strings.Count(line, "|") != 5 {
			t.Errorf("not four cells: %s", line)
		}
	}
}
