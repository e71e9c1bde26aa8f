package naive

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Read makes a Policy of YAML without package policy. It checks nothing but that
// the YAML is well formed and holds known keys of the network section; sections
// that are not about connections are skipped.
func Read(text string) (Policy, error) {
	var doc struct {
		Version   int
		Open      []string
		Unmatched string
		Limits    *writtenLimits
		Networks  yaml.Node      `yaml:"network_policies"`
		Rest      map[string]any `yaml:",inline"`
	}
	if err := decode(text, &doc); err != nil {
		return Policy{}, err
	}
	_, hasOpen := keysOf(text)["open"]
	p := Policy{Version: doc.Version, Unmatched: doc.Unmatched, Limit: doc.Limits.number(), Open: doc.Open, HasOpen: hasOpen}
	var networks map[string]writtenNetwork
	raw, err := yaml.Marshal(&doc.Networks)
	if err != nil {
		return Policy{}, err
	}
	if doc.Networks.Kind != 0 {
		if err := decode(string(raw), &networks); err != nil {
			return Policy{}, err
		}
	}
	for key, w := range networks {
		n, err := w.network(p, key)
		if err != nil {
			return Policy{}, fmt.Errorf("%s: %w", key, err)
		}
		p.Networks = append(p.Networks, n)
	}
	slices.SortFunc(p.Networks, func(a, b Network) int { return strings.Compare(a.Key, b.Key) })
	return p, nil
}

func decode(text string, to any) error {
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	return dec.Decode(to)
}

func keysOf(text string) map[string]yaml.Node {
	var keys map[string]yaml.Node
	if yaml.Unmarshal([]byte(text), &keys) != nil {
		return nil
	}
	return keys
}

type writtenNetwork struct {
	Name      string
	Endpoints []writtenEndpoint
	Binaries  writtenBinaries
	Ancestors bool
	Expires   string `yaml:"expires_at"`
	MaxUses   int64  `yaml:"max_uses"`
	Unmatched string
	Limits    *writtenLimits
}

// writtenBinaries is a list, or the word any.
type writtenBinaries struct {
	any  bool
	list []Binary
}

func (b *writtenBinaries) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		b.any = n.Value == "any"
		return nil
	}
	for _, item := range n.Content {
		one := struct {
			Path, SHA256 string
			Harness      bool
		}{}
		if item.Kind == yaml.ScalarNode {
			one.Path = item.Value
		} else if err := item.Decode(&one); err != nil {
			return err
		}
		b.list = append(b.list, Binary{Path: one.Path, Digest: strings.ToLower(one.SHA256)})
	}
	return nil
}

type writtenLimits struct {
	Connections int
	Rest        map[string]any `yaml:",inline"`
}

func (l *writtenLimits) number() int {
	if l == nil {
		return 0
	}
	return l.Connections
}

func (w writtenNetwork) network(p Policy, key string) (Network, error) {
	n := Network{Key: key, AnyBinary: p.Version >= 2 && w.Binaries.any, Binaries: w.Binaries.list, Ancestors: p.Version == 1 || w.Ancestors, MaxUses: w.MaxUses, Limit: w.Limits.number()}
	var err error
	if n.Expires, err = readTime(w.Expires); err != nil {
		return n, err
	}
	for _, we := range w.Endpoints {
		e, err := we.endpoint(p.Version, firstWord(we.Unmatched, w.Unmatched, p.Unmatched))
		if err != nil {
			return n, err
		}
		n.Endpoints = append(n.Endpoints, e)
	}
	return n, nil
}

// firstWord: the inner word wins.
func firstWord(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

func readTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, text)
}

type writtenEndpoint struct {
	Host        string
	Port        uint16
	Ports       []uint16
	Protocol    string
	Path        string
	TLS         string
	Enforcement string
	Access      string
	Rules       []struct{ Allow writtenRule }
	DenyRules   []writtenRule `yaml:"deny_rules"`
	AllowedIPs  []string      `yaml:"allowed_ips"`

	AllowEncodedSlash bool                   `yaml:"allow_encoded_slash"`
	PersistedQueries  string                 `yaml:"persisted_queries"`
	Registered        map[string]writtenRule `yaml:"graphql_persisted_queries"`
	MCP               struct {
		AllMethods bool  `yaml:"allow_all_known_mcp_methods"`
		MaxBody    int   `yaml:"max_body_bytes"`
		Strict     *bool `yaml:"strict_tool_names"`
	}

	Expires           string `yaml:"expires_at"`
	MaxUses           int64  `yaml:"max_uses"`
	Unmatched         string
	Limits            *writtenLimits
	InternalAddresses bool `yaml:"internal_addresses"`
	Registry          string
	RegistryPath      string `yaml:"registry_path"`
}

type writtenRule struct {
	Method, Path, Command string
	Query                 map[string]any
	OperationType         string `yaml:"operation_type"`
	OperationName         string `yaml:"operation_name"`
	Fields                []string
	Tool                  any
	Params                map[string]any
	Arguments             map[string]any

	Operation, Repository string
	Refs                  []string
	Force, Delete         bool

	Package  string
	Versions []string
	MinAge   string `yaml:"min_age"`
	Publish  bool

	Service string
}

func (w writtenEndpoint) endpoint(version int, unmatched string) (Endpoint, error) {
	e := Endpoint{
		Host:              w.Host,
		Ports:             w.Ports,
		AllowedIPs:        len(w.AllowedIPs) > 0,
		Protocol:          strings.ToLower(w.Protocol),
		Path:              w.Path,
		SkipTLS:           w.TLS == "skip",
		EncodedSlash:      w.AllowEncodedSlash,
		Enforcement:       w.Enforcement,
		Asks:              unmatched == "ask",
		Access:            w.Access,
		Registered:        w.PersistedQueries == "allow_registered",
		AllMCPMethods:     w.MCP.AllMethods,
		LooseToolNames:    w.MCP.Strict != nil && !*w.MCP.Strict,
		MaxUses:           w.MaxUses,
		Limit:             w.Limits.number(),
		InternalAddresses: version == 1 || w.InternalAddresses,
		RegistryKind:      w.Registry,
	}
	switch {
	case version == 1 && e.Enforcement != "enforce":
		e.Enforcement = "audit"
	case e.Enforcement == "" && e.Asks:
		e.Enforcement = "ask"
	case e.Enforcement == "":
		e.Enforcement = "enforce"
	}
	if len(e.Ports) == 0 {
		e.Ports = []uint16{w.Port}
	}
	var err error
	if e.Expires, err = readTime(w.Expires); err != nil {
		return e, err
	}
	for _, r := range w.Rules {
		rule, err := r.Allow.rule()
		if err != nil {
			return e, err
		}
		e.Allow = append(e.Allow, rule)
	}
	for _, r := range w.DenyRules {
		rule, err := r.rule()
		if err != nil {
			return e, err
		}
		e.Deny = append(e.Deny, rule)
	}
	for key, r := range w.Registered {
		rule, err := r.rule()
		if err != nil {
			return e, err
		}
		if e.Registry == nil {
			e.Registry = map[string]Rule{}
		}
		e.Registry[key] = rule
	}
	return e, nil
}

func (w writtenRule) rule() (Rule, error) {
	r := Rule{Method: w.Method, Path: w.Path, OperationType: w.OperationType, OperationName: w.OperationName, Fields: w.Fields,
		Operation: w.Operation, Repository: w.Repository, Force: w.Force, Delete: w.Delete, Package: w.Package, Versions: w.Versions, Publish: w.Publish, Service: w.Service}
	for _, ref := range w.Refs {
		if !strings.HasPrefix(ref, "refs/") {
			ref = "refs/heads/" + ref
		}
		r.Refs = append(r.Refs, ref)
	}
	if w.MinAge != "" {
		n, err := strconv.Atoi(w.MinAge[:len(w.MinAge)-1])
		if err != nil {
			return r, err
		}
		unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[w.MinAge[len(w.MinAge)-1]]
		r.MinAge = time.Duration(n) * unit
	}
	for key, v := range w.Query {
		globs, err := ReadMatcher(v)
		if err != nil {
			return r, err
		}
		r.Query = append(r.Query, Query{Key: key, Any: globs})
	}
	slices.SortFunc(r.Query, func(a, b Query) int { return strings.Compare(a.Key, b.Key) })
	tool := w.Tool
	for key, v := range w.Params {
		if key != "name" || tool != nil {
			return r, fmt.Errorf("params: only name, and not beside tool")
		}
		tool = v
	}
	if tool != nil {
		globs, err := ReadMatcher(tool)
		if err != nil {
			return r, err
		}
		r.Tool = globs
	}
	for name, v := range w.Arguments {
		globs, err := ReadMatcher(v)
		if err != nil {
			return r, err
		}
		r.Arguments = append(r.Arguments, Query{Key: name, Any: globs})
	}
	return r, nil
}

// ReadMatcher reads a glob or {any: [globs]}. The empty glob is dropped, as in the
// vector qm-allow-074: what is left matches no value.
func ReadMatcher(v any) ([]string, error) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return nil, nil
		}
		return []string{v}, nil
	case map[string]any:
		list, ok := v["any"].([]any)
		if !ok || len(v) != 1 {
			break
		}
		var globs []string
		for _, g := range list {
			text, ok := g.(string)
			if !ok {
				return nil, fmt.Errorf("matcher %v", v)
			}
			globs = append(globs, text)
		}
		return globs, nil
	}
	return nil, fmt.Errorf("matcher %v", v)
}
