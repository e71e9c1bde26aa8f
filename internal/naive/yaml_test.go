package naive_test

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/internal/naive"
)

// read makes a Policy of the YAML of a vector, without package policy: it
// checks nothing but that the YAML is well formed and holds known keys of the
// network section.
func read(text string) (naive.Policy, error) {
	var doc struct {
		Version  int
		Networks map[string]struct {
			Name      string
			Endpoints []writtenEndpoint
			Binaries  []struct{ Path string }
		} `yaml:"network_policies"`
		Rest map[string]any `yaml:",inline"`
	}
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return naive.Policy{}, err
	}
	p := naive.Policy{Version: doc.Version}
	for key, n := range doc.Networks {
		network := naive.Network{Key: key}
		for _, b := range n.Binaries {
			network.Binaries = append(network.Binaries, naive.Binary{Path: b.Path})
		}
		for _, w := range n.Endpoints {
			e, err := w.endpoint()
			if err != nil {
				return naive.Policy{}, err
			}
			network.Endpoints = append(network.Endpoints, e)
		}
		p.Networks = append(p.Networks, network)
	}
	return p, nil
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
	Registry          map[string]writtenRule `yaml:"graphql_persisted_queries"`
	MCP               struct {
		AllMethods bool  `yaml:"allow_all_known_mcp_methods"`
		MaxBody    int   `yaml:"max_body_bytes"`
		Strict     *bool `yaml:"strict_tool_names"`
	}
}

type writtenRule struct {
	Method, Path, Command string
	Query                 map[string]any
	OperationType         string `yaml:"operation_type"`
	OperationName         string `yaml:"operation_name"`
	Fields                []string
	Tool                  any
	Params                map[string]any
}

func (w writtenEndpoint) endpoint() (naive.Endpoint, error) {
	e := naive.Endpoint{
		Host:          w.Host,
		Ports:         w.Ports,
		AllowedIPs:    len(w.AllowedIPs) > 0,
		Protocol:      strings.ToLower(w.Protocol),
		Path:          w.Path,
		SkipTLS:       w.TLS == "skip",
		EncodedSlash:  w.AllowEncodedSlash,
		Enforced:      w.Enforcement == "enforce",
		Access:        w.Access,
		Registered:    w.PersistedQueries == "allow_registered",
		AllMCPMethods: w.MCP.AllMethods,
	}
	if len(e.Ports) == 0 {
		e.Ports = []uint16{w.Port}
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
	for key, r := range w.Registry {
		rule, err := r.rule()
		if err != nil {
			return e, err
		}
		if e.Registry == nil {
			e.Registry = map[string]naive.Rule{}
		}
		e.Registry[key] = rule
	}
	return e, nil
}

func (w writtenRule) rule() (naive.Rule, error) {
	r := naive.Rule{Method: w.Method, Path: w.Path, OperationType: w.OperationType, OperationName: w.OperationName, Fields: w.Fields}
	for key, v := range w.Query {
		globs, err := matcher(v)
		if err != nil {
			return r, err
		}
		r.Query = append(r.Query, naive.Query{Key: key, Any: globs})
	}
	slices.SortFunc(r.Query, func(a, b naive.Query) int { return strings.Compare(a.Key, b.Key) })
	tool := w.Tool
	for key, v := range w.Params {
		if key != "name" || tool != nil {
			return r, fmt.Errorf("params: only name, and not beside tool")
		}
		tool = v
	}
	if tool != nil {
		globs, err := matcher(tool)
		if err != nil {
			return r, err
		}
		r.Tool = globs
	}
	return r, nil
}

// matcher reads a glob or {any: [globs]}. The empty glob is dropped, as in the
// vector qm-allow-074: what is left matches no value.
func matcher(v any) ([]string, error) {
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
