package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestLostOutput: no command about policies ends as if what it printed had arrived,
// whatever else its exit status would have said, and each says so in one line.
func TestLostOutput(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	is := file("is.yaml", policy.Default())
	other := file("other.yaml", strings.Replace(policy.Default(), "network_policies: {}", "network_policies: {a: {endpoints: [{host: a.test, port: 1}], binaries: any}}", 1))
	for _, args := range [][]string{
		{"check", is}, {"explain", is, "--host", "a.test"}, {"default"}, {"schema"}, {"fmt", is}, {"lint", other},
		{"reach", is}, {"diff", is, other}, {"diff", is, is}, {"preset", "list"}, {"preset", "show", "github-repo", "--repo", "a/b"},
		{"prove", other, file("as.yaml", "- never: {host: a.test}\n")}, {"prove", is, filepath.Join(dir, "as.yaml")},
		{"test", is, file("exp.yaml", "- {host: a.test, want: allow}\n")}, {"migrate", file("v1.yaml", "version: 1\nnetwork_policies: {}\n")},
	} {
		var told strings.Builder
		code := Main(context.Background(), append([]string{"policy"}, args...), IO{Out: fullDisk{}, Err: &told, In: strings.NewReader(""), Getenv: os.LookupEnv})
		if code != 1 || strings.Count(told.String(), "no space left") != 1 {
			t.Errorf("%s: %d %s", args, code, told.String())
		}
	}
}

// TestWriteRefused: a policy that cannot be written is told once.
func TestWriteRefused(t *testing.T) {
	err := replaceFile(filepath.Join(t.TempDir(), "no", "a.yaml"), nil, []byte("a"))
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}
