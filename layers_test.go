package creel_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/creel-run/creel/"

// layer says what the packages of a pattern may import of Creel, tests aside,
// and why no more. A pattern that ends in /... covers the packages below, too.
type layer struct {
	packages []string
	may      []string
	reason   string
}

// layers is the table of docs/ARCHITECTURE.md, and depguard's in
// .depguard.yaml. A package that no row names is a fault: its place has to be
// decided before it has users.
var layers = []layer{
	{[]string{"netname", "secret", "fault", "kernel", "policy/glob", "policy/git", "policy/grpc", "policy/registry", "protected"}, nil,
		"leaves: everybody builds on them, so they know nobody"},
	{[]string{"policy/target"}, []string{"policy/glob"},
		"canonical targets and their selectors, which are globs"},
	{[]string{"policy/internal/strictjson"}, nil,
		"one strict reader of JSON for the packages beside it"},
	{[]string{"policy/jsonrpc", "policy/graphql"}, []string{"policy/internal/strictjson"},
		"bytes to plain data: they know no policy, and no way a request came"},
	{[]string{"policy"}, []string{"netname", "policy/git", "policy/glob", "policy/graphql", "policy/grpc", "policy/jsonrpc", "policy/registry", "policy/target", "protected"},
		"a verdict follows from the document and the request alone, not from sockets, files or secrets"},
	{[]string{"policy/schema"}, []string{"policy"},
		"writes the table of the language down, and decides nothing"},
	{[]string{"policy/format"}, []string{"policy"},
		"rewrites a document by the table of the language; what it means is policy's to say"},
	{[]string{"policy/expect"}, []string{"netname", "policy", "policy/git", "policy/graphql", "policy/grpc", "policy/jsonrpc", "policy/registry", "policy/target"},
		"tests of a policy: they ask the engine, and decide nothing"},
	{[]string{"policy/automaton"}, []string{"netname", "policy/glob", "policy/target"},
		"sets of texts, of the patterns that policies have"},
	{[]string{"policy/analyse"}, []string{"netname", "policy", "policy/automaton", "policy/git", "policy/glob", "policy/graphql", "policy/grpc", "policy/jsonrpc", "policy/registry", "policy/target"},
		"exact answers about documents: it reads no file and judges no traffic"},
	{[]string{"policy/learn"}, []string{"netname", "policy", "policy/glob"},
		"makes rules out of calls that it is told, and knows no log"},
	{[]string{"presets"}, []string{"fault", "netname", "policy", "policy/format"},
		"rules as data, and where this machine's package clients get packages from: decides nothing, starts nothing"},
	{[]string{"cow"}, []string{"protected"},
		"compares and writes hostile trees, and knows nothing of sandboxes"},
	{[]string{"agents"}, []string{"fault", "policy"},
		"data about agents, and where they lie: decides nothing, starts nothing"},
	{[]string{"audit"}, []string{"netname", "policy", "secret", "fault", "kernel"},
		"audit is told facts by those above it"},
	{[]string{"audit/traffic"}, []string{"audit", "netname", "policy", "policy/learn", "policy/target"},
		"recorded traffic, asked about: below stand the log and the policy, which do not know it"},
	{[]string{"api"}, []string{"cow", "fault"},
		"wire types, client and server frame: what answers is behind an interface"},

	{[]string{"sandbox/seccomp", "sandbox/refused"}, []string{"audit"},
		"data and readers that sandbox hands out"},
	{[]string{"sandbox/caller"}, []string{"audit", "fault", "kernel"},
		"who is calling is told from the kernel alone, never from what a policy says"},
	{[]string{"sandbox/cgroup"}, []string{"kernel"},
		"control groups and nothing else: what a missing limit means is sandbox's to say"},
	{[]string{"sandbox/confine"}, []string{"sandbox/seccomp"},
		"shuts a part of creel itself in, and knows nothing of what it does there"},
	{[]string{"sandbox/spec"}, nil,
		"what the supervisor's side tells the stage: plain data, linked into both"},
	{[]string{"sandbox/stage"}, []string{"sandbox/spec"},
		"lists what the sandbox's first processes do: no document, no secret, no egress"},
	{[]string{"sandbox"}, []string{"sandbox/...", "audit", "fault", "kernel", "netname"},
		"all that is privileged is here; it never sees policies, credentials or requests"},
	{[]string{"egress", "egress/..."}, []string{"egress/...", "audit", "middleware", "netname", "policy", "policy/git", "policy/graphql", "policy/grpc", "policy/jsonrpc", "policy/registry", "policy/target", "secret", "fault", "kernel"},
		"handles hostile bytes: asks credential and inference through interfaces of its own, and the chain of middlewares, not one of them"},
	{[]string{"inference", "inference/..."}, []string{"inference/...", "audit", "netname", "policy", "policy/target", "secret", "fault"},
		"one part does not know the other; the supervisor joins them"},
	{[]string{"credential", "credential/..."}, []string{"credential/...", "audit", "netname", "policy", "policy/target", "secret", "fault"},
		"one part does not know the other; the supervisor joins them"},

	{[]string{"middleware/layers"}, nil,
		"bytes to the bytes that are encoded in them: no request, no policy"},
	{[]string{"middleware"}, []string{"netname", "policy"},
		"what a middleware is, and the chain of a policy: those that are one do not know each other, nor egress them"},
	{[]string{"middleware/secrets", "middleware/pii", "middleware/external"}, []string{"middleware", "middleware/layers", "secret"},
		"each is one kind of middleware, and knows none of the others"},
	{[]string{"middleware/builtin"}, []string{"middleware", "middleware/external", "middleware/pii", "middleware/secrets"},
		"knows the kinds of middlewares by name, for the supervisor"},

	{[]string{"supervisor", "supervisor/..."}, []string{"supervisor/...", "agents", "api", "audit", "cow", "credential/...", "egress/...", "fault", "inference/...", "kernel", "middleware", "middleware/builtin", "middleware/external", "middleware/secrets", "protected",
		"netname", "policy", "policy/...", "sandbox", "sandbox/...", "secret", "credential", "egress", "inference"},
		"the only package that knows all parts; nothing of the command line"},
	{[]string{"cli"}, []string{"agents", "api", "audit", "audit/traffic", "cow", "egress/parent", "fault", "inference", "kernel", "netname", "policy", "policy/...", "presets", "secret"},
		"builds on every system: it gets the supervisor as a function; of the parts it may ask inference which hosts are models', and which proxies the environment names"},
	{[]string{"selftest/probe"}, nil,
		"attempts that run inside a sandbox, as a hostile program would make them: they know nothing of Creel"},
	{[]string{"selftest"}, []string{"selftest/probe", "api", "audit", "fault", "supervisor"},
		"attacks a sandbox of the user's own from both sides, through what every run goes through"},
	{[]string{"cmd/creel"}, []string{"api", "audit", "cli", "fault", "kernel", "selftest", "supervisor"},
		"joins the command line and the supervisor"},
	{[]string{"cmd/creel-fakemodel"}, []string{"internal/fakemodel"},
		"a stand-in for tests and the demo, not shipped"},
	{[]string{"internal/policydoc"}, []string{"policy/schema", "presets"},
		"prints docs/policy/reference.md"},
	{[]string{"internal/secretrules"}, nil,
		"writes the rules of middleware/secrets, and shares nothing with what reads them"},
	{[]string{"internal/naive", "internal/policygen"}, []string{"netname", "policy", "policy/git", "policy/graphql", "policy/grpc", "policy/jsonrpc", "policy/registry", "policy/target"},
		"tests tie the engine to them: they know documents and requests, and none of the engine's matching"},
	{[]string{"internal/policydoc"}, []string{"policy/schema", "presets"},
		"writes the generated pages of docs/policy"},
	{[]string{"internal/..."}, []string{"internal/..."},
		"help for tests; what is shipped must not depend on it"},
	{[]string{"bench", "bench/...", "demo", "demo/..."}, []string{"bench/...", "demo/...", "internal/..."},
		"measure and show the built program from outside"},
	{[]string{"e2e", "e2e/..."}, []string{"internal/...", "audit", "selftest/probe"},
		"tests of the built program from outside"},
}

// foreign limits modules that are attack surface, heavy, or a way around a
// layer to the packages that need them.
var foreign = []struct {
	module string
	may    []string
	reason string
}{
	{"github.com/google/nftables", []string{"kernel"}, "kernel probes; a test of sandbox/stage"},
	{"github.com/landlock-lsm/go-landlock", []string{"sandbox/stage", "sandbox/confine"}, "the agent's restrictions are the stage's; those of creel's own confined process its package's"},
	{"go.yaml.in/yaml/v3", []string{"policy", "policy/format", "policy/analyse", "presets", "agents", "internal/naive"}, "decoders of documents, strict; the writers of policies; the second reader of tests"},
	{"github.com/miekg/dns", []string{"egress/dns", "egress/resolver", "bench"}, "one parser of DNS messages: the name server inside, and who asks outside; the benchmark is a client"},
	{"modernc.org/quickjs", []string{"egress/pac"}, "runs foreign programs: in one place, in a process that is shut in"},
	{"github.com/vektah/gqlparser", []string{"policy/graphql"}, "documents are parsed in one place, behind its bounds"},
	{"github.com/BurntSushi/toml", []string{"presets", "internal/secretrules"}, "cargo's configuration; the rules that a generator reads"},
	{"connectrpc.com/connect", []string{}, "a test of middleware/external has a server of it"},
	{"google.golang.org/protobuf", []string{}, "a test of middleware/external reads its messages with it"},
	{"github.com/spf13/cobra", []string{"cli"}, "the command line is read in one place"},
	{"github.com/spf13/pflag", []string{"cli"}, "the command line is read in one place"},
	{"github.com/pavlo-v-chernykh/keystore-go", []string{}, "a test of the supervisor reads Java stores with it"},
	{"github.com/creack/pty", []string{"supervisor", "sandbox", "internal/..."}, "the terminal of an interactive run"},
}

// forbidden are imports of the standard library that a package has no use for,
// because having one would mean that it does another layer's work.
var forbidden = []struct {
	packages []string
	imports  []string
	reason   string
}{
	{[]string{"netname", "secret", "fault", "policy", "policy/...", "audit", "sandbox", "sandbox/..."}, []string{"net/http", "crypto/tls"},
		"requests and TLS are egress's and inference's"},
	{[]string{"netname", "policy/glob", "policy/target", "policy/automaton", "policy/analyse", "policy/jsonrpc", "policy/graphql", "policy/internal/strictjson"}, []string{"os/exec", "os", "net"},
		"decisions are pure: policy.Load reads the file, and the supervisor resolves names"},
	{[]string{"egress", "egress/...", "inference", "credential", "policy", "policy/...", "agents", "presets", "middleware", "middleware/..."}, []string{"os/exec"},
		"what handles hostile bytes starts no programs"},
	{[]string{"sandbox/stage"}, []string{"os/exec", "encoding/gob"},
		"what the stage's processes do is listed before they exist"},
}

type goPackage struct {
	ImportPath, Name, Doc, Dir string
	Imports                    []string
	TestImports, XTestImports  []string
	GoFiles, IgnoredGoFiles    []string
}

// packages lists all packages for a target, so that files of other systems are
// looked at, too.
func packages(t *testing.T, goos string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Doc,Dir,Imports,TestImports,XTestImports,GoFiles,IgnoredGoFiles", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("go list found only %d packages", len(list))
	}
	return list
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if dir, ok := strings.CutSuffix(p, "/..."); ok && strings.HasPrefix(name, dir+"/") || p == name {
			return true
		}
	}
	return false
}

func TestLayers(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range packages(t, goos) {
			name, ours := strings.CutPrefix(p.ImportPath, module)
			if !ours {
				continue // the root holds tests alone
			}
			row := slices.IndexFunc(layers, func(l layer) bool { return matches(l.packages, name) })
			if row < 0 {
				t.Errorf("%s: in no layer: give it a row here, in .depguard.yaml and in docs/ARCHITECTURE.md", name)
				continue
			}
			for _, imported := range p.Imports {
				dep, ours := strings.CutPrefix(imported, module)
				if ours && !matches(layers[row].may, dep) {
					t.Errorf("%s (%s) imports %s: %s", name, goos, dep, layers[row].reason)
				}
			}
			for _, f := range foreign {
				for _, imported := range p.Imports {
					if (imported == f.module || strings.HasPrefix(imported, f.module+"/")) && !matches(f.may, name) {
						t.Errorf("%s (%s) imports %s: %s", name, goos, imported, f.reason)
					}
				}
			}
			for _, f := range forbidden {
				for _, imported := range p.Imports {
					if matches(f.packages, name) && slices.Contains(f.imports, imported) {
						t.Errorf("%s (%s) imports %s: %s", name, goos, imported, f.reason)
					}
				}
			}
		}
	}
}

// TestLayersAreDocumented: every package stands in docs/ARCHITECTURE.md.
func TestLayersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages(t, "linux") {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if ours && !strings.HasPrefix(name, "demo/") && !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/ARCHITECTURE.md does not name `%s`", name)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t, "linux") {
		if !strings.HasPrefix(p.ImportPath, module) || len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + path.Base(p.ImportPath) + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment does not begin with %q", p.ImportPath, want)
		}
		if p.Name != "main" && !slices.Contains(p.GoFiles, "doc.go") && p.Name != "embedded" {
			t.Errorf("%s has no doc.go", p.ImportPath)
		}
	}
}

// TestDependencies: the list of modules in the binary is committed, and each
// has a line that says what it is for.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("tools/deps").CombinedOutput()
	if err != nil {
		t.Fatalf("tools/deps: %v\n%s", err, out)
	}
	listed, err := os.ReadFile("cmd/creel/deps.txt")
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != string(listed) {
		t.Errorf("cmd/creel/deps.txt is not what creel links: make deps\n%s", out)
	}
	doc, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(line, " ")
		if !strings.Contains(string(doc), "\n| `"+name+"` |") {
			t.Errorf("docs/dependencies.md has no line for %s", name)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		if out := string(out); !strings.Contains(out, m[1]+" ") && !strings.Contains(string(gomod(t)), m[1]+" ") {
			t.Errorf("docs/dependencies.md speaks of %s, which nothing uses", m[1])
		}
	}
}

func gomod(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := os.ReadFile("tools/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, tools...)
}
