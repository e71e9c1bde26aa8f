package analyse

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/target"
)

// Word is what an assertion says of its requests.
type Word string

const (
	// Never: no request that is described is let through.
	Never Word = "never"
	// Only: at the host and port, nothing is let through but what is described;
	// without binary, method and path, nothing at all but to this host and port.
	Only Word = "only"
	// Always: every request that is described is let through; without method and
	// path, every connection.
	Always Word = "always"
)

// Assertion is a statement about all requests. Empty fields stand for every value.
type Assertion struct {
	Word   Word            `json:"word"`
	Name   string          `json:"name,omitempty"`
	Host   string          `json:"host,omitempty"` // a host, or a pattern with * inside a label and ** for labels
	Port   uint16          `json:"port,omitempty"`
	Binary string          `json:"binary,omitempty"` // as in a policy of the version that is looked at
	Method string          `json:"method,omitempty"`
	Path   string          `json:"path,omitempty"` // a glob, as in rules
	Holds                  // what of a request's body, or of a text message, is described
	At     policy.Position `json:"at"`
}

// String is the assertion as it may be written.
func (a Assertion) String() string {
	var fields []string
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, key+": "+value)
		}
	}
	add("host", a.Host)
	if a.Port != 0 {
		add("port", strconv.Itoa(int(a.Port)))
	}
	add("binary", a.Binary)
	add("method", a.Method)
	add("path", a.Path)
	a.Holds.each(add)
	return fmt.Sprintf("%s: {%s}", a.Word, strings.Join(fields, ", "))
}

// Bounds of a file of assertions.
const (
	maxAssertions = 1000
	maxShownText  = 80 // bytes of a value that a message repeats
)

// ParseAssertions decodes a list of assertions strictly. The error is nil or
// holds policy.Faults with everything that is wrong.
func ParseAssertions(file string, data []byte) ([]Assertion, error) {
	d := &assertionDecoder{file: file}
	list := d.document(data)
	if len(d.faults) > 0 {
		return nil, fmt.Errorf("read assertions: %w", d.faults)
	}
	return list, nil
}

type assertionDecoder struct {
	file   string
	faults policy.Faults
}

func (d *assertionDecoder) at(n *yaml.Node) policy.Position {
	if n == nil {
		return policy.Position{File: d.file, Line: 1, Column: 1}
	}
	return policy.Position{File: d.file, Line: n.Line, Column: n.Column}
}

func (d *assertionDecoder) fault(n *yaml.Node, path string, kind policy.Kind, found, want, hint string) {
	const most = 200
	if len(d.faults) < most {
		d.faults = append(d.faults, policy.Fault{At: d.at(n), Path: path, Kind: kind, Found: found, Want: want, Hint: hint})
	}
}

const assertionExample = `write - never: {host: "**.internal"}`

func (d *assertionDecoder) document(data []byte) []Assertion {
	s, value, ok := policy.ReadStrict(d.file, data, "a list of assertions", assertionExample)
	if !ok {
		errors.As(s.Err(), &d.faults)
		return nil
	}
	root := value.Node()
	switch {
	case root.Kind != yaml.SequenceNode:
		d.fault(root, "", policy.WrongType, kindOf(root), "a list of assertions", assertionExample)
		return nil
	case len(root.Content) == 0:
		d.fault(root, "", policy.Missing, "", "at least one assertion", assertionExample)
	case len(root.Content) > maxAssertions:
		d.fault(root, "", policy.TooMuch, strconv.Itoa(len(root.Content))+" assertions", "at most "+strconv.Itoa(maxAssertions), "")
		return nil
	}
	var list []Assertion
	for i, n := range root.Content {
		if a, ok := d.assertion(n, "["+strconv.Itoa(i)+"]"); ok {
			list = append(list, a)
		}
	}
	return list
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	case yaml.ScalarNode:
		if n.ShortTag() == "!!null" {
			return "nothing"
		}
	}
	return "the value " + quote(n.Value)
}

func quote(s string) string {
	if len(s) > maxShownText {
		return strconv.Quote(strings.ToValidUTF8(s[:maxShownText], "")) + " (shortened)"
	}
	return strconv.Quote(s)
}

// fields calls f for every entry of a mapping whose keys are among known.
func (d *assertionDecoder) fields(n *yaml.Node, path string, known []string, f func(key string, v *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, policy.WrongType, kindOf(n), "a mapping with "+strings.Join(known, ", "), assertionExample)
		return false
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			hint := cmp.Or(policy.DidYouMean(key.Value, known...), "known keys: "+strings.Join(known, ", "))
			d.fault(key, path, policy.UnknownKey, quote(key.Value)+" of an assertion", "", hint)
		case seen[key.Value]:
			d.fault(key, path+"."+key.Value, policy.Duplicate, "key "+quote(key.Value), "", "keep one of them")
		default:
			seen[key.Value] = true
			f(key.Value, n.Content[i+1])
		}
	}
	return true
}

func (d *assertionDecoder) assertion(n *yaml.Node, path string) (Assertion, bool) {
	a := Assertion{At: d.at(n)}
	before := len(d.faults)
	ok := d.fields(n, path, []string{"never", "only", "always", "name"}, func(key string, v *yaml.Node) {
		switch {
		case key == "name":
			a.Name, _ = d.text(v, path+".name", "a text")
		case a.Word != "":
			d.fault(v, path+"."+key, policy.Conflict, string(a.Word)+" and "+key+" in one assertion", "one of them", "write one list entry for each")
		default:
			a.Word = Word(key)
			d.description(v, path+"."+key, &a)
		}
	})
	if ok && a.Word == "" && len(d.faults) == before {
		d.fault(n, path, policy.Missing, "", "never, only or always", assertionExample)
	}
	return a, len(d.faults) == before
}

func (d *assertionDecoder) text(v *yaml.Node, path, want string) (string, bool) {
	if v.Kind != yaml.ScalarNode || v.ShortTag() != "!!str" || v.Value == "" {
		hint := ""
		if v.Kind == yaml.ScalarNode && v.Value != "" {
			hint = "put it in quotes"
		}
		d.fault(v, path, policy.WrongType, kindOf(v), want, hint)
		return "", false
	}
	return v.Value, true
}

func (d *assertionDecoder) description(n *yaml.Node, path string, a *Assertion) {
	before := len(d.faults)
	count := 0
	ok := d.fields(n, path, descriptionKeys, func(key string, v *yaml.Node) {
		count++
		at := path + "." + key
		if key == "port" {
			p, err := strconv.ParseUint(v.Value, 10, 16)
			if v.Kind != yaml.ScalarNode || v.ShortTag() != "!!int" || err != nil || p == 0 {
				d.fault(v, at, policy.BadValue, kindOf(v), "a port of 1..65535", "")
			}
			a.Port = uint16(p)
			return
		}
		if to := a.Holds.flag(key); to != nil {
			if v.Kind != yaml.ScalarNode || v.Value != "true" || v.ShortTag() != "!!bool" {
				d.fault(v, at, policy.BadValue, kindOf(v), "true", "leave it out where it does not matter")
			}
			*to = true
			return
		}
		text, ok := d.text(v, at, "a text")
		if !ok {
			return
		}
		if to := a.Holds.text(key); to != nil {
			*to = text
			if err := a.Holds.check(key); err != nil {
				d.fault(v, at, policy.BadValue, quote(text), err.want, err.hint)
			}
			return
		}
		switch key {
		case "host":
			d.host(v, at, text, a)
		case "binary":
			d.binary(v, at, text, a)
		case "method":
			a.Method = strings.ToUpper(text)
			if strings.ContainsAny(text, " ,|/") || text != "*" && strings.Contains(text, "*") {
				d.fault(v, at, policy.BadValue, quote(text), `an HTTP method, or "*"`, "write one assertion for each method")
			}
		case "path":
			d.path(v, at, text, a)
		}
	})
	if ok && count == 0 && len(d.faults) == before {
		d.fault(n, path, policy.Missing, "", "at least one of "+strings.Join(descriptionKeys, ", "), `for every host write host: "**"`)
	}
	if text := a.Holds.conflict(a.Method); text != "" && len(d.faults) == before {
		d.fault(n, path, policy.Conflict, text, "", "write one assertion for each")
	}
}

// descriptionKeys are the keys of a description; those behind path are of Holds.
var descriptionKeys = append([]string{"host", "port", "binary", "method", "path"}, holdsKeys...)

func (d *assertionDecoder) host(v *yaml.Node, at, text string, a *Assertion) {
	s, err := netname.ParseSelector(text)
	if err != nil {
		hint := ""
		if strings.Contains(text, "/") {
			hint = "addresses are named one by one; networks cannot be named here"
		}
		d.fault(v, at, policy.BadValue, quote(text), "a host name, an address, or a pattern like **.internal", hint)
		return
	}
	a.Host = s.String()
}

func (d *assertionDecoder) binary(v *yaml.Node, at, text string, a *Assertion) {
	a.Binary = text
	if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "*") {
		d.fault(v, at, policy.BadValue, quote(text), "the absolute path of a program, or a glob", "callers have absolute paths")
		return
	}
	if _, err := glob.Compile(text, '/'); strings.Contains(text, "*") && err != nil {
		d.fault(v, at, policy.BadValue, quote(text), "a well-formed glob", "")
	}
}

func (d *assertionDecoder) path(v *yaml.Node, at, text string, a *Assertion) {
	a.Path = text
	if _, err := glob.Compile(text, '/'); err != nil {
		d.fault(v, at, policy.BadValue, quote(text), "a well-formed path glob", "")
		return
	}
	if why := target.NeverCanonical(text); why != "" {
		d.fault(v, at, policy.NeverFires, quote(text)+" matches no request", "", why)
	}
}
