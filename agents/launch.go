package agents

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
)

// FilesDir is where an agent's settings files stand inside: in the sandbox's
// own root, so that nothing in it is the agent's to change.
const FilesDir = "/run/creel/agent"

// Home is the agent's home inside. One for all, whoever the operator is: what an
// agent keeps there names paths in it.
const Home = "/home/agent"

// wordForm are the words of args, env and files that a launch puts values for.
var wordForm = form(`\$\{([a-z]*)\}`)

var wordNames = []string{"workspace", "home", "files", "inference", "key"}

// Launch is an agent that is ready to be put into a sandbox: plain data.
type Launch struct {
	Name    string
	Title   string
	Command []string
	Start   []string // Command without the operator's words
	Env     []string // KEY=value; the operator's own count more
	Path    []string // folders for the front of PATH
	Show    []string // host paths to show, read-only
	Home    string   // inside
	Files   []File   // with absolute paths inside

	Settings []string // absolute paths in the workspace, read-only if they exist

	Contacts []Contact // hosts it calls by itself, and can do without

	Policy     []byte // in force unless the operator gives one
	PolicyFile string
}

// Launch fills a manifest in for one run. args are the operator's. key is the
// placeholder of the model's key and inference the base URL of the route.
func (m *Manifest) Launch(f *Found, args []string, workspace, inference, key string) *Launch {
	home := Home
	for _, p := range append([]string{workspace}, f.Show...) {
		if within(Home, p) { // somebody's real folder
			home = "/home/creel-agent"
		}
	}
	value := map[string]string{"workspace": workspace, "home": home, "files": FilesDir, "inference": inference, "key": key}
	fill := func(text string, quote func(string) string) string {
		return wordForm().ReplaceAllStringFunc(text, func(w string) string { return quote(value[w[2:len(w)-1]]) })
	}
	plain := func(s string) string { return s }
	l := &Launch{Name: m.Name, Title: m.Title, Show: f.Show, Home: home, Contacts: m.Contacts, Policy: m.Policy, PolicyFile: m.PolicyFile}
	if f.Node != "" {
		l.Command = append(l.Command, f.Node)
		l.Path = append(l.Path, filepath.Dir(f.Node))
	}
	l.Command = append(l.Command, f.Program)
	for _, a := range m.Args {
		l.Command = append(l.Command, fill(a, plain))
	}
	l.Start = slices.Clone(l.Command)
	if len(args) == 0 {
		for _, a := range m.DefaultArgs {
			args = append(args, fill(a, plain))
		}
	}
	l.Command = append(l.Command, args...)
	for _, v := range m.Env {
		l.Env = append(l.Env, v.Name+"="+fill(v.Value, plain))
	}
	for _, file := range m.Files {
		quote := plain
		if strings.HasSuffix(file.Path, ".json") {
			quote = inJSON
		}
		l.Files = append(l.Files, File{Path: FilesDir + "/" + file.Path, Content: fill(file.Content, quote)})
	}
	for _, s := range m.Settings {
		l.Settings = append(l.Settings, filepath.Join(workspace, s))
	}
	return l
}

// inJSON makes s fit for the inside of a JSON string.
func inJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(b[1 : len(b)-1])
}
