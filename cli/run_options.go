package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/creel-run/creel/agents"
	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/inference"
	"github.com/creel-run/creel/policy"
)

// RunFunc starts a sandbox and waits for its end. exit is the status of the
// command; err says why there is none.
type RunFunc func(ctx context.Context, o RunOptions) (exit int, err error)

// RunOptions is what the flags of run mean, checked as far as it can be
// without starting anything.
type RunOptions struct {
	Command []string // never empty
	Name    string   // "" : made from the command

	// Agent is set for --agent: Command starts its program. KeepHome keeps what it
	// writes in its home, under Name.
	Agent    *agents.Launch `json:",omitempty"`
	KeepHome bool           `json:",omitempty"`

	Policy string // absolute path; "" : the built-in policy
	// PolicyFound: nobody named the policy, it lay in the workspace. Whoever
	// can write the workspace could have written it.
	PolicyFound bool

	Workspace string // absolute, without symbolic links
	ReadOnly  bool
	// CopyOnWrite: changes are kept apart until creel apply.
	CopyOnWrite bool

	// Resources are limits from flags; 0 leaves them to the policy.
	Resources policy.Resources

	Env     []string // KEY=value, the last one of a key counts
	Secrets []string // as written: NAME=env:VAR|file:PATH@HOST[:HEADER]

	Inference    string // base URL; "" : no route
	InferenceKey string // as written: env:VAR or file:PATH; "" : none
	Model        string

	// Middlewares are NAME=ENDPOINT: programs of the operator's that policies may name.
	Middlewares []string `json:",omitempty"`

	// Upstreams are HOST:PORT=ADDR:PORT: services of the operator's own that
	// names or address rules would not reach. TrustCA are files (absolute) with
	// certificates to trust besides the system's.
	Upstreams []string
	TrustCA   []string
	// ClientCerts are HOST[:PORT]=CERT,KEY: files in PEM form that the operator
	// proves himself with to a host.
	ClientCerts []string

	// ParentProxy is env, none, or as written the URL of a proxy or where it is
	// (env:VAR, file:PATH). ParentProxyNames leaves resolving to it.
	ParentProxy      string
	ParentProxyNames bool
	// Resolver is as written the name server that is asked, whatever the policy says;
	// empty: the policy's, or the host's.
	Resolver string

	Audit    string   // absolute path; "" : in the state folder
	JSON     bool     // events on standard error as JSON lines, the summary too
	Quiet    bool     // no summary, no warnings
	Verbose  bool     // every decision as it is made
	Warnings []string // to be shown at the start unless Quiet

	IO IO `json:"-"`
}

// runFlags are the flags as written.
type runFlags struct {
	policy, workspace, name, audit string
	agent, agentRoot               string
	agentShell                     bool
	env, secrets                   []string
	upstreams, trustCA             []string
	middlewares                    []string
	clientCerts                    []string
	parentProxy, resolver          string
	parentProxyNames               bool
	inference, inferenceKey, model string
	cpu, memory, pids, disk        string
	limits                         string
	json, quiet, verbose           bool
}

// options checks the flags and gives what they mean. It starts nothing and
// reads nothing but the file system's names.
func (f runFlags) options(args []string, streams IO) (RunOptions, error) {
	o := RunOptions{
		Command: args, Name: f.name, Secrets: f.secrets, Model: f.model, Upstreams: f.upstreams, Middlewares: f.middlewares, ClientCerts: f.clientCerts, ParentProxy: f.parentProxy, ParentProxyNames: f.parentProxyNames, Resolver: f.resolver,
		JSON: f.json, Quiet: f.quiet, Verbose: f.verbose, IO: streams,
	}
	if f.agent == "" && (f.agentRoot != "" || f.agentShell) {
		return o, fault.UsageError("read flags", "--agent-root and --agent-shell belong to an agent", "creel run --agent NAME … (creel agent list)")
	}
	if (f.agent == "" || f.agentShell) && (len(args) == 0 || args[0] == "") {
		return o, fault.UsageError("read command", "no command to run", "creel run -- bash", "creel run --help")
	}
	if f.quiet && f.verbose {
		return o, fault.UsageError("read flags", "--quiet and --verbose exclude each other")
	}
	if f.quiet && f.json {
		return o, fault.UsageError("read flags", "--quiet and --json exclude each other", "creel run --json -- …  2>events.jsonl")
	}
	if f.name != "" {
		if err := api.CheckName(f.name); err != nil {
			return o, err
		}
	}
	for _, step := range []func(*RunOptions, IO) error{
		f.setWorkspace, f.setAgent, f.setPolicy, f.setAudit, f.setEnv, f.setInference, f.setTrust, f.setLimits,
	} {
		if err := step(&o, streams); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (f runFlags) setWorkspace(o *RunOptions, streams IO) error {
	const op = "open workspace"
	dir := f.workspace
	if d, ok := strings.CutSuffix(dir, ":ro"); ok {
		dir, o.ReadOnly = d, true
	} else if d, ok := strings.CutSuffix(dir, ":cow"); ok {
		dir, o.CopyOnWrite = d, true
	} else if d, ok := strings.CutSuffix(dir, ":rw"); ok {
		dir = d
	}
	if dir == "" {
		dir = "."
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if at := strings.LastIndexByte(dir, ':'); at > 0 {
			if _, statErr := os.Stat(dir[:at]); statErr == nil {
				return fault.UsageError(op, fmt.Sprintf("%q is no mode of a workspace, and %s does not exist", dir[at+1:], dir), "creel run --help  (--workspace DIR and its modes)")
			}
		}
		return fault.UsageError(op, dir+" does not exist", "mkdir -p "+quote(dir))
	}
	if err != nil {
		return fault.Wrap(err, op, fault.Usage)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return fault.Wrap(err, op, fault.Usage)
	}
	if !info.IsDir() {
		return fault.UsageError(op, dir+" is not a folder", "--workspace "+quote(filepath.Dir(dir)))
	}
	if parent := filepath.Dir(abs); parent == abs {
		return fault.UsageError(op, "the whole file system as workspace would leave nothing contained",
			"cd to the project's folder, or name it with --workspace DIR")
	}
	if ofSystem(abs) {
		return fault.UsageError(op, abs+" belongs to the system, not to one piece of work",
			"cd to the project's folder, or name it with --workspace DIR")
	}
	home, _ := streams.Getenv("HOME")
	if !o.ReadOnly && !o.CopyOnWrite && belowSystem(abs, realOf(home)) {
		return fault.UsageError(op, abs+" belongs to the system, and the command could change what other programs run or trust",
			"cd to the project's folder, or name it with --workspace DIR",
			"creel run --workspace "+quote(abs)+":ro -- …  (or :cow, which keeps its changes apart)")
	}
	o.Workspace = abs
	if home, ok := streams.Getenv("HOME"); ok && isHome(abs, home) && !o.ReadOnly && os.Geteuid() != 0 && len(keysIn(abs)) == 0 {
		// Creel's own state lies there, too; the reason that people can act on comes first.
		return fault.UsageError(op, "your home folder as workspace would show the agent your keys",
			"cd to the project's folder, or name it with --workspace DIR")
	}
	if seen := keysIn(abs); len(seen) > 0 {
		o.Warnings = append(o.Warnings, fmt.Sprintf("the workspace %s holds %s: the agent can read them",
			abs, strings.Join(seen, ", ")))
		if home != "" && isHome(abs, home) || slices.ContainsFunc(accountHomes("/etc/passwd"), func(home string) bool { return isHome(abs, home) }) {
			return fault.UsageError(op, fmt.Sprintf("%s is a home folder, and the agent could read %s", abs, strings.Join(seen, ", ")),
				"cd to the project's folder, or name it with --workspace DIR")
		}
	}
	return nil
}

// accountHomes are the home folders of a file of accounts (passwd(5)), whoever's
// HOME is in the environment: sudo and services set another one.
func accountHomes(file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil // the folders of HOME and of the system are refused all the same
	}
	var homes []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); len(f) > 5 && filepath.IsAbs(f[5]) && filepath.Clean(f[5]) != "/" {
			homes = append(homes, f[5])
		}
	}
	return homes
}

// ofSystem reports whether a folder is one that holds other people's things, or
// the machine's.
func ofSystem(dir string) bool {
	switch dir {
	case "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/tmp":
		return true
	}
	for _, p := range []string{"/proc/", "/sys/", "/dev/", "/run/"} {
		if strings.HasPrefix(dir, p) {
			return true
		}
	}
	return false
}

// systemTrees are the folders below which the machine keeps its programs, settings
// and state (FHS 3.0), and workTrees those in them where people work. /var/lib
// holds the homes of services too.
var (
	systemTrees = []string{
		"/bin", "/boot", "/dev", "/efi", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr",
		"/var/cache", "/var/lib", "/var/log", "/var/spool",
	}
	workTrees = []string{"/usr/local/src", "/usr/src"}
)

// belowSystem reports whether a folder is one of the system's trees, or lies in
// one, and is no place to work there. Both paths are real ones.
func belowSystem(dir, home string) bool {
	for _, tree := range workTrees {
		if within(tree, dir) {
			return false
		}
	}
	if home != "/var/lib" && within("/var/lib", home) && within(home, dir) {
		return false
	}
	for _, tree := range systemTrees {
		if within(tree, dir) {
			return true
		}
	}
	return false
}

// keyPlaces are where programs keep keys below a home folder. A workspace that
// has one of them is probably not a project.
func keyPlaces() []string {
	return []string{
		".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".npmrc", ".pypirc",
		".git-credentials", ".password-store", ".vault-token", ".config/gcloud", ".config/gh",
		".claude", ".claude.json", ".codex", ".gemini", ".mozilla", ".config/google-chrome", ".local/share/keyrings",
	}
}

func keysIn(dir string) []string {
	var seen []string
	for _, p := range keyPlaces() {
		if _, err := os.Lstat(filepath.Join(dir, p)); err == nil {
			seen = append(seen, p)
		}
	}
	return seen
}

func isHome(dir, home string) bool {
	real, err := filepath.EvalSymlinks(home)
	return err == nil && real == dir
}

// setAgent finds a known agent on this host, and makes the command that starts it.
func (f runFlags) setAgent(o *RunOptions, streams IO) error {
	if f.agent == "" {
		return nil
	}
	m, err := loadAgent(f.agent)
	if err != nil {
		return err
	}
	path, _ := streams.Getenv("PATH")
	home, _ := streams.Getenv("HOME")
	if within(o.Workspace, realOf(home)) {
		home = ""
	}
	found, err := m.Find(f.agentRoot, outside(path, o.Workspace), home)
	if err != nil {
		return err
	}
	o.Agent = m.Launch(found, o.Command, o.Workspace, inference.LocalURL, inference.Placeholder)
	if f.agentShell {
		var words []string
		for _, w := range o.Agent.Start {
			words = append(words, quote(w))
		}
		o.Agent.Env = append(o.Agent.Env, "CREEL_AGENT="+strings.Join(words, " "))
		o.Agent.Command = o.Command
	}
	o.Command = o.Agent.Command
	// A name is what the next start finds the home by.
	o.KeepHome = f.name != ""
	return nil
}

// outside leaves out of a search path what lies in the workspace: an agent of an
// earlier run may have put a program there, or a link that shows another folder.
func outside(path, workspace string) string {
	dirs := slices.DeleteFunc(filepath.SplitList(path), func(dir string) bool { return within(workspace, realOf(dir)) })
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// realOf is a path without links, as far as it exists.
func realOf(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// policyName is looked for in the workspace when --policy is not given.
const policyName = "creel.yaml"

func (f runFlags) setPolicy(o *RunOptions, _ IO) error {
	path := f.policy
	if path == "" {
		path = filepath.Join(o.Workspace, policyName)
		if _, err := os.Lstat(path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the built-in one
			}
			return fault.Wrap(err, "read policy", fault.Usage)
		}
		o.PolicyFound = true
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fault.Wrap(err, "read policy", fault.Usage)
	}
	// Looked at here for the better hint; reading it is the supervisor's.
	info, err := os.Stat(abs)
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "open", Path: abs, Err: errors.New("is a folder")}
	} else if err == nil && info.Mode().IsRegular() {
		var file *os.File
		if file, err = os.Open(abs); err == nil {
			_ = file.Close()
		}
	}
	if err != nil {
		show := "creel policy default"
		if f.agent != "" {
			show = "creel agent policy " + quote(f.agent)
		}
		return fault.Wrap(err, "read policy", fault.Usage, policyHints(err, path, show)...)
	}
	o.Policy = abs
	return nil
}

func (f runFlags) setAudit(o *RunOptions, _ IO) error {
	if f.audit == "" {
		return nil
	}
	abs, err := filepath.Abs(f.audit)
	if err != nil {
		return fault.Wrap(err, "open audit log", fault.Usage)
	}
	// The folder decides who can rewrite the log; links in it count as where they lead.
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(real, filepath.Base(abs))
	}
	if !o.ReadOnly && within(o.Workspace, abs) {
		return fault.UsageError("open audit log", abs+" lies in the workspace, where the agent could rewrite it",
			"leave --audit out: the log goes to the state folder", "or name a file outside of "+o.Workspace)
	}
	o.Audit = abs
	return nil
}

func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (f runFlags) setEnv(o *RunOptions, streams IO) error {
	const op = "read --env"
	for _, kv := range f.env {
		key, value, has := strings.Cut(kv, "=")
		if key == "" || strings.ContainsAny(key, " \t\n\x00") {
			return fault.UsageError(op, quote(kv)+" names no variable", "--env KEY=value", "--env KEY (with the value it has here)")
		}
		if !has {
			if value, has = streams.Getenv(key); !has {
				return fault.UsageError(op, key+" is not set here", "--env "+key+"=value")
			}
		}
		if strings.HasSuffix(strings.ToUpper(key), "_PROXY") && strings.Contains(value, "@") {
			return fault.UsageError(op, "the value of "+key+" holds the password of a proxy, and the command would see it",
				"leave it out: the way out needs nothing inside (creel run --help: --parent-proxy)")
		}
		if strings.ContainsRune(value, 0) {
			return fault.UsageError(op, "the value of "+key+" holds a zero byte")
		}
		o.Env = append(o.Env, key+"="+value)
	}
	return nil
}

func (f runFlags) setInference(o *RunOptions, _ IO) error {
	const op = "read --inference"
	if f.inference == "" {
		if f.inferenceKey != "" || f.model != "" {
			return fault.UsageError(op, "--inference-key and --model belong to a backend", "--inference URL")
		}
		return nil
	}
	u, err := url.Parse(f.inference)
	if err != nil {
		// The text of url.Error would repeat what may hold a password.
		return fault.UsageError(op, "not a URL", "--inference https://models.example.test/v1")
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return fault.UsageError(op, "want http:// or https:// and a host", "--inference https://models.example.test/v1")
	}
	if u.User != nil {
		return fault.UsageError(op, "a password in a URL ends up in logs", "--inference-key env:VAR")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return fault.UsageError(op, "a base URL has no query and no fragment")
	}
	if k := f.inferenceKey; k != "" && !strings.HasPrefix(k, "env:") && !strings.HasPrefix(k, "file:") {
		return fault.UsageError("read --inference-key", "want a reference, not the key itself: others can see command lines",
			"--inference-key env:VAR", "--inference-key file:PATH")
	}
	o.Inference, o.InferenceKey = f.inference, f.inferenceKey
	return nil
}

func (f runFlags) setTrust(o *RunOptions, _ IO) error {
	for _, file := range f.trustCA {
		abs, err := filepath.Abs(file)
		if err == nil {
			_, err = os.Stat(abs)
		}
		if err != nil {
			return fault.Wrap(err, "read --trust-ca", fault.Usage)
		}
		o.TrustCA = append(o.TrustCA, abs)
	}
	return nil
}

func (f runFlags) setLimits(o *RunOptions, _ IO) error {
	r := &o.Resources
	for _, l := range []struct {
		flag, text, example string
		to                  *int64
		parse               func(string) (int64, error)
	}{
		{"--memory", f.memory, "512M", &r.Memory, policy.ParseMemory},
		{"--cpu", f.cpu, "0.5", &r.CPU, policy.ParseCPU},
		{"--pids", f.pids, "256", &r.PIDs, policy.ParsePIDs},
		{"--disk", f.disk, "1G", &r.Disk, policy.ParseDisk},
	} {
		if l.text == "" {
			continue
		}
		n, err := l.parse(l.text)
		if err != nil {
			return fault.UsageError("read "+l.flag, err.Error(), l.flag+" "+l.example)
		}
		*l.to = n
	}
	switch f.limits {
	case "", "hard_requirement":
	case "best_effort":
		r.Compatibility = policy.BestEffort
	default:
		return fault.UsageError("read --limits", quote(f.limits)+" is not hard_requirement or best_effort", "--limits best_effort")
	}
	return nil
}

// quote makes s fit for pasting into a shell.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
