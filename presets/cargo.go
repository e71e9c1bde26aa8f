package presets

import (
	"cmp"
	"errors"
	"strings"

	"github.com/BurntSushi/toml"
)

var errNotTOML = errors.New("not TOML")

// cargoConfig is what is read of cargo's configuration. Values of the wrong
// type are faults of the whole file.
type cargoConfig struct {
	Source map[string]struct {
		Registry    string `toml:"registry"`
		ReplaceWith string `toml:"replace-with"`
	} `toml:"source"`
	Registries map[string]struct {
		Index string `toml:"index"`
	} `toml:"registries"`
}

// cargo: registries by name, and the sources that replace others.
func (d *Discovery) cargo() {
	m := d.machine
	home := cmp.Or(m.env("CARGO_HOME"), under(m.home(), ".cargo"))
	text, file := "", ""
	for _, name := range []string{"config.toml", "config"} {
		if text == "" {
			file = under(home, name)
			text = d.read(file)
		}
	}
	var c cargoConfig
	if text != "" {
		if err := decodeTOML(text, &c); err != nil {
			d.note("%s is not what cargo takes; left out", file)
			c = cargoConfig{}
		}
	}
	used := map[string]bool{} // a source counts if another is replaced with it
	for _, s := range c.Source {
		used[s.ReplaceWith] = true
	}
	for _, name := range sorted(c.Source) {
		if s := c.Source[name]; used[name] && s.ReplaceWith == "" && s.Registry != "" {
			d.index(s.Registry, file+", source."+name)
		}
	}
	for _, name := range sorted(c.Registries) {
		from := file + ", registries." + name
		index := c.Registries[name].Index
		variable := "CARGO_REGISTRIES_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_INDEX"
		if v := m.env(variable); v != "" {
			index, from = v, "$"+variable
		}
		if index != "" {
			d.index(index, from)
		}
	}
}

// decodeTOML turns a panic of the library into an error.
func decodeTOML(text string, into *cargoConfig) (err error) {
	defer func() {
		if recover() != nil {
			err = errNotTOML
		}
	}()
	_, err = toml.Decode(text, into)
	return err
}

// index: one that is not sparse is a git repository, which these rules do not open.
func (d *Discovery) index(text, from string) {
	url, sparse := strings.CutPrefix(text, "sparse+")
	switch {
	case strings.HasPrefix(url, "file:"):
	case !sparse:
		d.note("%s: the index is a git repository, which this preset does not open; left out", from)
	default:
		// Archives often lie beside an index of that name.
		d.add(strings.TrimSuffix(strings.TrimRight(url, "/"), "/index"), from)
	}
}
