package presets

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/format"
)

const section = "network_policies"

// Merge adds rules to a policy and changes nothing else of its text. The error
// for a policy that is none, before or after, is policy.Faults. parse says what
// the text means.
func Merge(name string, data []byte, r *Rules, parse format.Parser) ([]byte, error) {
	const op = "add preset"
	before, _, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	if before.Version != 2 {
		return nil, fault.UsageError(op, fmt.Sprintf("%s says version: %d, presets are written in version 2", name, before.Version),
			"add it to a file of version 2: creel policy default > ~/creel.yaml")
	}
	for _, n := range before.Networks {
		if slices.Contains(r.Keys, n.Key) {
			return nil, fault.UsageError(op, fmt.Sprintf("%s: there is a rule %s already", n.At, n.Key), "remove it first, or change it there")
		}
	}
	out, err := insert(data, r.Text)
	if err != nil {
		return nil, fault.Wrap(err, op+": "+name, fault.Usage, "write every rule of network_policies on lines of its own; creel policy fmt "+name+" shows the form")
	}
	after, _, err := parse(name, out)
	if err != nil {
		return nil, fmt.Errorf("%s: the policy would be faulty with it: %w", op, err)
	}
	// What was there means what it meant, and the new names are there.
	rest := *after
	rest.Networks = slices.DeleteFunc(slices.Clone(after.Networks), func(n policy.Network) bool { return slices.Contains(r.Keys, n.Key) })
	if len(rest.Networks) == 0 {
		rest.Networks = before.Networks // nil or empty
	}
	if len(rest.Networks)+len(r.Keys) != len(after.Networks) || !format.Same(before, &rest) {
		return nil, fault.Errorf(op, "%s is written in a way that new lines do not fit into; add them by hand: creel policy preset show", name)
	}
	return out, nil
}

var errFlow = errors.New("network_policies is written within { }")

// insert puts the lines into network_policies, behind its last rule.
func insert(data []byte, text string) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) != 1 {
		return nil, errors.New("not a policy") // cannot be: it was parsed
	}
	root := doc.Content[0]
	newline := "\n"
	if strings.Contains(string(data), "\r\n") {
		newline = "\r\n"
	}
	lines := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	if root.Style&yaml.FlowStyle != 0 {
		return nil, errFlow
	}
	at := -1
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == section {
			at = i
		}
	}
	var add []string
	place := 0
	switch {
	case at < 0:
		place = lastContent(lines, len(lines))
		add = append([]string{"", indent(root.Column-1) + section + ":"}, indented(text, root.Column+1)...)
	default:
		key, val := root.Content[at], root.Content[at+1]
		end := len(lines)
		if at+2 < len(root.Content) {
			end = root.Content[at+2].Line - 1
		}
		switch {
		case val.Kind == yaml.MappingNode && val.Style&yaml.FlowStyle == 0 && len(val.Content) > 0:
			place = lastContent(lines, end)
			add = indented(text, val.Content[0].Column-1)
			if place > 0 && blankBetween(lines, val) {
				add = append([]string{""}, add...)
			}
		case val.Kind == yaml.MappingNode && len(val.Content) > 0:
			return nil, errFlow
		default:
			// {} or nothing: its text goes, a comment behind it stays.
			place = key.Line
			line := lines[key.Line-1]
			for _, empty := range []string{"{}", "null", "~"} {
				if val.Line == key.Line && strings.HasPrefix(line[min(val.Column-1, len(line)):], empty) {
					line = strings.TrimRight(line[:val.Column-1]+strings.TrimPrefix(line[val.Column-1:], empty), " ")
				}
			}
			lines[key.Line-1] = line
			add = indented(text, key.Column+1)
		}
	}
	lines = slices.Insert(lines, place, add...)
	out := strings.Join(lines, "\n")
	if !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	return []byte(strings.ReplaceAll(out, "\n", newline)), nil
}

// lastContent is the number of the last line before end that holds more than a
// comment.
func lastContent(lines []string, end int) int {
	for end > 0 {
		line := strings.TrimSpace(lines[end-1])
		if line != "" && line[0] != '#' && line != "..." {
			break
		}
		end--
	}
	return end
}

// blankBetween: the writer parts rules with empty lines; one rule alone is
// parted from the new one as well.
func blankBetween(lines []string, rules *yaml.Node) bool {
	for i := 2; i < len(rules.Content); i += 2 {
		if last := lastContent(lines, rules.Content[i].Line-1); last == rules.Content[i].Line-1 || strings.TrimSpace(lines[last]) != "" {
			return false
		}
	}
	return true
}

func indent(n int) string { return strings.Repeat(" ", max(n, 0)) }

func indented(text string, n int) (out []string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if line != "" {
			line = indent(n) + line
		}
		out = append(out, line)
	}
	return out
}
