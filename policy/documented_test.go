package policy_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/creel-run/creel/policy"
)

// What the pages about version 2 and about WebSockets show is what the decoder takes.
func TestDocumentedWords(t *testing.T) {
	for _, name := range []string{"version-2.md", "websocket.md"} {
		t.Run(name, func(t *testing.T) { documentedPage(t, "../docs/policy/"+name) })
	}
}

func documentedPage(t *testing.T, name string) {
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Fatal("the page shows no policy")
	}
	for i, b := range blocks {
		text := b[1]
		if !bytes.HasPrefix(text, []byte("version:")) {
			text = append([]byte("version: 2\n"), text...)
		}
		if _, _, err := policy.Parse(fmt.Sprintf("example %d", i+1), text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}
