package main

import (
	"fmt"
	"regexp"
	"strings"
)

// line is a line of the catalogue.
type line struct{ id, title string }

var (
	listed    = regexp.MustCompile(`^([A-Z]+-\d\d) (.+)$`)
	catalogue = regexp.MustCompile(`(?m)^- \*\*([A-Z]+-\d\d)\b`)
	row       = regexp.MustCompile(`(?m)^\| ([A-Z]+-\d\d) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$`)
)

// parseList reads testdata/attacks.txt.
func parseList(text string) ([]line, error) {
	var list []line
	seen := map[string]bool{}
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if strings.HasPrefix(l, "#") {
			continue
		}
		m := listed.FindStringSubmatch(l)
		if m == nil || seen[m[1]] {
			return nil, fmt.Errorf("parse list of attacks: %q is not a new ID and its title", l)
		}
		seen[m[1]] = true
		list = append(list, line{m[1], m[2]})
	}
	return list, nil
}

// difference are the IDs that only one of the list and the catalogue has.
func difference(list []line, text string) (faults []string) {
	have := map[string]bool{}
	for _, l := range list {
		have[l.id] = true
	}
	for _, m := range catalogue.FindAllStringSubmatch(text, -1) {
		if !have[m[1]] {
			faults = append(faults, m[1]+" of the catalogue is not in testdata/attacks.txt")
		}
		have[m[1]] = false
	}
	for _, l := range list {
		if have[l.id] {
			faults = append(faults, l.id+" is not in the catalogue any more")
		}
	}
	return faults
}

// threat is a row of docs/THREATS.md.
type threat struct{ state, text string }

// reason is why a line may have no test; a line that is held must have one.
func (t threat) reason() string {
	if t.state == "held" {
		return ""
	}
	return t.text
}

func parseThreats(text string) map[string]threat {
	rows := map[string]threat{}
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		rows[m[1]] = threat{strings.TrimSpace(m[3]), strings.TrimSpace(m[4])}
	}
	return rows
}
