package presets

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// npm: the variable counts before the user's file, which counts before the
// machine's; a scope (@name:registry) has its own. The project's file is left out.
func (d *Discovery) npm() {
	m := d.machine
	seen := map[string]bool{}
	take := func(key, value, from string) {
		if !seen[key] && value != "" {
			seen[key] = true
			d.add(expand(value, m), from)
		}
	}
	for _, name := range []string{"npm_config_registry", "NPM_CONFIG_REGISTRY"} {
		take("registry", d.variable(name), "$"+name)
	}
	files := []string{cmp.Or(m.env("NPM_CONFIG_USERCONFIG"), m.env("npm_config_userconfig"), under(m.home(), ".npmrc"))}
	if program := m.program("node"); program != "" {
		files = append(files, filepath.Join(filepath.Dir(filepath.Dir(program)), "etc", "npmrc"))
	}
	files = append(files, m.system("/etc/npmrc"))
	for _, file := range files {
		for n, line := range lines(d.read(file)) {
			key, value, ok := strings.Cut(line, "=")
			key = strings.TrimSpace(key)
			if ok && !strings.HasPrefix(key, ";") && (key == "registry" || strings.HasPrefix(key, "@") && strings.HasSuffix(key, ":registry")) {
				take(key, strings.Trim(strings.TrimSpace(value), `"'`), at(file, n))
			}
		}
	}
}

// expand puts in ${NAME} of the environment, as npm does.
func expand(text string, m Machine) string {
	for range 8 { // no registry has more
		before, rest, ok := strings.Cut(text, "${")
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			break
		}
		text = before + m.env(strings.TrimSuffix(name, "?")) + after
	}
	return text
}

// pip: variables count before the user's files, those before the machine's.
// The archives of an index lie beside its list (…/simple), so the path that
// both have is taken.
func (d *Discovery) pip() {
	m := d.machine
	seen := map[string]bool{}
	take := func(key, value, from string) {
		if seen[key] || value == "" {
			return
		}
		seen[key] = true
		for one := range strings.FieldsSeq(value) {
			one = strings.TrimRight(one, "/")
			if base, ok := strings.CutSuffix(one, "/simple"); ok {
				one = base
			}
			d.add(one, from)
		}
	}
	take("index-url", d.variable("PIP_INDEX_URL"), "$PIP_INDEX_URL")
	take("extra-index-url", d.variable("PIP_EXTRA_INDEX_URL"), "$PIP_EXTRA_INDEX_URL")
	files := []string{under(m.config(), "pip", "pip.conf"), under(m.home(), ".pip", "pip.conf"), m.system("/etc/xdg/pip/pip.conf"), m.system("/etc/pip.conf")}
	if own := m.env("PIP_CONFIG_FILE"); own != "" {
		files = slices.Insert(files, 0, own)
	}
	for _, file := range files {
		for _, e := range ini(d.read(file)) {
			switch key := strings.ReplaceAll(strings.ToLower(e.key), "_", "-"); key {
			case "index-url", "extra-index-url":
				if e.section == "global" || e.section == "install" || e.section == "download" {
					take(key, e.value, at(file, e.line))
				}
			}
		}
	}
}

// golang: the variable, the user's file that `go env -w` writes, the file that
// go was installed with.
func (d *Discovery) golang() {
	m := d.machine
	value, from := d.variable("GOPROXY"), "$GOPROXY"
	user := cmp.Or(m.env("GOENV"), under(m.config(), "go", "env"))
	files := []string{user}
	if user == "off" {
		files = nil
	}
	if root := m.env("GOROOT"); root != "" {
		files = append(files, filepath.Join(root, "go.env"))
	} else if program := m.program("go"); program != "" {
		files = append(files, filepath.Join(filepath.Dir(filepath.Dir(program)), "go.env"))
	}
	for _, file := range files {
		for n, line := range lines(d.read(file)) {
			if v, ok := strings.CutPrefix(line, "GOPROXY="); ok && value == "" {
				value, from = strings.TrimSpace(v), at(file, n)
			}
		}
	}
	for one := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == '|' }) {
		switch one = strings.TrimSpace(one); {
		case one == "direct":
			d.note("%s: direct, which fetches from repositories, is not opened", from)
		case one == "off" || one == "":
		case strings.HasPrefix(one, "file:"):
			d.note("%s: files need no rule", from)
		default:
			d.add(one, from)
		}
	}
}

// apt: every source over HTTP, in both forms of its files.
func (d *Discovery) apt() {
	m := d.machine
	single := []string{m.system("/etc/apt/sources.list")}
	more, _ := filepath.Glob(m.system("/etc/apt/sources.list.d/*.list"))
	for _, file := range append(single, more...) {
		for n, line := range lines(d.read(file)) {
			// deb [options] URI suite …
			if open, after, ok := strings.Cut(line, "["); ok {
				_, rest, _ := strings.Cut(after, "]")
				line = open + rest
			}
			if f := strings.Fields(line); len(f) >= 2 && (f[0] == "deb" || f[0] == "deb-src") {
				d.aptSource(f[1], at(file, n))
			}
		}
	}
	d.Looked = append(d.Looked, m.system("/etc/apt/sources.list.d/*"))
	stanzas, _ := filepath.Glob(m.system("/etc/apt/sources.list.d/*.sources"))
	for _, file := range stanzas {
		key := ""
		for n, line := range lines(d.read(file)) {
			value := line
			if line != "" && line[0] != ' ' && line[0] != '\t' {
				key, value, _ = strings.Cut(line, ":")
			}
			if strings.EqualFold(strings.TrimSpace(key), "URIs") {
				for one := range strings.FieldsSeq(value) {
					d.aptSource(one, at(file, n))
				}
			}
		}
	}
}

func (d *Discovery) aptSource(uri, from string) {
	uri = strings.TrimPrefix(uri, "mirror+")
	if strings.HasPrefix(uri, "http://") || strings.HasPrefix(uri, "https://") {
		d.add(uri, from)
	}
}

// lines are the lines of a text that are no comments, by their numbers.
func lines(text string) func(func(int, string) bool) {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimRight(line, "\r\n \t")
			if line == "" || strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
				continue
			}
			if !yield(n, line) {
				return
			}
		}
	}
}

type iniEntry struct {
	section, key, value string
	line                int
}

// ini reads what pip's files hold: [section], key = value or key: value, and
// indented lines that continue a value.
func ini(text string) (list []iniEntry) {
	section := ""
	for n, line := range lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed[0] == ';':
		case trimmed[0] == '[':
			section = strings.Trim(trimmed, "[] ")
		case line[0] == ' ' || line[0] == '\t':
			if len(list) > 0 {
				list[len(list)-1].value += " " + trimmed
			}
		default:
			if i := strings.IndexAny(trimmed, "=:"); i > 0 {
				list = append(list, iniEntry{section, strings.TrimSpace(trimmed[:i]), strings.TrimSpace(trimmed[i+1:]), n})
			}
		}
	}
	return list
}

func at(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
