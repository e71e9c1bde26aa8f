package presets

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/format"
)

// Options are the values of a preset's parameters.
type Options struct {
	Repo     string   // OWNER/REPO
	Sources  []Source // hosts
	Binaries []string // instead of the preset's programs
	Name     string   // of the network policy, instead of the preset's
}

// Rules are network rules as text, ready to be merged.
type Rules struct {
	Keys []string // their names
	Text string   // entries of network_policies, without indentation

	doc *policy.Document // they alone
}

// repoName is what GitHub takes for OWNER/REPO; none of it means anything in a glob.
var repoName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9_.-]{1,100}$`)
})

// Rules puts values for the parameters in.
func (p *Preset) Rules(o Options) (*Rules, error) {
	const op = "use preset"
	words := map[string]string{}
	if p.Wants("repo") {
		repo := strings.TrimSuffix(o.Repo, ".git")
		if !repoName().MatchString(repo) || strings.Contains(repo, "..") {
			return nil, fault.UsageError(op, fmt.Sprintf("found --repo %q, want OWNER/REPO", o.Repo), "creel policy preset show "+p.Name+" --repo OWNER/REPO")
		}
		words["repo"] = repo
	}
	networks := clone(p.rules)
	if p.Wants("host") {
		if len(o.Sources) == 0 {
			return nil, fault.UsageError(op, p.Name+" wants --host", "creel policy preset show "+p.Name+" --host HOST")
		}
		words["host"] = o.Sources[0].Host
	}
	for i := 0; i+1 < len(networks.Content); i += 2 {
		key, rule := networks.Content[i], networks.Content[i+1]
		if key.Value = plainKey(substitute(key.Value, words)); o.Name != "" {
			if o.Name != plainKey(o.Name) || o.Name[0] <= '9' {
				return nil, fault.UsageError(op, fmt.Sprintf("found --name %q, want a letter, then letters, digits and _", o.Name), "--name "+plainKey(p.Name)+"_2")
			}
			key.Value = o.Name // presets have one rule
		}
		endpoints, binaries := field(rule, "endpoints"), field(rule, "binaries")
		if endpoints == nil || binaries == nil {
			return nil, fault.Errorf(op, "the preset %s is incomplete", p.Name)
		}
		endpoints.Content = repeat(endpoints.Content, o.Sources)
		fill(rule, words)
		if len(o.Binaries) > 0 {
			setBinaries(binaries, o.Binaries)
		}
	}
	return render(p.Name, networks)
}

// repeat puts every source into the endpoints whose host is ${host}.
func repeat(endpoints []*yaml.Node, sources []Source) (out []*yaml.Node) {
	for _, e := range endpoints {
		host := field(e, "host")
		if host == nil || host.Value != "${host}" {
			out = append(out, e)
			continue
		}
		for i, s := range sources {
			one := clone(e)
			if i > 0 {
				uncomment(one) // once is enough
			}
			fill(one, map[string]string{"host": s.Host, "port": strconv.Itoa(s.Port), "path": literal(s.Path)})
			if port := field(one, "port"); port != nil {
				port.Tag = "!!int"
			}
			out = append(out, one)
		}
	}
	return out
}

// render writes the rules as a policy of their own, which proves that they are
// one, and cuts them out of it.
func render(name string, networks *yaml.Node) (*Rules, error) {
	const op = "use preset"
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Value: "version"}, {Kind: yaml.ScalarNode, Tag: "!!int", Value: "2"},
		{Kind: yaml.ScalarNode, Value: "network_policies"}, networks,
	}}
	if err := enc.Encode(root); err != nil {
		return nil, fault.Wrap(err, op, fault.General)
	}
	out, err := format.File("preset "+name, text.Bytes(), policy.Parse)
	if err != nil {
		return nil, fault.Wrap(err, op+" "+name, fault.Usage)
	}
	doc, _, err := policy.Parse("preset "+name, out)
	if err != nil {
		return nil, fault.Wrap(err, op+" "+name, fault.Usage)
	}
	r := &Rules{doc: doc}
	_, body, _ := strings.Cut(string(out), "network_policies:\n")
	var b strings.Builder
	for line := range strings.Lines(body) {
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	r.Text = b.String()
	for _, n := range doc.Networks {
		r.Keys = append(r.Keys, n.Key)
	}
	return r, nil
}

func setBinaries(n *yaml.Node, list []string) {
	*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, b := range list {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: b})
	}
}

// field is the value of a key.
func field(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = slices.Clone(n.Content)
	for i, child := range c.Content {
		c.Content[i] = clone(child)
	}
	return &c
}

func uncomment(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, c := range n.Content {
		uncomment(c)
	}
}

func fill(n *yaml.Node, words map[string]string) {
	if n.Kind == yaml.ScalarNode {
		n.Value = substitute(n.Value, words)
	}
	for _, c := range n.Content {
		fill(c, words)
	}
}

func substitute(text string, words map[string]string) string {
	for name, value := range words {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}

// plainKey is a name for a rule that needs no quotes.
func plainKey(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return '_'
	}, s)
}

// literal is the glob that matches a path alone.
func literal(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(`*?[]{}\`, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// Template is the text of the rules with ${…} where values belong.
func (p *Preset) Template() (string, error) {
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := enc.Encode(p.rules); err != nil {
		return "", fault.Wrap(err, "show preset", fault.General)
	}
	return text.String(), nil
}

// Programs are the paths and globs of the programs that the rules name.
func (r *Rules) Programs() (list []string) {
	for _, n := range r.doc.Networks {
		for _, b := range n.Binaries {
			list = append(list, b.Path)
		}
	}
	return list
}
