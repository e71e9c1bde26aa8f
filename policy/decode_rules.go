package policy

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ruleReader is what the protocols differ in when their rules are read.
type ruleReader struct {
	presets  bool // access is taken
	optional bool // rules may be absent
	decode   func(v value, deny bool) RequestRule
	empty    func(r RequestRule) bool // an allow rule that allows nothing
	example  string
}

// endpointRules decodes access, rules and deny_rules of an inspected endpoint.
func (d *decoder) endpointRules(v value, s section, e *Endpoint, r ruleReader) {
	if e.TLS == TLSSkip && e.Protocol.Inspected() {
		d.fault(s.fields["tls"], Conflict, "tls: skip with protocol: "+string(e.Protocol), "", "opaque bytes hold no requests to judge: remove one of the two")
	}
	if e.Protocol.Inspected() {
		d.warnAudit(v, s, e)
	}
	access, hasAccess := s.get("access")
	hasAccess = hasAccess && (e.Access != "" || access.n.Value != "")
	rules, hasRules := s.get("rules")
	switch {
	case hasAccess && !r.presets:
		d.fault(access, Conflict, "access with protocol: "+string(e.Protocol), "rules", "a preset knows methods of HTTP alone: "+r.example)
	case hasRules && e.Access != "":
		d.fault(access, Conflict, "access and rules together", "one of them", "")
	}
	switch {
	case hasRules:
		d.allowRules(rules, e, r)
	case hasAccess || r.optional:
	case r.presets:
		d.fault(value{v.n, v.path + ".rules"}, Missing, "", "rules or access", "write access: read-only, or rules: with an allow list")
	default:
		d.fault(value{v.n, v.path + ".rules"}, Missing, "", "rules", r.example)
	}
	if l, ok := s.get("deny_rules"); ok {
		n := 0
		d.list(l, "deny rules", func(_ int, item value) {
			n++
			e.Deny = append(e.Deny, r.decode(item, true))
		})
		if n == 0 && l.n.Kind == yaml.SequenceNode {
			d.fault(l, Missing, "", "at least one deny rule", "remove deny_rules")
		}
	}
}

func (d *decoder) warnAudit(v value, s section, e *Endpoint) {
	if _, written := s.get("enforcement"); !written && d.version == 1 {
		d.warn(v, Weak, "enforcement is not written: in version 1 that is audit, so requests that no rule allows are FORWARDED",
			"write enforcement: enforce")
	} else if e.Enforcement == Audit {
		d.warn(v, Weak, "enforcement: audit forwards requests that no rule allows", "write enforcement: enforce when the rules are right")
	}
}

func (d *decoder) allowRules(rules value, e *Endpoint, r ruleReader) {
	n, empty := 0, 0
	d.list(rules, "rules", func(_ int, item value) {
		n++
		if a, ok := d.allowEntry(item, r.example); ok {
			rule := r.decode(a, false)
			if r.empty(rule) {
				empty++
			}
			e.Allow = append(e.Allow, rule)
		}
	})
	switch {
	case n == 0 && (isNull(rules.n) || rules.n.Kind == yaml.SequenceNode):
		d.fault(rules, Missing, "", "at least one rule", r.example)
	case n == empty && d.version == 1:
		d.fault(rules, NeverFires, "rules that allow no request at all", "a rule that allows something", r.example)
	}
}

func (d *decoder) allowEntry(v value, example string) (value, bool) {
	if v.n.Kind == yaml.MappingNode && find(v.n, "allow") == nil && slices.ContainsFunc(requestWords, func(w word) bool { return find(v.n, w.name) != nil }) {
		d.fault(value{v.n, v.path + ".allow"}, Missing, "", "what the rule allows", "put what the rule holds below allow: "+strings.TrimPrefix(example, "write "))
		return value{}, false
	}
	s, ok := d.section(v, "a rule", ruleWords)
	if !ok {
		return value{}, false
	}
	a, ok := s.get("allow")
	if !ok {
		d.fault(value{v.n, v.path + ".allow"}, Missing, "", "what the rule allows", example)
	}
	return a, ok
}

// ruleKeys says which protocols a key of a rule belongs to.
var ruleKeys = map[string]string{
	"method": "rest, websocket, json-rpc, mcp or grpc", "path": "rest or websocket", "query": "rest or websocket", "command": "sql",
	"operation_type": "graphql or websocket", "operation_name": "graphql or websocket", "fields": "graphql or websocket",
	"tool": "mcp", "params": "mcp", "arguments": "mcp",
	"operation": "git", "repository": "git", "refs": "git", "force": "git", "delete": "git",
	"package": "package", "versions": "package", "min_age": "package", "publish": "package",
	"service": "grpc",
}

// otherNames are what keys of rules are called elsewhere.
var otherNames = map[string][]string{
	"name": {"package", "tool", "operation_name", "service"}, "names": {"package", "tool"}, "package_name": {"package"}, "version": {"versions"}, "age": {"min_age"},
	"verb": {"method"}, "methods": {"method"}, "url": {"path"}, "uri": {"path"}, "paths": {"path"},
	"repo": {"repository"}, "project": {"repository"}, "branch": {"refs"}, "branches": {"refs"}, "ref": {"refs"}, "args": {"arguments"}, "type": {"operation_type"}, "rpc": {"method"},
}

// unknownRuleKey says which of a protocol's keys may be meant.
func unknownRuleKey(name string, keys []string) string {
	for _, other := range otherNames[strings.ToLower(name)] {
		if slices.Contains(keys, other) {
			return "did you mean " + other + "?"
		}
	}
	if near := nearest(name, keys); near != "" {
		return "did you mean " + near + "?"
	}
	return "known keys: " + strings.Join(keys, ", ")
}

// ruleSection decodes an allow or deny entry that may hold the given keys. The
// others belong to other protocols: a condition that nothing looks at would
// make an allow rule wider than it reads.
func (d *decoder) ruleSection(v value, e *Endpoint, keys ...string) (section, bool) {
	before := len(d.faults)
	d.keys = keys
	s, ok := d.section(v, "a rule", requestWords)
	d.keys = nil
	if !ok || len(d.faults) > before {
		return s, false
	}
	for _, w := range requestWords {
		val, written := s.get(w.name)
		switch {
		case !written:
			continue
		case w.name != "query" && isNull(val.n):
			// Read as absent it would make the rule wider.
			d.fault(val, WrongType, describe(val.n), "a value", "remove the key if no condition is meant")
			ok = false
			continue
		case slices.Contains(keys, w.name), absent(val.n) && w.name != "tool" && w.name != "params":
			continue
		}
		d.fault(val, Conflict, w.name+" in a rule of protocol: "+string(e.Protocol), "", w.name+" belongs to rules of protocol: "+ruleKeys[w.name]+"; here they have "+strings.Join(keys, ", "))
		ok = false
	}
	return s, ok
}

// absent: written, and no more than the absence says.
func absent(n *yaml.Node) bool {
	return isNull(n) || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && n.Value == "" ||
		n.Kind == yaml.MappingNode && len(n.Content) == 0
}

// get without values that say nothing.
func (s section) given(key string) (value, bool) {
	v, ok := s.get(key)
	return v, ok && !absent(v.n)
}

// valueGlobs decodes a list of globs over values.
func (d *decoder) valueGlobs(v value, what string) []string {
	var globs []string
	n := 0
	d.list(v, what, func(_ int, item value) {
		n++
		text, ok := d.text(item, "a glob")
		switch {
		case !ok || d.globFault(item, text, '.'):
		case text == "":
			d.fault(item, Missing, "", "a glob", `write "**" for every name`)
		default:
			globs = append(globs, text)
		}
	})
	switch {
	case n == 0 && v.n.Kind == yaml.SequenceNode:
		d.fault(v, Missing, "", "at least one glob", "leave it out to take every name")
	case n > maxMatcherGlobs:
		d.fault(v, TooMuch, strconv.Itoa(n)+" globs", "at most "+strconv.Itoa(maxMatcherGlobs), "")
	}
	return globs
}
