package presets

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/creel-run/creel/fault"
)

// Machine is where configuration is read.
type Machine struct {
	Getenv func(string) (string, bool)
	Root   string // before absolute paths of the system; "" is the machine itself
}

func (m Machine) env(name string) string {
	if m.Getenv == nil {
		return ""
	}
	value, _ := m.Getenv(name)
	return strings.TrimSpace(value)
}

func (m Machine) home() string { return m.env("HOME") }

// config is the user's folder for configuration.
func (m Machine) config() string {
	if dir := m.env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if m.home() == "" {
		return ""
	}
	return filepath.Join(m.home(), ".config")
}

func (m Machine) system(path string) string { return filepath.Join(m.Root+"/", path) }

// program finds a command along PATH and follows its links.
func (m Machine) program(name string) string {
	for _, dir := range filepath.SplitList(m.env("PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			if real, err := filepath.EvalSymlinks(file); err == nil {
				return real
			}
		}
	}
	return ""
}

// Bounds of what is read of a machine.
const (
	maxFile    = 1 << 20
	maxSources = 64
)

// Discovery is what a client's configuration says.
type Discovery struct {
	Client  Client   `json:"client"`
	Sources []Source `json:"sources"`
	Looked  []string `json:"looked"` // files and variables, in the order in which they count
	Notes   []string `json:"notes,omitempty"`

	machine Machine
}

// Discover reads where a client gets packages from.
func Discover(client Client, m Machine) *Discovery {
	d := &Discovery{Client: client, Sources: []Source{}, machine: m}
	switch client {
	case NPM:
		d.npm()
	case Pip:
		d.pip()
	case Go:
		d.golang()
	case Cargo:
		d.cargo()
	case Apt:
		d.apt()
	}
	return d
}

// Err says what was looked for if nothing was found.
func (d *Discovery) Err(preset string) error {
	if len(d.Sources) > 0 {
		return nil
	}
	return fault.UsageError("find packages of "+string(d.Client), "no configuration of this machine names a host",
		"looked for: "+strings.Join(d.Looked, ", "),
		"name it: creel policy preset add "+preset+" --host HOST (or its URL)")
}

// add takes a URL of the configuration, once.
func (d *Discovery) add(text, from string) {
	s, err := ParseHost(text, from)
	if err != nil {
		d.note("%s: %v; left out", from, err)
		return
	}
	same := func(o Source) bool { return o.Host == s.Host && o.Port == s.Port && o.Path == s.Path }
	if !slices.ContainsFunc(d.Sources, same) && len(d.Sources) < maxSources {
		d.Sources = append(d.Sources, s)
	}
}

func (d *Discovery) note(format string, args ...any) {
	if len(d.Notes) < maxSources {
		d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
	}
}

// variable is a variable of the environment; that it was looked at is noted.
func (d *Discovery) variable(name string) string {
	d.Looked = append(d.Looked, "$"+name)
	return d.machine.env(name)
}

// read gives the text of a file, or "" if it cannot be read.
func (d *Discovery) read(path string) string {
	if path == "" {
		return ""
	}
	d.Looked = append(d.Looked, path)
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() { // a pipe would never end
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		d.note("%s cannot be read", path)
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(text) > maxFile {
		d.note("%s cannot be read, or is larger than %d bytes", path, maxFile)
		return ""
	}
	return string(text)
}

// under joins a folder that may be unknown.
func under(dir string, parts ...string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(append([]string{dir}, parts...)...)
}
