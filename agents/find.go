package agents

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/fault"
)

// Found is where the files of an agent are on this host.
type Found struct {
	Program string   `json:"program"`           // without links
	Node    string   `json:"node,omitempty"`    // for a program that is a script
	Version string   `json:"version,omitempty"` // of Node, if its files tell
	Show    []string `json:"show"`              // what the sandbox must show, read-only
}

// Find looks for the program below root, else along path (as in PATH) and the
// usual places of installers. Nothing is executed.
func (m *Manifest) Find(root, path, home string) (*Found, error) {
	var hits []string
	if root != "" {
		abs, err := filepath.Abs(root)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return nil, fault.Wrap(err, "read --agent-root", fault.Usage, m.InstallHint(root))
		}
		for _, dir := range []string{abs, filepath.Join(abs, "lib")} {
			hits = append(hits, m.packaged(filepath.Join(dir, "node_modules"))...)
		}
		if filepath.Base(abs) == "node_modules" {
			hits = append(hits, m.packaged(abs)...)
		}
		for _, dir := range []string{"bin", ".", "node_modules/.bin"} {
			hits = append(hits, m.linked(filepath.Join(abs, dir))...)
		}
	} else {
		dirs := filepath.SplitList(path)
		if filepath.IsAbs(home) {
			dirs = append(dirs, filepath.Join(home, ".local/bin"), filepath.Join(home, ".npm-global/bin"))
		}
		for _, dir := range append(dirs, "/usr/local/bin", "/usr/bin") {
			if filepath.IsAbs(dir) { // an empty entry is the current folder: not for what is trusted
				hits = append(hits, m.linked(dir)...)
			}
		}
	}
	var why causes
	for _, hit := range hits {
		f, err := m.accept(hit, root, path)
		if err == nil {
			if err := m.finished(f); err != nil {
				return nil, err
			}
			return f, nil
		}
		why.add(realPath(hit), err.Error())
	}
	return nil, m.absent(root, why, m.hollow(root, path, home))
}

func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// causes say why candidates were not taken, each cause once.
type causes []struct {
	paths []string
	text  string
}

func (c *causes) add(path, text string) {
	for i, known := range *c {
		if known.text == text {
			if !slices.Contains(known.paths, path) {
				(*c)[i].paths = append(known.paths, path)
			}
			return
		}
	}
	*c = append(*c, struct {
		paths []string
		text  string
	}{[]string{path}, text})
}

func (c causes) String() string {
	var all []string
	for _, one := range c {
		all = append(all, strings.Join(one.paths, ", ")+": "+one.text)
	}
	return strings.Join(all, "; ")
}

// hollow gives the folder of a package of that name without the program: npm takes
// an old placeholder where the newest one wants a newer Node. "" is none.
func (m *Manifest) hollow(root, path, home string) string {
	var modules []string
	if root != "" {
		modules = []string{filepath.Join(root, "node_modules"), filepath.Join(root, "lib", "node_modules"), root}
	} else {
		dirs := append(filepath.SplitList(path), "/usr/local/bin", "/usr/bin")
		if filepath.IsAbs(home) {
			dirs = append(dirs, filepath.Join(home, ".npm-global/bin"))
		}
		for _, dir := range dirs { // PREFIX/bin beside PREFIX/lib/node_modules
			if filepath.IsAbs(dir) {
				modules = append(modules, filepath.Join(dir, "..", "lib", "node_modules"))
			}
		}
	}
	for _, pattern := range m.Program.Packages {
		words := strings.Split(pattern, "/")
		name := words[0]
		if strings.HasPrefix(name, "@") && len(words) > 1 {
			name = words[0] + "/" + words[1]
		}
		if strings.ContainsAny(name, "*?[$") {
			continue
		}
		for _, dir := range modules {
			if _, err := os.Lstat(filepath.Join(dir, name, "package.json")); err == nil && len(m.packaged(dir)) == 0 {
				return filepath.Join(dir, name)
			}
		}
	}
	return ""
}

// finished refuses a package whose own installation steps have not run, as after
// npm install --ignore-scripts: inside, where its files are read-only, they cannot.
func (m *Manifest) finished(f *Found) error {
	for _, name := range m.Program.Pending {
		mark := filepath.Join(filepath.Dir(f.Program), name)
		if _, err := os.Lstat(mark); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		words := f.Program
		if f.Node != "" {
			words = f.Node + " " + f.Program
		}
		return fault.UsageError("find "+m.Title, "its installation is not finished: "+mark+" is still there",
			words+" --version  (once, as the owner of these files: it does the steps that were left out)")
	}
	return nil
}

// usualRoot is where the hint installs an agent when no folder is named.
const usualRoot = "~/creel-agents"

// InstallHint is what to type when the program is absent; "" if the manifest has
// nothing. Packages go below root, if the manifest installs into a folder.
func (m *Manifest) InstallHint(root string) string {
	if root == "" {
		root = usualRoot
	}
	return strings.NewReplacer("${root}", root, "${arch}", arch()).Replace(m.Program.Install)
}

func (m *Manifest) absent(root string, why causes, hollow string) error {
	msg := "its program " + m.Program.Command + " is nowhere on PATH"
	if root != "" {
		msg = "its program " + m.Program.Command + " is not below " + root
	}
	if hollow != "" {
		msg += "; the package " + hollow + " has none in it (npm takes an old one where Node is too old for the newest)"
	}
	if len(why) > 0 {
		msg = why.String()
	}
	var hints []string
	if m.Program.Install != "" {
		hints = append(hints, m.InstallHint(root))
	}
	if strings.Contains(m.Program.Install, "${root}") {
		if root == "" {
			root = usualRoot
		}
		return fault.UsageError("find "+m.Title, msg, append(hints, "then: creel run --agent "+m.Name+" --agent-root "+root)...)
	}
	return fault.UsageError("find "+m.Title, msg, append(hints, "creel run --agent "+m.Name+" --agent-root DIR -- …  (where it is installed; make agents, in the sources of creel, installs it in .tools/agents)")...)
}

// packaged are the places of the manifest that exist below a node_modules.
func (m *Manifest) packaged(modules string) (hits []string) {
	for _, pattern := range m.Program.Packages {
		found, err := filepath.Glob(filepath.Join(modules, strings.ReplaceAll(pattern, "${arch}", arch())))
		if err == nil {
			hits = append(hits, found...)
		}
	}
	return hits
}

// linked looks for the command in a folder of programs, and prefers what its
// package holds over the package's starter, which may be no more than that.
func (m *Manifest) linked(dir string) []string {
	real, err := filepath.EvalSymlinks(filepath.Join(dir, m.Program.Command))
	if err != nil {
		return nil
	}
	if info, err := os.Stat(real); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	var hits []string
	for _, modules := range modulesAbove(real) {
		hits = append(hits, m.packaged(modules)...)
	}
	return append(hits, real)
}

// modulesAbove are the node_modules folders that a path lies in, innermost first.
func modulesAbove(path string) (dirs []string) {
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if filepath.Base(dir) == "node_modules" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// arch is the machine as npm's packages name it.
func arch() string {
	if runtime.GOARCH == "amd64" {
		return "x64"
	}
	return runtime.GOARCH
}

// accept checks one candidate and finds what it needs.
func (m *Manifest) accept(hit, root, path string) (*Found, error) {
	real, err := filepath.EvalSymlinks(hit)
	if err != nil {
		return nil, err
	}
	script, err := isScript(real)
	if err != nil {
		return nil, err
	}
	f := &Found{Program: real, Show: []string{real}}
	modules := modulesAbove(real)
	if len(modules) > 0 { // with all that it requires
		f.Show = []string{modules[len(modules)-1]}
	}
	if !script {
		return f, nil
	}
	if m.Program.Node == "" {
		return nil, errors.New("is a script, and its manifest names no version of Node")
	}
	if err := m.findNode(f, modules, root, path); err != nil {
		return nil, err
	}
	if !within(f.Show[0], f.Node) {
		f.Show = append(f.Show, f.Node)
	}
	return f, nil
}

func within(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// isScript tells a script from a native program by its first bytes.
func isScript(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, errors.New("is not a regular file")
	}
	var head [4]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return false, errors.New("is no program")
	}
	switch {
	case string(head[:]) == "\x7fELF":
		if info.Mode().Perm()&0o111 == 0 {
			return false, errors.New("is not executable")
		}
		return false, nil
	case string(head[:2]) == "#!", strings.HasSuffix(path, ".js"), strings.HasSuffix(path, ".mjs"):
		line, _ := bufio.NewReader(io.MultiReader(strings.NewReader(string(head[:])), f)).ReadString('\n')
		if strings.HasPrefix(line, "#!") && !strings.Contains(line, "node") {
			return false, errors.New("is a script, but none of Node's: " + strconv.QuoteToASCII(strings.TrimSpace(line)))
		}
		return true, nil
	}
	return false, errors.New("is neither a native program nor a script (an installer that has not run?)")
}

// findNode takes the first Node that is new enough: beside the program, along
// path. One whose version its files do not tell is taken last.
func (m *Manifest) findNode(f *Found, modules []string, root, path string) error {
	var places []string
	for _, dir := range modules {
		places = append(places, filepath.Join(dir, "node-linux-"+arch(), "bin", "node"), filepath.Join(dir, "node", "bin", "node"),
			filepath.Join(dir, "..", "..", "bin", "node")) // PREFIX/lib/node_modules
	}
	if root != "" {
		places = append(places, filepath.Join(root, "bin", "node"))
	}
	for _, dir := range append(filepath.SplitList(path), "/usr/local/bin", "/usr/bin") {
		if filepath.IsAbs(dir) {
			places = append(places, filepath.Join(dir, "node"))
		}
	}
	unknown, tooOld := "", []string(nil)
	for _, p := range places {
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			continue
		}
		if script, err := isScript(real); err != nil || script {
			continue
		}
		switch v := nodeVersion(real); {
		case v == "" && unknown == "":
			unknown = real
		case v != "" && atLeast(v, m.Program.Node):
			f.Node, f.Version = real, v
			return nil
		case v != "" && !slices.Contains(tooOld, real+" is "+v):
			tooOld = append(tooOld, real+" is "+v)
		}
	}
	if f.Node = unknown; unknown != "" {
		return nil
	}
	text := "needs Node " + m.Program.Node + " or newer"
	if len(tooOld) > 0 {
		text += " (" + strings.Join(tooOld, ", ") + ")"
	}
	return errors.New(text)
}

var versionLine = form(`(?m)^#define NODE_(MAJOR|MINOR|PATCH)_VERSION (\d+)$`)

// nodeVersion reads the version from the headers that lie beside a Node.
func nodeVersion(node string) string {
	text, err := readFile(filepath.Join(filepath.Dir(node), "..", "include", "node", "node_version.h"))
	if err != nil {
		return ""
	}
	var parts []string
	for _, m := range versionLine().FindAllStringSubmatch(string(text), -1) {
		parts = append(parts, m[2])
	}
	if len(parts) != 3 {
		return ""
	}
	return strings.Join(parts, ".")
}

// atLeast compares dotted numbers; missing ones are 0.
func atLeast(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i := range max(len(h), len(w)) {
		var a, b int
		if i < len(h) {
			a, _ = strconv.Atoi(h[i])
		}
		if i < len(w) {
			b, _ = strconv.Atoi(w[i])
		}
		if a != b {
			return a > b
		}
	}
	return true
}
