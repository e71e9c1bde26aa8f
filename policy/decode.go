package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of a document. Policies are written by people: a thousand rules are
// about 200 KiB and nest eight deep.
const (
	MaxBytes  = 1 << 20 // of the file
	maxDepth  = 32      // of nested collections
	maxValues = 1 << 20 // values decoded, aliases counted at every use
	maxText   = 4096    // bytes of one scalar (PATH_MAX)
)

// decoder turns YAML nodes into a Document and collects every fault.
type decoder struct {
	file    string
	version int
	left    int      // values that may still be decoded
	keys    []string // of the rule that is being decoded, as its protocol has them; nil: of none
	// unmatched is what stands above what is being decoded.
	unmatched Verdict
	written   map[string]Position // of the keys that stand there, network policies aside; nil: nobody asks
	extends   []extension
	open      []openKey
	faults    Faults
	warns     Warnings
}

// value is a node, its alias followed, with its path in the document.
type value struct {
	n    *yaml.Node
	path string
}

func (d *decoder) at(n *yaml.Node) Position {
	if n == nil {
		return Position{File: d.file, Line: 1, Column: 1}
	}
	return Position{File: d.file, Line: n.Line, Column: n.Column}
}

func (d *decoder) fault(v value, kind Kind, found, want, hint string) {
	d.faultAt(d.at(v.n), v.path, kind, found, want, hint)
}

func (d *decoder) faultAt(at Position, path string, kind Kind, found, want, hint string) {
	// Far beyond what is shown nothing more is kept.
	if len(d.faults) > 10*maxFaults {
		return
	}
	d.faults = append(d.faults, Fault{At: at, Path: path, Kind: kind, Found: found, Want: want, Hint: hint})
}

func (d *decoder) warn(v value, kind Kind, text, hint string) {
	d.warnAt(d.at(v.n), v.path, kind, text, hint)
}

func (d *decoder) warnAt(at Position, path string, kind Kind, text, hint string) {
	if len(d.warns) > 10*maxFaults {
		return
	}
	d.warns = append(d.warns, Warning{At: at, Path: path, Kind: kind, Text: text, Hint: hint})
}

// read parses the bytes to the one root node, or records why not.
func (d *decoder) read(data []byte) (value, bool) {
	switch {
	case len(data) > MaxBytes:
		d.fault(value{}, TooMuch, fmt.Sprintf("more than %d bytes", MaxBytes), "a smaller file", "")
		return value{}, false
	case !utf8.Valid(data):
		hint := ""
		if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
			hint = "it looks like UTF-16: iconv -f UTF-16 -t UTF-8"
		}
		d.faultAt(d.place(data, func(r rune, size int) bool { return r == utf8.RuneError && size == 1 }), "", Syntax, "bytes that are not UTF-8", "UTF-8 text", hint)
		return value{}, false
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc, err := nextDocument(dec)
	switch {
	case errors.Is(err, io.EOF):
		d.fault(value{}, Missing, "", "a policy; the file is empty", "start with: version: 2")
		return value{}, false
	case err != nil:
		d.syntax(data, err)
		return value{}, false
	}
	if second, err := nextDocument(dec); err == nil {
		d.fault(value{n: second}, Syntax, "a second document", "one document per file", "remove what follows the --- line")
		return value{}, false
	} else if !errors.Is(err, io.EOF) {
		d.syntax(data, err)
		return value{}, false
	}
	if len(doc.Content) != 1 {
		d.fault(value{}, Missing, "", "a policy; the file is empty", "start with: version: 2")
		return value{}, false
	}
	root := doc.Content[0]
	if deep := tooDeep(root, maxDepth); deep != nil {
		d.fault(value{n: deep}, TooMuch, fmt.Sprintf("more than %d nested levels", maxDepth), "fewer", "")
		return value{}, false
	}
	d.left = maxValues
	return d.enter(root, "")
}

// nextDocument decodes one YAML document; a panic of the library, which
// parses hostile bytes here, becomes an error.
func nextDocument(dec *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			n, err = nil, errors.New("yaml: the text cannot be parsed")
		}
	}()
	n = new(yaml.Node)
	if err := dec.Decode(n); err != nil {
		return nil, err
	}
	return n, nil
}

// syntax records an error of the YAML library ("yaml: line 3: text").
func (d *decoder) syntax(data []byte, err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	at := Position{File: d.file, Line: 1, Column: 1}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if num, msg, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(num); err == nil && line > 0 {
				at.Line, text = line, msg
			}
		}
	}
	if strings.Contains(text, "control characters") { // without a line
		at = d.place(data, func(r rune, _ int) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r\u0085", r) })
	}
	if looksSecret(text) || len(text) > 4*maxShown {
		text = "text that is not YAML"
	}
	hint := ""
	if strings.Contains(text, "tab") || strings.Contains(text, "cannot start any token") {
		hint = "YAML is indented with spaces, and texts that begin with * & ! % @ ` need quotes"
	}
	d.faultAt(at, "", Syntax, text, "", hint)
}

// place is the position of the first rune that is meant, or the beginning.
func (d *decoder) place(data []byte, meant func(r rune, size int) bool) Position {
	at := Position{File: d.file, Line: 1, Column: 1}
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if meant(r, size) {
			return at
		}
		if at.Column++; r == '\n' {
			at.Line, at.Column = at.Line+1, 1
		}
		rest = rest[size:]
	}
	return Position{File: d.file, Line: 1, Column: 1}
}

func tooDeep(n *yaml.Node, left int) *yaml.Node {
	if left == 0 {
		return n
	}
	for _, c := range n.Content {
		if deep := tooDeep(c, left-1); deep != nil {
			return deep
		}
	}
	return nil
}

// enter follows an alias and counts the value.
func (d *decoder) enter(n *yaml.Node, path string) (value, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	v := value{n, path}
	if d.left == 0 {
		return v, false
	}
	if d.left--; d.left == 0 {
		d.fault(v, TooMuch, fmt.Sprintf("more than %d values (aliases are counted at every use)", maxValues), "fewer", "")
		return v, false
	}
	return v, true
}

// section holds the fields of a mapping that are words of the language and built.
type section struct {
	at     value
	fields map[string]value
}

func (s section) get(key string) (value, bool) { v, ok := s.fields[key]; return v, ok }

// section decodes a mapping whose keys are words; what names the thing in messages.
func (d *decoder) section(v value, what string, words []word) (section, bool) {
	s := section{at: v, fields: make(map[string]value)}
	ok := d.mapping(v, what, func(key *yaml.Node, val value) {
		name := key.Value
		i := slices.IndexFunc(words, func(w word) bool { return w.name == name })
		k := value{key, val.path}
		switch {
		case i < 0:
			d.unknown(k, name, what, words)
		case words[i].since > d.version:
			d.fault(k, UnknownKey, show(name)+" of "+what, "",
				fmt.Sprintf("%q is a word of version %d; this file says version: %d", name, words[i].since, d.version))
		default:
			s.fields[name] = val
			if d.written != nil && !strings.HasPrefix(v.path, "network_policies") {
				d.written[val.path] = d.at(key)
			}
		}
	})
	return s, ok
}

func (d *decoder) unknown(k value, name, what string, words []word) {
	if name == "<<" {
		d.fault(k, UnknownKey, `"<<" of `+what, "", "merge keys are not part of the language; repeat the keys or use an alias for a whole value")
		return
	}
	var names []string
	for _, w := range words {
		if w.since <= d.version {
			names = append(names, w.name)
		}
	}
	hint := "known keys: " + strings.Join(names, ", ")
	if near := nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	if d.keys != nil {
		hint = unknownRuleKey(name, d.keys)
	}
	if what == "an endpoint" {
		if _, ofRules := ruleKeys[strings.TrimSuffix(name, "s")]; ofRules || ruleKeys[name] != "" {
			hint = "it belongs into a rule: rules: [{allow: {…}}]"
		}
	}
	if what == "a network rule" && slices.ContainsFunc(endpointWords, func(w word) bool { return w.name == name && w.since <= d.version }) {
		hint = "it belongs into an endpoint: " + endpointExample
	}
	if what == "a rule" && name == "deny" {
		hint = "write it without deny: into deny_rules of the endpoint"
	}
	if k.path == name && slices.ContainsFunc(filesystemWords, func(w word) bool { return w.name == name }) {
		hint = strconv.Quote(name) + " belongs into filesystem_policy"
	}
	if k.path != name && slices.ContainsFunc(documentWords, func(w word) bool {
		return w.name == name && w.since <= d.version && (w.value.Form == Mapping || w.value.Form == Map)
	}) {
		hint = name + " belongs at the left margin: remove the spaces before it"
	}
	d.fault(k, UnknownKey, show(name)+" of "+what, "", hint)
}

// mapping calls f for every entry of a mapping whose keys are text and unique.
// An absent value (key with nothing behind it) is an empty mapping.
func (d *decoder) mapping(v value, what string, f func(key *yaml.Node, val value)) bool {
	if isNull(v.n) {
		return true
	}
	if v.n.Kind != yaml.MappingNode || v.n.ShortTag() != "!!map" {
		d.fault(v, WrongType, describe(v.n), "a mapping ("+what+")", "")
		return false
	}
	seen := make(map[string]int, len(v.n.Content)/2)
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		key := v.n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" && key.ShortTag() != "!!merge" {
			d.fault(value{key, v.path}, WrongType, describe(key), "a text as key", "put the key in quotes")
			continue
		}
		path := pathKey(v.path, key.Value)
		if first, dup := seen[key.Value]; dup {
			hint := "keep one of them"
			switch n := v.n.Content[first+1]; {
			case n.Kind == yaml.MappingNode && len(n.Content) == 0:
				hint = fmt.Sprintf("remove line %d, which is empty", v.n.Content[first].Line)
			case n.Kind == yaml.MappingNode && v.n.Content[i+1].Kind == yaml.MappingNode:
				hint = fmt.Sprintf("put what is below it under line %d, and remove this line", v.n.Content[first].Line)
			}
			d.fault(value{key, path}, Duplicate, fmt.Sprintf("key %s, first on line %d", show(key.Value), v.n.Content[first].Line), "", hint)
			continue
		}
		seen[key.Value] = i
		val, ok := d.enter(v.n.Content[i+1], path)
		if !ok {
			return false
		}
		f(key, val)
	}
	return true
}

// list calls f for every element. An absent value is an empty list.
func (d *decoder) list(v value, what string, f func(i int, v value)) bool {
	if isNull(v.n) {
		return true
	}
	if v.n.Kind != yaml.SequenceNode || v.n.ShortTag() != "!!seq" {
		d.fault(v, WrongType, describe(v.n), "a list of "+what, "write [ … ], or one \"- …\" line each")
		return false
	}
	for i, c := range v.n.Content {
		item, ok := d.enter(c, pathIndex(v.path, i))
		if !ok {
			return false
		}
		f(i, item)
	}
	return true
}

// text decodes a text scalar.
func (d *decoder) text(v value, what string) (string, bool) {
	if v.n.Kind != yaml.ScalarNode {
		d.fault(v, WrongType, describe(v.n), what, "")
		return "", false
	}
	plain := v.n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	tag := v.n.ShortTag()
	switch {
	case tag != "!!str" && !(tag == "!!timestamp" && plain):
		hint := ""
		if tag == "!!int" || tag == "!!float" || tag == "!!bool" {
			hint = "put it in quotes"
		}
		d.fault(v, WrongType, describe(v.n), what, hint)
		return "", false
	case len(v.n.Value) > maxText:
		d.fault(v, TooMuch, fmt.Sprintf("a text of %d bytes", len(v.n.Value)), fmt.Sprintf("%s of at most %d", what, maxText), "")
		return "", false
	}
	for _, r := range v.n.Value {
		if r < 0x20 || r == 0x7f {
			d.fault(v, BadValue, fmt.Sprintf("a text with the control character %#02x", r), what, "")
			return "", false
		}
	}
	return v.n.Value, true
}

func yaml11Bool(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		return true
	}
	return false
}

func (d *decoder) boolean(v value) bool {
	if v.n.Kind == yaml.ScalarNode && v.n.ShortTag() == "!!bool" {
		switch v.n.Value {
		case "true", "True", "TRUE":
			return true
		case "false", "False", "FALSE":
			return false
		}
	}
	hint := ""
	if v.n.Kind == yaml.ScalarNode {
		switch strings.ToLower(v.n.Value) {
		case "yes", "on", "y", "1":
			hint = "write true"
		case "no", "off", "n", "0":
			hint = "write false"
		}
	}
	d.fault(v, WrongType, describe(v.n), "true or false", hint)
	return false
}

// number decodes a decimal whole number; other notations are refused because
// readers disagree about them.
func (d *decoder) number(v value, low, high int, what string) (int, bool) {
	if v.n.Kind != yaml.ScalarNode || v.n.ShortTag() != "!!int" {
		hint := ""
		if v.n.Kind == yaml.ScalarNode && decimal(v.n.Value) {
			hint = "write it without quotes"
		}
		d.fault(v, WrongType, describe(v.n), what, hint)
		return 0, false
	}
	i, err := strconv.Atoi(v.n.Value)
	if err != nil || !decimal(strings.TrimPrefix(v.n.Value, "-")) || i < low || i > high {
		d.fault(v, BadValue, show(v.n.Value), what, "")
		return 0, false
	}
	return i, true
}

// decimal: digits alone, no leading zero.
func decimal(s string) bool {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe names what stands at a node, for "found …".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!int", "!!float":
			return "the number " + show(n.Value)
		case "!!bool":
			return "the boolean " + show(n.Value)
		case "!!str", "!!timestamp":
			return "the text " + show(n.Value)
		}
		return "a value tagged " + show(n.Tag)
	}
	return "an unknown node"
}
