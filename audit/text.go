package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// caller names a program, and keeps the kernel's word apart from the agent's.
func caller(binary string, unverified bool, script string) string {
	if unverified {
		binary += " (unverified)"
	}
	if script != "" {
		binary += " (script, by its own word: " + script + ")"
	}
	return binary
}

// Text is the event on one line for people, escaped.
func (e Event) Text() string {
	var b strings.Builder
	b.WriteString(e.Time.Local().Format("15:04:05.000"))
	fmt.Fprintf(&b, " %-17s", e.Kind)
	add := func(label, v string) {
		if v != "" {
			b.WriteString(" " + label + v)
		}
	}
	add("", e.Verdict)
	add("", e.Method)
	target := e.Host
	if e.Port != 0 {
		target = fmt.Sprintf("%s:%d", e.Host, e.Port)
	}
	add("", target+e.Path)
	if e.Status != 0 {
		add("", fmt.Sprint(e.Status))
	}
	add("model ", e.Model)
	add("by ", caller(e.Binary, e.Unverified, e.Script))
	if e.BytesIn != 0 || e.BytesOut != 0 {
		add("", size(e.BytesIn)+" in, "+size(e.BytesOut)+" out")
	}
	if e.Millis != 0 {
		add("", fmt.Sprintf("%d ms", e.Millis))
	}
	add("rule ", e.Rule)
	if e.RuleAt != "" {
		add("", "("+e.RuleAt+")")
	}
	if e.Reason != "" {
		add("— ", e.Reason)
	}
	for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
		v := e.Detail[k]
		if k == RuleMissing {
			v = OneLine(strings.TrimRight(v, "\n"))
		}
		add(k+"=", v)
	}
	return Printable(b.String())
}
