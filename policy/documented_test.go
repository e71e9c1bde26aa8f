package policy_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/creel-run/creel/policy"
)

// What the page about version 2 shows is what the decoder takes.
func TestDocumentedWords(t *testing.T) {
	page, err := os.ReadFile("../docs/policy/version-2.md")
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
