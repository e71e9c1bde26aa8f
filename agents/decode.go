package agents

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/policy"
)

// decoder collects every fault of a manifest, as policies do.
type decoder struct {
	file   string
	faults policy.Faults
}

func (d *decoder) fault(n *yaml.Node, path string, kind policy.Kind, found, want, hint string) {
	if len(d.faults) > 100 { // more than anybody reads
		return
	}
	at := policy.Position{File: d.file, Line: 1, Column: 1}
	if n != nil {
		at.Line, at.Column = n.Line, n.Column
	}
	d.faults = append(d.faults, policy.Fault{At: at, Path: path, Kind: kind, Found: found, Want: want, Hint: hint})
}

// decode reads a manifest; policyName is the file beside it.
func decode(file string, data []byte) (m *Manifest, policyName string, err error) {
	d := &decoder{file: file}
	m = &Manifest{File: file}
	root := d.parse(data)
	if root != nil {
		policyName = d.manifest(root, m)
	}
	if len(d.faults) > 0 {
		return nil, "", d.faults
	}
	return m, policyName, nil
}

func (d *decoder) parse(data []byte) *yaml.Node {
	defer func() {
		if recover() != nil { // hostile bytes in a library
			d.fault(nil, "", policy.Syntax, "text that cannot be parsed", "", "")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil || len(doc.Content) != 1 {
		text := "the file is empty"
		if err != nil && !errors.Is(err, io.EOF) {
			text = strings.TrimPrefix(err.Error(), "yaml: ")
		}
		d.fault(nil, "", policy.Syntax, text, "", "creel agent copy claude DIR  (a manifest to start from)")
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		d.fault(nil, "", policy.Syntax, "more than one document", "one document per file", "")
		return nil
	}
	return doc.Content[0]
}

// fields decodes a mapping whose keys are words.
func (d *decoder) fields(n *yaml.Node, path string, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, policy.WrongType, "something else", "a mapping of "+strings.Join(known, ", "), "")
		return nil
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case !slices.Contains(known, key.Value):
			d.fault(key, path, policy.UnknownKey, strconv.Quote(key.Value), "", "known keys: "+strings.Join(known, ", "))
		case out[key.Value] != nil:
			d.fault(key, path, policy.Duplicate, strconv.Quote(key.Value), "", "")
		default:
			out[key.Value] = n.Content[i+1]
		}
	}
	return out
}

// text is a scalar; absent is empty.
func (d *decoder) text(n *yaml.Node, path string) string {
	switch {
	case n == nil:
		return ""
	case n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null":
		d.fault(n, path, policy.WrongType, "something else", "a text", "")
	case strings.ContainsRune(n.Value, 0):
		d.fault(n, path, policy.BadValue, "a zero byte", "a text without it", "")
	default:
		return n.Value
	}
	return ""
}

func (d *decoder) need(n, at *yaml.Node, path string, form func() *regexp.Regexp, want string) string {
	if n == nil {
		d.fault(at, path, policy.Missing, "", want, "")
		return ""
	}
	s := d.text(n, path)
	if s != "" && !form().MatchString(s) || s == "" && n.Kind == yaml.ScalarNode {
		d.fault(n, path, policy.BadValue, strconv.Quote(s), want, "")
	}
	return s
}

func (d *decoder) list(n *yaml.Node, path string, each func(n *yaml.Node, path string)) {
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fault(n, path, policy.WrongType, "something else", "a list", "")
		return
	}
	for i, item := range n.Content {
		each(item, path+"["+strconv.Itoa(i)+"]")
	}
}

func (d *decoder) texts(n *yaml.Node, path string) (out []string) {
	d.list(n, path, func(n *yaml.Node, path string) { out = append(out, d.text(n, path)) })
	return out
}

// paths are relative and stay below what they are relative to.
func (d *decoder) paths(n *yaml.Node, path string) (out []string) {
	d.list(n, path, func(n *yaml.Node, path string) { out = append(out, d.below(n, path)) })
	return out
}

func (d *decoder) below(n *yaml.Node, path string) string {
	s := d.text(n, path)
	if n != nil && (!filepath.IsLocal(s) || filepath.Clean(s) != s) {
		d.fault(n, path, policy.BadValue, strconv.Quote(s), "a relative path without . and ..", "")
	}
	return s
}

// form is compiled when it is first needed: most runs start no known agent.
func form(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

var (
	nameForm     = form(`^[a-z0-9][a-z0-9-]{0,31}$`)
	commandForm  = form(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	versionForm  = form(`^[0-9]{1,5}(\.[0-9]{1,5}){0,2}$`)
	variableForm = form(`^[A-Za-z_][A-Za-z0-9_]*$`)
	one          = form(`^1$`)
	protocolForm = form(`^(anthropic|openai-chat|openai-responses|gemini)$`)
	anyText      = form(`.`)
)

func (d *decoder) manifest(root *yaml.Node, m *Manifest) (policyName string) {
	f := d.fields(root, "", "manifest", "name", "title", "program", "args", "default_args", "env", "files", "state", "settings", "inference", "contacts", "policy")
	if f == nil {
		return ""
	}
	d.need(f["manifest"], root, "manifest", one, "1, the version of this form")
	m.Name = d.need(f["name"], root, "name", nameForm, "a name of small letters, digits and -")
	m.Title = d.need(f["title"], root, "title", anyText, "what people call it")
	if p := f["program"]; p != nil {
		d.program(p, &m.Program)
	} else {
		d.fault(root, "program", policy.Missing, "", "a mapping with command", "")
	}
	m.Args, m.DefaultArgs = d.texts(f["args"], "args"), d.texts(f["default_args"], "default_args")
	for i, a := range slices.Concat(m.Args, m.DefaultArgs) {
		d.words(root, "args["+strconv.Itoa(i)+"]", a)
	}
	if n := f["env"]; n != nil {
		d.env(n, m)
	}
	d.list(f["files"], "files", func(n *yaml.Node, path string) {
		g := d.fields(n, path, "path", "content")
		file := File{Path: d.below(g["path"], path+".path"), Content: d.text(g["content"], path+".content")}
		if g != nil && file.Path == "" {
			d.fault(n, path+".path", policy.Missing, "", "a path relative to ${files}", "")
		}
		d.words(n, path+".content", file.Content)
		m.Files = append(m.Files, file)
	})
	m.State, m.Settings = d.paths(f["state"], "state"), d.paths(f["settings"], "settings")
	if n := f["inference"]; n != nil {
		g := d.fields(n, "inference", "protocol", "hosts")
		m.Inference.Protocol = d.need(g["protocol"], n, "inference.protocol", protocolForm, "anthropic, openai-chat, openai-responses or gemini")
		m.Inference.Hosts = d.texts(g["hosts"], "inference.hosts")
	}
	d.list(f["contacts"], "contacts", func(n *yaml.Node, path string) {
		g := d.fields(n, path, "host", "why", "stopped_by")
		m.Contacts = append(m.Contacts, Contact{
			Host: d.need(g["host"], n, path+".host", anyText, "a host"), Why: d.need(g["why"], n, path+".why", anyText, "what for"),
			StoppedBy: d.need(g["stopped_by"], n, path+".stopped_by", anyText, "what stops it"),
		})
	})
	policyName = d.below(f["policy"], "policy")
	if f["policy"] == nil {
		d.fault(root, "policy", policy.Missing, "", "the name of the policy file beside this one", "")
	}
	return policyName
}

func (d *decoder) program(n *yaml.Node, p *Program) {
	f := d.fields(n, "program", "command", "packages", "node", "install", "pending")
	p.Command = d.need(f["command"], n, "program.command", commandForm, "the name of a program")
	p.Packages = d.paths(f["packages"], "program.packages")
	for i, pattern := range p.Packages {
		if _, err := filepath.Match(pattern, ""); err != nil {
			d.fault(f["packages"].Content[i], "program.packages", policy.BadValue, strconv.Quote(pattern), "a glob", "")
		}
	}
	if f["node"] != nil {
		p.Node = d.need(f["node"], n, "program.node", versionForm, "a version, as in 24.16")
	}
	p.Install = d.text(f["install"], "program.install")
	p.Pending = d.paths(f["pending"], "program.pending")
}

func (d *decoder) env(n *yaml.Node, m *Manifest) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, "env", policy.WrongType, "something else", "a mapping", "")
		return
	}
	known := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := "env." + key.Value
		switch {
		case !variableForm().MatchString(key.Value):
			d.fault(key, "env", policy.BadValue, strconv.Quote(key.Value), "the name of a variable", "")
		case known[key.Value]:
			d.fault(key, "env", policy.Duplicate, strconv.Quote(key.Value), "", "")
		case reserved(key.Value):
			d.fault(key, path, policy.Reserved, key.Value, "a variable that creel does not set or interpret", "")
		}
		known[key.Value] = true
		v := Variable{Name: key.Value, Value: d.text(value, path)}
		d.words(value, path, v.Value)
		m.Env = append(m.Env, v)
	}
}

// reserved are variables by which creel tells programs of the sandbox itself.
func reserved(name string) bool {
	return slices.Contains([]string{"HOME", "USER", "LOGNAME", "PATH", "CREEL_SANDBOX"}, name) || strings.HasPrefix(name, "LD_")
}

// words checks the ${…} words of a text.
func (d *decoder) words(n *yaml.Node, path, text string) {
	for _, w := range wordForm().FindAllStringSubmatch(text, -1) {
		if !slices.Contains(wordNames, w[1]) {
			d.fault(n, path, policy.BadValue, strconv.Quote(w[0]), "one of ${"+strings.Join(wordNames, "}, ${")+"}", "")
		}
	}
}
