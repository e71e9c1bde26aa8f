package format

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/policy"
)

// What File refuses. Neither is the writer's mistake.
var (
	ErrMeaning  = errors.New("the canonical form would mean something else")
	ErrComments = errors.New("the canonical form would lose a comment")
)

// Parser reads a policy, as policy.Parse does.
type Parser func(name string, data []byte) (*policy.Document, policy.Warnings, error)

// File gives the canonical form of a policy. name stands in the positions of
// faults, parse says what the text means.
func File(name string, data []byte, parse Parser) ([]byte, error) {
	before, _, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	// The second reading settles comments that the first one moved.
	out := data
	for range 3 {
		last := out
		if out, err = rewrite(out); err != nil {
			return nil, err
		}
		if bytes.Equal(out, last) {
			break
		}
	}
	after, _, err := parse(name, out)
	if err != nil || !Same(before, after) {
		return nil, fmt.Errorf("format %s: %w", name, ErrMeaning)
	}
	if !slices.Equal(comments(data), comments(out)) {
		return nil, fmt.Errorf("format %s: %w", name, ErrComments)
	}
	return out, nil
}

func rewrite(data []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) != 1 {
		return nil, fmt.Errorf("format: %w (%v)", ErrMeaning, err)
	}
	w := &writer{sections: map[string]policy.Section{}, source: strings.Split(string(data), "\n"), blank: marker(data)}
	list := policy.Language()
	for _, s := range list {
		w.sections[s.Name] = s
	}
	w.document, w.ordered = list[0].Name, !hasAlias(&doc)
	root := doc.Content[0]
	keepEnd(&doc, root)
	w.spread(root)
	w.shape(root, policy.Shape{Form: policy.Mapping, Section: w.document})
	w.spaces(root, true)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := encode(enc, &doc); err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	return tidy(out.Bytes(), w.blank), nil
}

// encode turns a panic of the library, which writes foreign trees here, into
// an error.
func encode(enc *yaml.Encoder, doc *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("yaml: the tree cannot be written")
		}
	}()
	if err := enc.Encode(doc); err != nil {
		return err
	}
	return enc.Close()
}

type writer struct {
	sections map[string]policy.Section
	document string // the name of the first section
	source   []string
	blank    string // a comment that stands for an empty line until tidy
	ordered  bool   // no alias, so keys may change places
}

// keepEnd gives a comment at the end of the file to the document, because the
// key that it follows may move.
func keepEnd(doc, root *yaml.Node) {
	if n := len(root.Content); root.Kind == yaml.MappingNode && n >= 2 && doc.FootComment == "" {
		doc.FootComment, root.Content[n-2].FootComment = root.Content[n-2].FootComment, ""
	}
}

// marker is a comment that the text does not hold.
func marker(data []byte) string {
	m := "#blank"
	for bytes.Contains(data, []byte(m)) {
		m += "-"
	}
	return m
}

func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, hasAlias)
}

// shape walks a value along its shape: orders keys and settles quotes.
func (w *writer) shape(n *yaml.Node, v policy.Shape) {
	if v.Form == policy.AnyOf {
		v = alternative(n, v)
	}
	switch n.Kind {
	case yaml.ScalarNode:
		quotes(n)
	case yaml.SequenceNode:
		for _, c := range n.Content {
			w.shape(c, first(v))
		}
	case yaml.MappingNode:
		var words []policy.Word
		if v.Form == policy.Mapping {
			words = w.sections[v.Section].Words
			if w.ordered {
				order(n, words)
			} else if v.Section == w.document {
				// The version holds no alias and no anchor that one needs.
				order(n, words[:1])
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			quotes(key)
			of := first(v)
			if at := slices.IndexFunc(words, func(w policy.Word) bool { return w.Name == key.Value }); at >= 0 {
				of = words[at].Value
			}
			w.shape(n.Content[i+1], of)
		}
	}
}

func first(v policy.Shape) policy.Shape {
	if (v.Form == policy.List || v.Form == policy.Map) && len(v.Of) > 0 {
		return v.Of[0]
	}
	return policy.Shape{}
}

// alternative is the shape among several that a node of this kind has.
func alternative(n *yaml.Node, v policy.Shape) policy.Shape {
	for _, one := range v.Of {
		switch {
		case n.Kind == yaml.MappingNode && (one.Form == policy.Mapping || one.Form == policy.Map),
			n.Kind == yaml.SequenceNode && one.Form == policy.List:
			return one
		}
	}
	return policy.Shape{}
}

// order sorts the pairs of a mapping as the language has them.
func order(n *yaml.Node, words []policy.Word) {
	type pair struct{ key, value *yaml.Node }
	var pairs []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		pairs = append(pairs, pair{n.Content[i], n.Content[i+1]})
	}
	place := func(p pair) int {
		if i := slices.IndexFunc(words, func(w policy.Word) bool { return w.Name == p.key.Value }); i >= 0 {
			return i
		}
		return len(words)
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return place(a) - place(b) })
	n.Content = n.Content[:0]
	for _, p := range pairs {
		n.Content = append(n.Content, p.key, p.value)
	}
}

// Quoted texts that need no quotes lose them, those that need them get double
// ones, and texts over several lines become one line.
func quotes(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return
	}
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	switch {
	case simple(n.Value):
		n.Style &^= quoted | yaml.TaggedStyle
	case n.Style&quoted != 0 || wavers(n.Value):
		n.Style = n.Style&^(quoted|yaml.TaggedStyle) | yaml.DoubleQuotedStyle
	}
}

// simple: a word, name or path that every reader of YAML takes for a text.
func simple(s string) bool {
	if s == "" || len(s) > 128 || wavers(s) {
		return false
	}
	if c := s[0] | 0x20; s[0] != '/' && (c < 'a' || c > 'z') {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@") == ""
}

// wavers: older readers of YAML take the text for a boolean or nothing.
func wavers(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~":
		return true
	}
	return false
}

// spread writes a flow collection in block style if it stood on more than one
// line or holds comments, which a single line has no place for.
func (w *writer) spread(n *yaml.Node) (last int, commented bool) {
	last = n.Line
	for _, c := range n.Content {
		l, has := w.spread(c)
		last, commented = max(last, l), commented || has
	}
	if n.Style&yaml.FlowStyle != 0 && (last > n.Line || commented) {
		n.Style &^= yaml.FlowStyle
	}
	return last, commented || n.HeadComment != "" || n.LineComment != "" || n.FootComment != ""
}

// spaces keeps a single empty line above an entry where the writer had one, and
// sets one above every key of the document that holds more than a line.
func (w *writer) spaces(n *yaml.Node, top bool) {
	if n.Style&yaml.FlowStyle != 0 {
		return
	}
	step := 1
	if n.Kind == yaml.MappingNode {
		step = 2
	}
	for i := 0; i < len(n.Content); i += step {
		at := n.Content[i]
		if i > 0 && (w.blankAbove(at) || top && i+1 < len(n.Content) && (long(n.Content[i+1]) || long(n.Content[i-1]))) {
			at.HeadComment = strings.TrimRight(w.blank+"\n"+at.HeadComment, "\n")
		}
		w.spaces(n.Content[i+step-1], false)
	}
}

// long: the value takes lines of its own.
func long(n *yaml.Node) bool {
	return len(n.Content) > 0 && n.Style&yaml.FlowStyle == 0
}

func (w *writer) blankAbove(n *yaml.Node) bool {
	line := n.Line - 2 // of the line above, from 0
	if n.HeadComment != "" {
		line -= strings.Count(n.HeadComment, "\n") + 1
	}
	return line >= 0 && line < len(w.source) && strings.TrimSpace(w.source[line]) == ""
}

// tidy puts empty lines for the markers: never two, none at the beginning.
func tidy(text []byte, blank string) []byte {
	var lines []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \t\r\n")
		if strings.TrimSpace(line) == blank {
			line = ""
		}
		if line == "" && (len(lines) == 0 || lines[len(lines)-1] == "") {
			continue
		}
		lines = append(lines, line)
	}
	return []byte(strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n")
}

// comments are the lines of all comments, sorted: their places may change.
func comments(data []byte) []string {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil {
		return nil
	}
	var list []string
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for _, c := range []string{n.HeadComment, n.LineComment, n.FootComment} {
			for line := range strings.SplitSeq(c, "\n") {
				if line = strings.TrimSpace(line); line != "" {
					list = append(list, line)
				}
			}
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(&doc)
	slices.Sort(list)
	return list
}
