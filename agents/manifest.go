package agents

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/creel-run/creel/fault"
)

// Manifest says how one agent is run. Texts may hold ${…} words; see words.
type Manifest struct {
	File    string  `json:"file"` // where it comes from, for messages
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	Program Program `json:"program"`

	Args        []string `json:"args"`         // before those of the operator
	DefaultArgs []string `json:"default_args"` // in place of those that he does not give

	Env   []Variable `json:"env"`
	Files []File     `json:"files"` // supplied read-only, in a folder of the sandbox's own

	State    []string  `json:"state"`    // what it keeps, below its home
	Settings []string  `json:"settings"` // in the workspace: read-only for the agent
	Contacts []Contact `json:"contacts"` // hosts it calls by itself, and what stops that

	Inference Inference `json:"inference"`

	Policy     []byte `json:"-"`
	PolicyFile string `json:"policy"` // as messages and the log show it
}

// Program is where the agent is found.
type Program struct {
	Command  string   `json:"command"`           // its name on PATH
	Packages []string `json:"packages"`          // globs below node_modules, the native program first
	Node     string   `json:"node,omitempty"`    // the least version, for a program that is a script
	Install  string   `json:"install,omitempty"` // what to type when it is absent
	Pending  []string `json:"pending,omitempty"` // files beside it that say that its installation is not finished
}

// Variable is one of the agent's environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// File is a settings file.
type File struct {
	Path    string `json:"path"` // relative to ${files}
	Content string `json:"content"`
}

// Inference says how the agent speaks to its model.
type Inference struct {
	Protocol string   `json:"protocol"`
	Hosts    []string `json:"hosts"`
}

// Contact is a host that the agent calls by itself, for its maker.
type Contact struct {
	Host      string `json:"host"`
	Why       string `json:"why"`
	StoppedBy string `json:"stopped_by"`
}

//go:embed */agent.yaml */policy.yaml
var builtin embed.FS

// Names are the agents that creel knows, sorted.
func Names() []string {
	entries, err := builtin.ReadDir(".")
	if err != nil {
		return nil // cannot be: the folder is part of the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// maxBytes bounds a manifest and its policy; they are written by people.
const maxBytes = 1 << 20

// Load gives the agent of a name, or of an operator's own manifest if the word
// is a path: a folder with agent.yaml, or the file. Faults are policy.Faults.
func Load(word string) (*Manifest, error) {
	if !strings.ContainsRune(word, '/') && !strings.HasSuffix(word, ".yaml") {
		data, err := builtin.ReadFile(word + "/agent.yaml")
		if err != nil {
			return nil, fault.UsageError("find agent", "no agent is called "+word,
				"creel agent list", "creel run --agent ./my-agent.yaml -- …  (a manifest of your own)")
		}
		return read(word+"/agent.yaml", data, "agent "+word, func(name string) ([]byte, error) {
			return builtin.ReadFile(word + "/" + name)
		})
	}
	file, err := filepath.Abs(word)
	if err != nil {
		return nil, fault.Wrap(err, "read agent", fault.Usage)
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		file = filepath.Join(file, "agent.yaml")
	}
	data, err := readFile(file)
	if err != nil {
		return nil, fault.Wrap(err, "read agent", fault.Usage, "creel agent copy claude DIR  (a manifest to start from)")
	}
	return read(file, data, "", func(name string) ([]byte, error) {
		return readFile(filepath.Join(filepath.Dir(file), name))
	})
}

// read decodes a manifest and takes its policy. policyFile "" names the file itself.
func read(file string, data []byte, policyFile string, open func(name string) ([]byte, error)) (*Manifest, error) {
	m, policyName, err := decode(file, data)
	if err != nil {
		return nil, err
	}
	if m.Policy, err = open(policyName); err != nil {
		return nil, fault.Wrap(err, "read policy of agent "+m.Name, fault.Usage)
	}
	if m.PolicyFile = policyFile; policyFile == "" {
		m.PolicyFile = filepath.Join(filepath.Dir(file), policyName)
	}
	return m, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = fmt.Errorf("%s has more than %d bytes", path, maxBytes)
	}
	return data, err
}

// Source gives the files of a built-in agent as they are written, for copying.
func Source(name string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := fs.WalkDir(builtin, name, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := builtin.ReadFile(path)
		out[d.Name()] = data
		return err
	})
	if err != nil {
		return nil, fault.UsageError("find agent", "no agent is called "+name, "creel agent list")
	}
	return out, nil
}
