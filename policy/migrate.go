package policy

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/netname"
)

// Migrate writes a version 1 policy as version 2 with the same meaning: what
// version 1 means without a word is written out. The notes say what was left
// out because it never had an effect, and what is wide and was kept. It fails
// where version 2 has no words for it, and never gives a text that means
// something else: both are decoded, and all that the engine is made of has to
// be equal.
//
// Comments are kept where the YAML library keeps them; blank lines are not.
func Migrate(name string, data []byte) ([]byte, Warnings, error) {
	d := decoder{file: name, version: 1}
	if root, ok := d.read(data); ok && d.findVersion(root) == 2 && len(d.faults) == 0 {
		return nil, nil, fmt.Errorf("migrate policy: %s is version 2 already", name)
	}
	old, _, err := Parse(name, data)
	if err != nil {
		return nil, nil, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil || len(root.Content) != 1 {
		return nil, nil, errors.New("migrate policy: the text cannot be parsed again")
	}
	m := migration{file: name, done: make(map[*yaml.Node]bool)}
	m.document(root.Content[0])
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&root), enc.Close()); err != nil {
		return nil, nil, fmt.Errorf("migrate policy: %w", err)
	}
	text := out.Bytes()
	new, _, err := Parse(name, text)
	if err != nil {
		// Positions are those of a text that nobody has.
		return nil, m.notes, fmt.Errorf("migrate policy: version 2 has no words for a part of %s:\n%w", name, err)
	}
	if what := differs(old, new); what != "" {
		return nil, m.notes, fmt.Errorf("migrate policy: %s of %s would mean something else in version 2", what, name)
	}
	return text, sortWarnings(m.notes), nil
}

// migration rewrites the nodes of a valid version 1 document.
type migration struct {
	file  string
	notes Warnings
	done  map[*yaml.Node]bool // an alias leads to a node that was rewritten already
}

func (m *migration) note(n *yaml.Node, kind Kind, text, hint string) {
	m.notes = append(m.notes, Warning{At: Position{m.file, n.Line, n.Column}, Kind: kind, Text: text, Hint: hint})
}

// enter follows an alias; ok is false for what was entered before.
func (m *migration) enter(n *yaml.Node) (*yaml.Node, bool) {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || m.done[n] {
		return n, false
	}
	m.done[n] = true
	return n, true
}

func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// find gives the value of a key, its alias followed, or nil.
func find(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return follow(n.Content[i+1])
		}
	}
	return nil
}

// set writes a plain value, behind the key after if the key is new.
func set(n *yaml.Node, key, val, after string) {
	value := &yaml.Node{Kind: yaml.ScalarNode, Value: val}
	at := len(n.Content)
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case key:
			value.LineComment = n.Content[i+1].LineComment
			n.Content[i+1] = value
			return
		case after:
			at = i + 2
		}
	}
	n.Content = slices.Insert(n.Content, at, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
}

func remove(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

func (m *migration) document(root *yaml.Node) {
	set(root, "version", "2", "")
	if l := find(root, "landlock"); l == nil || l.Kind != yaml.MappingNode {
		remove(root, "landlock")
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "landlock"},
			&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
				{Kind: yaml.ScalarNode, Value: "compatibility"}, {Kind: yaml.ScalarNode, Value: "best_effort"}}})
		m.note(root, Weak, "landlock: best_effort is kept: a kernel that cannot enforce the paths is accepted", "write compatibility: hard_requirement")
	} else if c := find(l, "compatibility"); c == nil || c.Value == "" {
		set(l, "compatibility", "best_effort", "")
		m.note(l, Weak, "landlock: best_effort is kept: a kernel that cannot enforce the paths is accepted", "write compatibility: hard_requirement")
	}
	networks := find(root, "network_policies")
	if networks == nil || networks.Kind != yaml.MappingNode {
		return
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(networks.Content); i += 2 {
		key := networks.Content[i]
		if m.network(key, networks.Content[i+1]) {
			kept = append(kept, key, networks.Content[i+1])
		}
	}
	if networks.Content = kept; len(kept) == 0 {
		networks.Style = yaml.FlowStyle
	}
}

// network rewrites a network policy, and reports whether it ever matched.
func (m *migration) network(key, val *yaml.Node) bool {
	n := follow(val)
	list := find(n, "binaries")
	if list == nil || list.Kind != yaml.SequenceNode || !slices.ContainsFunc(list.Content, func(b *yaml.Node) bool { return migratedBinary(binaryPath(b)) != "" }) {
		m.note(key, NeverFires, "network policy "+show(key.Value)+" is left out: it names no program that there can be, so it allowed nothing", "name its programs in version 1 first if it is meant")
		return false
	}
	if n, fresh := m.enter(n); fresh {
		m.binaries(list)
		set(n, "ancestors", "true", "binaries")
		m.note(key, Weak, "network policy "+show(key.Value)+" keeps ancestors: true: what a program on its list starts may use it as well", "name the programs that connect themselves, and remove ancestors")
		if l := find(n, "endpoints"); l != nil {
			for _, e := range l.Content {
				m.endpoint(e)
			}
		}
	}
	return true
}

func binaryPath(n *yaml.Node) string {
	if p := find(follow(n), "path"); p != nil {
		return p.Value
	}
	return ""
}

// migratedBinary is the path or glob in version 2; "" if it matched no program.
func migratedBinary(p string) string {
	switch {
	case p == "**":
		return "/**"
	case strings.HasPrefix(p, "**/"):
		return "/" + p // callers have absolute paths, so both match the same
	case strings.HasPrefix(p, "/"), strings.Contains(p, "*"):
		return p
	}
	return ""
}

func (m *migration) binaries(list *yaml.Node) {
	if _, fresh := m.enter(list); !fresh {
		return
	}
	list.Content = slices.DeleteFunc(list.Content, func(b *yaml.Node) bool {
		p := binaryPath(b)
		if migratedBinary(p) == "" {
			m.note(b, NeverFires, "the program "+show(p)+" is left out: callers have absolute paths, so it matched none", "")
			return true
		}
		return false
	})
	for _, b := range list.Content {
		b = follow(b)
		remove(b, "harness")
		if p := binaryPath(b); migratedBinary(p) != p {
			set(b, "path", migratedBinary(p), "")
			b.Content[slices.IndexFunc(b.Content, func(n *yaml.Node) bool { return n.Value == "path" })+1].Style = yaml.DoubleQuotedStyle
		}
	}
}

func (m *migration) endpoint(n *yaml.Node) {
	n, fresh := m.enter(n)
	if !fresh || n.Kind != yaml.MappingNode {
		return
	}
	if t := find(n, "tls"); t != nil && (t.Value == "terminate" || t.Value == "passthrough") {
		set(n, "tls", "auto", "")
	}
	if t := find(n, "tls"); t != nil && strings.EqualFold(t.Value, "skip") {
		m.note(t, Weak, "tls: skip lets out 64M a day in version 2, where version 1 has no bound", "write limits: {bytes_out: SIZE} for another")
	}
	protocol := ""
	if p := find(n, "protocol"); p != nil {
		if protocol = strings.ToLower(p.Value); protocol != p.Value {
			set(n, "protocol", protocol, "")
		}
	}
	if e := find(n, "enforcement"); protocol != "" && protocol != "tcp" && (e == nil || e.Value == "") {
		set(n, "enforcement", "audit", "protocol")
		m.note(n, Weak, "enforcement: audit is kept: requests that no rule allows are forwarded", "write enforcement: enforce when the rules are right")
	}
	if host := find(n, "host"); host != nil && namedHost(host.Value) && find(n, "allowed_ips") == nil {
		set(n, "internal_addresses", "true", "host")
		m.note(n, Weak, "internal_addresses: true is kept: "+show(host.Value)+" may resolve to internal addresses", "remove it for a public host, or write allowed_ips")
	}
	if protocol == "" || protocol == string(TCP) || protocol == string(SQL) {
		if host := find(n, "host"); host != nil && takesModelServices(host.Value) {
			m.note(host, NeverFires, show(host.Value)+" takes hosts of model services, which version 2 lets nobody reach where no rule looks at requests",
				"write an endpoint with such a host and models: allow for each that is meant")
		}
	}
	rules := find(n, "rules")
	if modelsNamed(find(n, "host"), rules) {
		set(n, "models", "allow", "host")
		m.note(n, Weak, "models: allow is kept: model calls may go there outside the inference route", "configure inference instead, unless that is meant")
	}
	if rules == nil || rules.Kind != yaml.SequenceNode {
		return
	}
	if _, fresh := m.enter(rules); !fresh {
		return
	}
	rules.Content = slices.DeleteFunc(rules.Content, func(r *yaml.Node) bool {
		a := find(follow(r), "allow")
		if !m.never(a, protocol) {
			return false
		}
		m.note(r, NeverFires, "a rule is left out that allowed nothing", "")
		return true
	})
}

// takesModelServices: a host with wildcards takes a known host of models.
func takesModelServices(host string) bool {
	p, err := netname.ParsePattern(host)
	return err == nil && !p.Literal() && slices.ContainsFunc(modelServices, func(name string) bool {
		h, err := netname.ParseHost(name)
		return err == nil && p.Match(h)
	})
}

// modelsNamed: version 1 lets model calls go to the endpoint of this host, for it
// is a known one, or a rule names such a call.
func modelsNamed(host, rules *yaml.Node) bool {
	switch {
	case host != nil && slices.Contains(modelHosts, strings.ToLower(host.Value)):
		return true
	case rules == nil || rules.Kind != yaml.SequenceNode:
		return false
	}
	return slices.ContainsFunc(rules.Content, func(r *yaml.Node) bool {
		a := find(follow(r), "allow")
		if a == nil {
			return false
		}
		method, path := find(a, "method"), find(a, "path")
		return method != nil && path != nil && RequestRule{Method: method.Value, Path: path.Value}.namesModelCall()
	})
}

// never: an allow rule about HTTP requests that takes none of them.
func (m *migration) never(a *yaml.Node, protocol string) bool {
	if a == nil || protocol != "rest" {
		return false
	}
	method, path := find(a, "method"), find(a, "path")
	if method == nil || method.Value == "" || path == nil || path.Value == "" {
		return true
	}
	why, _ := neverMatches(path.Value)
	return why != ""
}

// namedHost: version 1 lets it resolve to internal addresses.
func namedHost(text string) bool {
	e := Endpoint{Host: text}
	return e.named()
}

// differs names the part of two documents that the engine or a start would
// treat otherwise, or "".
func differs(old, new *Document) string {
	a, b := *old, *new
	for i := range a.Networks {
		n := &a.Networks[i]
		n.Ancestors = true
		n.Binaries = slices.DeleteFunc(n.Binaries, func(b Binary) bool { return migratedBinary(b.Path) == "" })
		for j := range n.Binaries {
			n.Binaries[j].Path = migratedBinary(n.Binaries[j].Path)
		}
		for j := range n.Endpoints {
			e := &n.Endpoints[j]
			e.InternalAddresses = e.named() && e.AllowedIPs == nil
			e.Models = slices.Contains(modelHosts, strings.ToLower(e.Host)) || slices.ContainsFunc(e.Allow, RequestRule.namesModelCall)
			e.Allow = slices.DeleteFunc(e.Allow, func(r RequestRule) bool {
				why, _ := neverMatches(r.Path)
				return e.Protocol == REST && (r.Method == "" || r.Path == "" || why != "")
			})
		}
	}
	a.Networks = slices.DeleteFunc(a.Networks, func(n Network) bool { return len(n.Binaries) == 0 })
	a.Version = b.Version
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if !alike(x.Field(i), y.Field(i)) {
			return x.Type().Field(i).Name
		}
	}
	return ""
}
