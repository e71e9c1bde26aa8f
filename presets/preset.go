package presets

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/fault"
)

// Preset is one service.
type Preset struct {
	Name       string      `json:"name"`
	Title      string      `json:"title"`
	About      string      `json:"about"`
	Opens      []string    `json:"opens"`
	Risks      []string    `json:"risks"`
	Parameters []Parameter `json:"parameters,omitempty"`
	Registry   Client      `json:"registry,omitempty"` // its hosts are those of this client's configuration

	rules *yaml.Node // network_policies, with ${…} in it
}

// Parameter is a flag that the preset takes.
type Parameter struct {
	Name    string `json:"name"`  // repo or host
	Value   string `json:"value"` // what the help calls it
	About   string `json:"about"`
	Default string `json:"default,omitempty"`
	Several bool   `json:"several,omitempty"`
}

// Client is a program that installs packages.
type Client string

const (
	NPM   Client = "npm"
	Pip   Client = "pip"
	Go    Client = "go"
	Cargo Client = "cargo"
	Apt   Client = "apt"
)

//go:embed data/*.yaml
var data embed.FS

// Names are all presets, sorted.
func Names() []string {
	entries, err := data.ReadDir("data")
	if err != nil {
		return nil // cannot be: the folder is part of the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Load reads one preset.
func Load(name string) (*Preset, error) {
	const op = "load preset"
	if !slices.Contains(Names(), name) {
		return nil, fault.UsageError(op, fmt.Sprintf("no preset is named %q", name), "creel policy preset list")
	}
	text, err := data.ReadFile("data/" + name + ".yaml")
	if err != nil {
		return nil, fault.Wrap(err, op, fault.General)
	}
	p, err := decode(text)
	if err != nil {
		return nil, fault.Wrap(err, op+" "+name, fault.General)
	}
	p.Name = name
	return p, nil
}

// decode reads a preset's file. A fault in it is one of this program.
func decode(text []byte) (*Preset, error) {
	var file struct {
		Version int
		Preset  struct {
			Title, About string
			Opens, Risks []string
			Parameters   []struct {
				Name, Value, About, Default string
				Several                     bool
			}
			Registry Client
		}
		Networks yaml.Node `yaml:"network_policies"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, err
	}
	if file.Version != 2 || file.Networks.Kind != yaml.MappingNode {
		return nil, errors.New("want version: 2 and network_policies")
	}
	p := &Preset{
		Title: file.Preset.Title, About: file.Preset.About, Opens: file.Preset.Opens, Risks: file.Preset.Risks,
		Registry: file.Preset.Registry, rules: &file.Networks,
	}
	for _, one := range file.Preset.Parameters {
		p.Parameters = append(p.Parameters, Parameter(one))
	}
	return p, nil
}

// Wants reports whether the preset has a parameter of that name. Every preset
// for packages takes hosts.
func (p *Preset) Wants(name string) bool {
	return p.Registry != "" && name == "host" ||
		slices.ContainsFunc(p.Parameters, func(one Parameter) bool { return one.Name == name })
}
