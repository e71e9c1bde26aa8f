// Package creel_test holds tests about the tree itself: its layers, its
// documents, and what no file may contain.
package creel_test

import (
	"bytes"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

// files are the committed files and those that would be.
func files(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "ls-files", "-co", "--exclude-standard").Output()
	if err != nil {
		t.Skip("not a git checkout: ", err)
	}
	return strings.Fields(string(out))
}

// TestNoRegistryHosts: where packages come from is the machine's to say. A
// host that is written down breaks behind a mirror, and shows whose mirror it
// was. The hosts come from this machine's own configuration.
func TestNoRegistryHosts(t *testing.T) {
	hosts := registryHosts(t)
	if len(hosts) == 0 {
		t.Skip("no package client on this machine names a host")
	}
	for _, f := range files(t) {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // removed, not yet committed
		}
		for _, h := range hosts {
			if h.Match(text) {
				t.Errorf("%s names the host of a package registry", f)
			}
		}
	}
}

func registryHosts(t *testing.T) []*regexp.Regexp {
	t.Helper()
	var text []string
	ask := func(name string, args ...string) {
		if out, err := exec.Command(name, args...).Output(); err == nil {
			text = append(text, string(out))
		}
	}
	ask("go", "env", "GOPROXY", "GOSUMDB")
	ask("npm", "config", "get", "registry")
	ask("pip", "config", "get", "global.index-url")
	ask("pip", "config", "get", "global.extra-index-url")
	ask("python3", "-c", "from pip._internal.models.index import PyPI as p; print(p.url, 'https://'+p.file_storage_domain)")
	sources, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	home, _ := os.UserHomeDir()
	for _, f := range append(sources, "/etc/apt/sources.list", home+"/.cargo/config.toml", home+"/.npmrc", home+"/.config/pip/pip.conf", "/etc/pip.conf") {
		if b, err := os.ReadFile(f); err == nil {
			text = append(text, string(b))
		}
	}
	imports, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`https?://[^\s,|'"]+|\bsum\.[a-z.]+`).FindAllString(strings.Join(text, "\n"), -1) {
		host := m
		if u, err := url.Parse(m); err == nil && u.Host != "" {
			host = u.Hostname()
		}
		// A module path begins with a host as well; loopback is nobody's.
		if ip := net.ParseIP(host); ip != nil || host == "localhost" || !strings.Contains(host, ".") || bytes.Contains(imports, []byte("\n"+host+"/")) {
			continue
		}
		if !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	var list []*regexp.Regexp
	for _, n := range names {
		list = append(list, regexp.MustCompile(`(?i)(^|[^a-z0-9.-])`+regexp.QuoteMeta(n)+`($|[^a-z0-9-])`))
	}
	return list
}

// TestNoMachinePaths: no file names a folder of the machine it was written on.
func TestNoMachinePaths(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{root + "/"}
	for _, v := range []string{"GOMODCACHE", "GOCACHE"} {
		out, err := exec.Command("go", "env", v).Output()
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, strings.TrimSpace(string(out))+"/")
	}
	for _, f := range files(t) {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, p := range paths {
			if bytes.Contains(text, []byte(p)) {
				t.Errorf("%s names %s", f, p)
			}
		}
	}
}

// TestStartupWork: package initialisers run at every start. The bound is on allocations, which do not depend on the
// machine: enough for tables of constants, not for a regular expression.
func TestStartupWork(t *testing.T) {
	const maxAllocs = 40
	for _, program := range []string{"creel"} {
		exe := filepath.Join(t.TempDir(), program)
		if out, err := exec.Command("go", "build", "-o", exe, "./cmd/"+program).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", program, err, out)
		}
		cmd := exec.Command(exe, "version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		out, _ := cmd.CombinedOutput()
		lines := regexp.MustCompile(`(?m)^init (\S+) @.* (\d+) allocs$`).FindAllStringSubmatch(string(out), -1)
		if len(lines) == 0 {
			t.Fatalf("%s: no trace in %q", program, out)
		}
		for _, m := range lines {
			if n, _ := strconv.Atoi(m[2]); strings.HasPrefix(m[1], module) && n > maxAllocs {
				t.Errorf("%s: the initialisers of %s make %d allocations, want at most %d", program, m[1], n, maxAllocs)
			}
		}
	}
}

// TestScriptsAreExecutable: the README's commands work in a fresh clone.
func TestScriptsAreExecutable(t *testing.T) {
	for _, f := range []string{".ci/run", "tools/deps", "tools/lint", "tools/prepare", "tools/test", "tools/fuzz", "demo/run", "bench/run"} {
		if info, err := os.Stat(f); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s: not there or not executable (%v)", f, err)
		}
	}
}

// TestAttacksAreAccountedFor: every line of the catalogue that docs/THREATS.md
// calls tested has its test.
func TestAttacksAreAccountedFor(t *testing.T) {
	text, err := os.ReadFile("docs/THREATS.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ([A-Z]+-\d+) \| [^|]* \| ([^|]*) \| ([^|]*) \|$`).FindAllStringSubmatch(string(text), -1)
	if len(rows) < 20 {
		t.Fatalf("docs/THREATS.md: found only %d attacks", len(rows))
	}
	seen := map[string]string{}
	for _, m := range rows {
		id, state, where := m[1], strings.TrimSpace(m[2]), m[3]
		if seen[id] != "" {
			t.Errorf("%s stands twice", id)
		}
		seen[id] = state
		named := regexp.MustCompile("`([a-z0-9_-]+/[a-z0-9/_.-]+)(?:: ?([\\w-]+))?`").FindAllStringSubmatch(where, -1)
		switch state {
		case "held":
			if len(named) == 0 {
				t.Errorf("%s is held, by no test that is named", id)
			}
		case "absent", "partly", "open", "later":
			if strings.TrimSpace(where) == "" {
				t.Errorf("%s is %s, without a reason", id, state)
			}
		default:
			t.Errorf("%s: no such state as %q", id, state)
		}
		for _, n := range named {
			body, err := os.ReadFile(n[1])
			if err != nil {
				if info, e := os.Stat(n[1]); e != nil || !info.IsDir() {
					t.Errorf("%s: %v", id, err)
				}
				continue
			}
			if n[2] != "" && !bytes.Contains(body, []byte(n[2])) {
				t.Errorf("%s: %s has no %s", id, n[1], n[2])
			}
		}
	}
	// What the built program is attacked with has a row, and none says that
	// nothing is there.
	suite, err := filepath.Glob("e2e/*_test.go")
	if err != nil || len(suite) == 0 {
		t.Fatalf("no tests of the built program: %v", err)
	}
	for _, f := range suite {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`["_]((?:NAM|HTTP|TLS|DNS|IP|NET|CRED|EXF|PROC|FS|KRN|CTL|APR|CFG|DOS|INF)-\d\d)\b`).FindAllSubmatch(body, -1) {
			switch id := string(m[1]); seen[id] {
			case "held", "partly", "open", "absent":
			default:
				t.Errorf("%s tests %s, which docs/THREATS.md has as %q", f, id, seen[id])
			}
		}
	}
}

// TestDocumentedPolicies: what the README and the demo show is what creel takes.
func TestDocumentedPolicies(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(blocks) == 0 {
		t.Fatal("README.md shows no policy")
	}
	demo, err := os.ReadFile("demo/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	texts := [][]byte{bytes.ReplaceAll(demo, []byte("AGENT_FOLDER"), []byte("/opt/agent"))}
	for _, b := range blocks {
		texts = append(texts, b[1])
	}
	for _, text := range texts {
		doc, warnings, err := policy.Parse("documented.yaml", text)
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		if len(warnings) > 0 {
			t.Errorf("warnings: %v\n%s", warnings, text)
		}
		if _, err := policy.Compile(doc); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}
