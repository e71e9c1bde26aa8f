package presets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine is an invented one: its files, below root, and its environment.
func machine(t *testing.T, files, env map[string]string) Machine {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.Contains(name, "/bin/") {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return Machine{Root: root, Getenv: func(name string) (string, bool) {
		if name == "HOME" {
			return filepath.Join(root, "home"), true
		}
		value, ok := env[name]
		return strings.ReplaceAll(value, "ROOT", root), ok
	}}
}

func TestDiscover(t *testing.T) {
	for _, c := range []struct {
		name   string
		client Client
		files  map[string]string
		env    map[string]string
		want   []string // source (from)
		note   string
	}{
		{"npm: the user's file before the machine's", NPM, map[string]string{
			"home/.npmrc": "; npm\n# registry=https://old.example\nregistry = https://npm.example/base/\n@acme:registry=https://acme.example:8443\n//npm.example/:_authToken=secret\n",
			"etc/npmrc":   "registry=https://system.example\n@other:registry=https://other.example\n",
		}, nil, []string{"npm.example/base (home/.npmrc:3)", "acme.example:8443 (home/.npmrc:4)", "other.example (etc/npmrc:2)"}, ""},
		{"npm: the variable before all", NPM, map[string]string{"home/.npmrc": "registry=https://npm.example\n"},
			map[string]string{"npm_config_registry": "https://env.example"}, []string{"env.example ($npm_config_registry)"}, ""},
		{"npm: another user file, variables in it", NPM, map[string]string{"home/.npmrc": "registry=https://npm.example\n", "x/rc": "registry=https://${NAME}.example/${NONE?}\n"},
			map[string]string{"NPM_CONFIG_USERCONFIG": "ROOT/x/rc", "NAME": "own"}, []string{"own.example (x/rc:1)"}, ""},
		{"npm: beside node", NPM, map[string]string{"opt/node/bin/node": "", "opt/node/etc/npmrc": "registry='http://npm.example:4873/'\n"},
			map[string]string{"PATH": "relative:ROOT/opt/node/bin"}, []string{"npm.example:4873 (opt/node/etc/npmrc:1)"}, ""},
		{"npm: what is malformed is left out", NPM, map[string]string{"home/.npmrc": "registry=https://user:secret@not a host/\n"}, nil, nil, "left out"},
		{"npm: nothing", NPM, nil, nil, nil, ""},

		{"pip: files in their order", Pip, map[string]string{
			"home/.config/pip/pip.conf": "[global]\nindex-url = https://user:secret@pip.example/root/simple/\n[freeze]\nindex-url = https://no.example\n",
			"etc/pip.conf":              "[global]\nindex_url: https://system.example/simple\nextra-index-url =\n    https://one.example/simple\n    https://two.example/pypi\n",
		}, nil, []string{"pip.example/root (home/.config/pip/pip.conf:2)", "one.example (etc/pip.conf:3)", "two.example/pypi (etc/pip.conf:3)"}, ""},
		{"pip: variables", Pip, nil, map[string]string{"PIP_INDEX_URL": "https://env.example/simple", "PIP_EXTRA_INDEX_URL": "http://a.example http://b.example"},
			[]string{"env.example ($PIP_INDEX_URL)", "a.example:80 ($PIP_EXTRA_INDEX_URL)", "b.example:80 ($PIP_EXTRA_INDEX_URL)"}, ""},
		{"pip: a file by its variable", Pip, map[string]string{"x/conf": "[install]\nindex-url=https://own.example\n"},
			map[string]string{"PIP_CONFIG_FILE": "ROOT/x/conf"}, []string{"own.example (x/conf:2)"}, ""},

		{"go: the variable", Go, map[string]string{"home/.config/go/env": "GOPROXY=https://user.example\n"},
			map[string]string{"GOPROXY": "https://one.example|https://two.example/go,direct"},
			[]string{"one.example ($GOPROXY)", "two.example/go ($GOPROXY)"}, "direct"},
		{"go: the user's file before the installation's", Go, map[string]string{
			"home/.config/go/env": "GOFLAGS=-mod=mod\nGOPROXY=https://user.example,off\n", "go/bin/go": "", "go/go.env": "GOPROXY=https://built-in.example\n",
		}, map[string]string{"PATH": "ROOT/go/bin"}, []string{"user.example (home/.config/go/env:2)"}, ""},
		{"go: the installation's", Go, map[string]string{"go/bin/go": "", "go/go.env": "# defaults\nGOPROXY=https://built-in.example,direct\n"},
			map[string]string{"PATH": "ROOT/go/bin"}, []string{"built-in.example (go/go.env:2)"}, "direct"},
		{"go: GOENV=off", Go, map[string]string{"home/.config/go/env": "GOPROXY=https://user.example\n"}, map[string]string{"GOENV": "off"}, nil, ""},
		{"go: no proxy", Go, nil, map[string]string{"GOPROXY": "direct"}, nil, "direct"},

		{"cargo: replaced sources and registries", Cargo, map[string]string{"home/.cargo/config.toml": `
[source.crates-io]
replace-with = "mirror"
[source.mirror]
registry = "sparse+https://crates.example/base/index/"
[source.unused]
registry = "sparse+https://unused.example/"
[registries.acme]
index = "sparse+https://acme.example/"
[registries.old]
index = "https://git.example/index"
[build]
jobs = 2
`}, map[string]string{"CARGO_REGISTRIES_ACME_INDEX": "sparse+https://env.example/"},
			[]string{"crates.example/base (home/.cargo/config.toml, source.mirror)", "env.example ($CARGO_REGISTRIES_ACME_INDEX)"}, "git repository"},
		{"cargo: the old name, another home", Cargo, map[string]string{"c/config": "registries.acme.index = 'sparse+https://acme.example/'\n"},
			map[string]string{"CARGO_HOME": "ROOT/c"}, []string{"acme.example (c/config, registries.acme)"}, ""},
		{"cargo: no TOML", Cargo, map[string]string{"home/.cargo/config.toml": "= ="}, nil, nil, "left out"},

		{"apt: both forms", Apt, map[string]string{
			"etc/apt/sources.list":                 "# deb http://old.example x y\ndeb [arch=amd64 signed-by=/k.gpg] http://deb.example/debian stable main\ndeb-src http://deb.example/debian stable main\ndeb cdrom:[name]/ x main\n",
			"etc/apt/sources.list.d/more.list":     "deb mirror+https://mirror.example/list stable main\n",
			"etc/apt/sources.list.d/other.sources": "Types: deb\nURIs: https://one.example/debian\n  https://two.example/debian file:/srv\nSuites: stable\n# URIs: https://no.example\n",
		}, nil, []string{"deb.example:80/debian (etc/apt/sources.list:2)", "mirror.example/list (etc/apt/sources.list.d/more.list:1)",
			"one.example/debian (etc/apt/sources.list.d/other.sources:2)", "two.example/debian (etc/apt/sources.list.d/other.sources:3)"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine(t, c.files, c.env)
			d := Discover(c.client, m)
			var got []string
			for _, s := range d.Sources {
				got = append(got, s.String()+" ("+strings.TrimPrefix(s.From, m.Root+"/")+")")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			notes := strings.Join(d.Notes, "\n")
			if (notes != "") != (c.note != "") || !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
			if strings.Contains(notes, "secret") {
				t.Errorf("a password is repeated: %s", notes)
			}
			err := d.Err("x")
			if (err != nil) != (len(c.want) == 0) {
				t.Errorf("error %v", err)
			}
			if len(d.Looked) == 0 {
				t.Error("does not say what it looked for")
			}
		})
	}
}

// The workspace's own configuration does not count: it may be a stranger's.
func TestWorkspaceIsNotAsked(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{".npmrc": "registry=https://bad.example\n", "pip.conf": "[global]\nindex-url=https://bad.example\n", ".cargo/config.toml": "registries.x.index='sparse+https://bad.example'\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, client := range []Client{NPM, Pip, Cargo} {
		for _, home := range []string{"", "/nowhere"} {
			d := Discover(client, Machine{Root: "/nowhere", Getenv: func(name string) (string, bool) { return home, name == "HOME" }})
			if len(d.Sources) != 0 {
				t.Errorf("%s with home %q: %v", client, home, d.Sources)
			}
		}
	}
}

// Pipes and huge files are not read.
func TestBounds(t *testing.T) {
	m := machine(t, map[string]string{"home/.npmrc": strings.Repeat("# comment\n", maxFile/10+1) + "registry=https://npm.example\n"}, nil)
	if d := Discover(NPM, m); len(d.Sources) != 0 || len(d.Notes) != 1 {
		t.Errorf("%v %v", d.Sources, d.Notes)
	}
	m = machine(t, map[string]string{"home/.npmrc/dir": ""}, nil)
	if d := Discover(NPM, m); len(d.Sources) != 0 {
		t.Errorf("%v", d.Sources)
	}
}

func FuzzDiscover(f *testing.F) {
	for _, text := range []string{"registry=https://a.example\n", "[global]\nindex-url = https://a.example\n b\n", "[source.x]\nregistry='sparse+https://a.example'\n", "URIs: http://a.example\n", "deb [a] http://a.example x\n", "GOPROXY=a|b,c\n", "registry=${A}${"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		files := map[string]string{}
		for _, name := range []string{"home/.npmrc", "etc/pip.conf", "home/.config/go/env", "home/.cargo/config.toml", "etc/apt/sources.list", "etc/apt/sources.list.d/x.sources"} {
			files[name] = text
		}
		m := machine(t, files, nil)
		for client, preset := range map[Client]string{NPM: "npm", Pip: "pypi", Go: "go", Cargo: "crates", Apt: "debian"} {
			d := Discover(client, m)
			if len(d.Sources) == 0 {
				continue
			}
			p, err := Load(preset)
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Rules(Options{Sources: d.Sources})
			if err != nil {
				continue // a host that is never dialled, a path that is no path
			}
			if len(r.Keys) != 1 {
				t.Fatalf("%q became the rules %v:\n%s", text, r.Keys, r.Text)
			}
		}
	})
}
