package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Splice puts rules into the network_policies of a policy's text and leaves the
// rest of it as it is, comments included. rules gets the indentation and gives
// the lines. The text has to be one that Parse takes; whether the result is
// one, the caller finds out by parsing it.
func Splice(text []byte, rules func(indent string) string) ([]byte, error) {
	doc, err := nextDocument(yaml.NewDecoder(bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("splice policy: %w", err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode || doc.Content[0].Style&yaml.FlowStyle != 0 {
		return nil, errors.New("splice policy: the policy is not a block of keys, one a line")
	}
	lines := strings.SplitAfter(string(text), "\n")
	if last := lines[len(lines)-1]; last == "" {
		lines = lines[:len(lines)-1]
	} else {
		lines[len(lines)-1] = last + "\n"
	}
	root := doc.Content[0]
	margin := strings.Repeat(" ", max(root.Column-1, 0))
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, val := root.Content[i], root.Content[i+1]
		if key.Value != "network_policies" {
			continue
		}
		indent := margin + "  "
		switch {
		case key.Line < 1 || key.Line > len(lines):
			return nil, errors.New("splice policy: network_policies is not found")
		case val.Kind == yaml.MappingNode && val.Style&yaml.FlowStyle == 0 && len(val.Content) > 0 && val.Content[0].Line > key.Line:
			indent = strings.Repeat(" ", val.Content[0].Column-1)
		case val.Kind == yaml.MappingNode && len(val.Content) == 0 && val.Line == key.Line && strings.HasPrefix(lines[key.Line-1][min(val.Column-1, len(lines[key.Line-1])):], "{}"):
			l := lines[key.Line-1]
			lines[key.Line-1] = strings.TrimRight(l[:val.Column-1], " ") + l[val.Column+1:]
		case val.Kind == yaml.ScalarNode && val.ShortTag() == "!!null" && val.Value == "":
		default:
			return nil, fmt.Errorf("splice policy: network_policies (line %d) is not a block of keys, one a line", key.Line)
		}
		head, tail := strings.Join(lines[:key.Line], ""), strings.Join(lines[key.Line:], "")
		return []byte(head + rules(indent) + tail), nil
	}
	return []byte(strings.Join(lines, "") + margin + "network_policies:\n" + rules(margin+"  ")), nil
}
