package main

import (
	"fmt"
	"slices"
	"strings"
)

// everyWay are the ways over the network by which a line has to be tried, and
// wayGroups the groups whose lines it is about.
var (
	everyWay  = []string{"transparent", "connect", "absolute", "cleared"}
	wayGroups = []string{"HTTP", "TLS", "DNS", "IP", "NET", "EXF", "PROC", "DOS"}
)

// parseWays reads testdata/attack-ways.txt: the lines that need not be tried on
// every way, each with its reason.
func parseWays(text string, list []line) (excused map[string]string, err error) {
	excused = map[string]string{}
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if strings.HasPrefix(l, "#") {
			continue
		}
		id, reason, ok := strings.Cut(l, " ")
		known := slices.ContainsFunc(list, func(l line) bool { return l.id == id })
		if !ok || reason == "" || !known || excused[id] != "" {
			return nil, fmt.Errorf("parse ways of attacks: %q is not a new line of the list and a reason", l)
		}
		excused[id] = reason
	}
	return excused, nil
}

// lacks are the ways on which a line was not tried, and has to be.
func lacks(id string, ways []string, excused map[string]string) (missing []string) {
	group, _, _ := strings.Cut(id, "-")
	if !slices.Contains(wayGroups, group) || excused[id] != "" {
		return nil
	}
	for _, w := range everyWay {
		if !slices.Contains(ways, w) {
			missing = append(missing, w)
		}
	}
	return missing
}
