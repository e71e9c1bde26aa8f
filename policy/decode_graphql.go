package policy

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// operationTypes are those of the GraphQL specification, §2.3.
var operationTypes = []string{"query", "mutation", "subscription"}

// graphqlRules decodes access, rules and deny_rules of a graphql endpoint.
func (d *decoder) graphqlRules(v value, s section, e *Endpoint) {
	d.endpointRules(v, s, e, ruleReader{
		presets: true,
		decode: func(v value, _ bool) RequestRule {
			s, ok := d.ruleSection(v, e, "operation_type", "operation_name", "fields")
			if !ok {
				return RequestRule{At: d.at(v.n)}
			}
			return d.operationRule(v, s, e)
		},
		empty:   func(r RequestRule) bool { return !r.ofOperations() },
		example: "write - allow: {operation_type: query}",
	})
}

// operationRule decodes a rule about GraphQL operations. Without a type it
// would never fire.
func (d *decoder) operationRule(v value, s section, e *Endpoint) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	if t, ok := s.given("operation_type"); ok {
		r.OperationType = d.operationType(t, e.Protocol == WebSocket)
	} else {
		d.fault(value{v.n, pathKey(v.path, "operation_type")}, Missing, "", "query, mutation or subscription", "write one rule for each type")
	}
	if n, ok := s.get("operation_name"); ok {
		text, ok := d.text(n, "a glob over operation names")
		switch {
		case !ok || d.globFault(n, text, '.'):
		case text == "" && d.version >= 2:
			d.fault(n, BadValue, show(text), "a glob over operation names", "leave it out to take every name, or none")
		default:
			r.OperationName = text
		}
	}
	if f, ok := s.get("fields"); ok {
		r.Fields = d.valueGlobs(f, "globs over root fields")
	}
	return r
}

// operationType: the star is OpenShell's for messages of a WebSocket alone.
func (d *decoder) operationType(v value, star bool) string {
	const want = "query, mutation or subscription"
	text, ok := d.text(v, want)
	switch {
	case !ok:
		return ""
	case slices.Contains(operationTypes, text), text == "*" && star:
		return text
	case text == "*":
		d.fault(v, BadValue, show(text), want, "write one rule for each type, or access: full")
	default:
		d.fault(v, BadValue, show(text), want, didYouMean(text, operationTypes...))
	}
	return ""
}

// protocolKeys decodes the keys of an endpoint that belong to one protocol.
func (d *decoder) protocolKeys(s section, e *Endpoint) {
	ofGraphQL := e.Protocol == GraphQL || e.Protocol == WebSocket
	if v, ok := d.protocolKey(s, e, "persisted_queries", ofGraphQL, "graphql and websocket"); ok {
		const want = "deny or allow_registered"
		text, ok := d.text(v, want)
		switch {
		case !ok:
		case text == "allow_registered":
			e.GraphQL.AllowRegistered = true
		case text != "deny":
			d.fault(v, BadValue, show(text), want, didYouMean(text, "deny", "allow_registered"))
		}
	}
	if v, ok := d.protocolKey(s, e, "graphql_persisted_queries", ofGraphQL, "graphql and websocket"); ok {
		e.GraphQL.Registry = d.registry(v)
		if len(e.GraphQL.Registry) > 0 && !e.GraphQL.AllowRegistered {
			d.warn(v, NoOperation, "persisted queries are denied, registered or not", "write persisted_queries: allow_registered")
		}
	}
	if v, ok := d.protocolKey(s, e, "graphql_max_body_bytes", ofGraphQL, "graphql and websocket"); ok {
		if n := d.bodyLimit(v); ofGraphQL {
			e.MaxBody = n
		}
	}
	ofCalls := e.Protocol == JSONRPC || e.Protocol == MCP
	if v, ok := d.protocolKey(s, e, "json_rpc", ofCalls, "json-rpc and mcp"); ok {
		if j, ok := d.section(v, "json_rpc", bodyWords); ok {
			if m, ok := j.get("max_body_bytes"); ok {
				if n := d.bodyLimit(m); ofCalls {
					e.MaxBody = n
				}
			}
		}
	}
	if v, ok := s.get("mcp"); ok && !isNull(v.n) {
		d.mark(s, e, "mcp")
		d.mcpSection(v, e)
	}
}

// protocolKey finds a key that has a meaning for some protocols. On others it
// is read all the same, for what is wrong in it, and has no effect.
func (d *decoder) protocolKey(s section, e *Endpoint, key string, ours bool, protocols string) (value, bool) {
	v, ok := s.given(key)
	if !ok {
		return v, false
	}
	d.mark(s, e, key)
	switch {
	case ours:
	case e.Protocol == TCP:
		d.fault(v, Conflict, key+" on protocol: tcp, which judges the connection alone", "", "remove it")
	case d.version >= 2:
		d.fault(v, Conflict, key+" on an endpoint of another protocol", "", "it has a meaning for "+protocols)
	default:
		d.warn(v, NoOperation, key+" has no effect here", "it has a meaning for "+protocols)
	}
	return v, true
}

// mark remembers where a key stands, for Unenforced.
func (d *decoder) mark(s section, e *Endpoint, key string) {
	if e.KeyAt == nil {
		e.KeyAt = make(map[string]Position)
	}
	at := s.at.n
	for i := 0; i+1 < len(at.Content); i += 2 {
		if at.Content[i].Value == key {
			e.KeyAt[key] = d.at(at.Content[i])
			return
		}
	}
}

// largeBody is where a limit of what is held in memory for each request begins
// to be a danger to the supervisor.
const largeBody = 16 << 20

func (d *decoder) bodyLimit(v value) int {
	n, ok := d.number(v, 1, math.MaxInt32, "a number of bytes, at least 1")
	if ok && n > largeBody {
		d.warn(v, Weak, strconv.Itoa(n)+" bytes of every request are held in memory to be judged", "a megabyte is a large request of this kind")
	}
	return n
}

// registry decodes what hashes and saved ids stand for.
func (d *decoder) registry(v value) []PersistedOperation {
	var list []PersistedOperation
	d.mapping(v, "of hashes or ids to operations", func(key *yaml.Node, val value) {
		p := PersistedOperation{Key: key.Value, At: d.at(key)}
		k := value{key, val.path}
		if key.Value == "" {
			d.fault(k, Missing, "", "a hash or saved id", "")
		}
		s, ok := d.section(val, "a persisted query", persistedWords)
		if !ok {
			return
		}
		if t, ok := s.given("operation_type"); ok {
			p.Type = d.operationType(t, false)
		} else {
			d.fault(value{key, pathKey(val.path, "operation_type")}, Missing, "", "query, mutation or subscription", "")
		}
		if n, ok := s.given("operation_name"); ok {
			p.Name, _ = d.text(n, "the name of an operation")
		}
		f, written := s.get("fields")
		if written {
			p.Fields = d.rootFields(f)
		}
		if len(p.Fields) == 0 && !(written && f.n.Kind == yaml.SequenceNode) {
			d.warn(k, Weak, "no root fields are listed, so rules with fields do not take this query, deny rules neither", "list the root fields of the stored document")
		}
		list = append(list, p)
	})
	slices.SortFunc(list, func(a, b PersistedOperation) int { return cmp.Compare(a.Key, b.Key) })
	return list
}

// rootFields are names and not globs: rules are matched against them.
func (d *decoder) rootFields(v value) []string {
	var names []string
	n := 0
	d.list(v, "root fields", func(_ int, item value) {
		n++
		const want = "the name of a root field"
		text, ok := d.text(item, want)
		if ok && !isVariable(text) {
			d.fault(item, BadValue, show(text), want, "the registry says what a stored query asks for; globs belong to rules")
			return
		}
		names = append(names, text)
	})
	if n == 0 && v.n.Kind == yaml.SequenceNode {
		d.fault(v, Missing, "", "at least one root field", "")
	}
	slices.Sort(names)
	return names
}
