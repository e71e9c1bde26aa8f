package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// result is one line of the report. Result is pass, fail, missing (neither a
// test nor a reason), or the state of its row in docs/THREATS.md.
type result struct {
	ID     string   `json:"id"`
	Title  string   `json:"title"`
	Result string   `json:"result"`
	Ways   []string `json:"ways,omitempty"`
	Users  []string `json:"users,omitempty"`
	Tests  []string `json:"tests,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

const (
	pass    = "pass"
	fail    = "fail"
	missing = "missing"
)

// judge joins the catalogue, the tests and the reasons.
func judge(list []line, threats map[string]threat, t *tests, excused map[string]string) []result {
	var all []result
	for _, l := range list {
		r := result{ID: l.id, Title: l.title}
		th := threats[l.id]
		o := t.lines[l.id]
		switch {
		case o != nil && len(o.tests) > 0:
			r.Ways, r.Tests = o.ways, o.tests
			// Whoever tried another line has to have tried this one.
			r.Result, r.Users = pass, o.passed
			if len(o.failed) > 0 || len(o.passed) < len(t.users) {
				r.Result = fail
			}
			if th.state == "partly" {
				r.Reason = th.text
			}
			if missing := lacks(l.id, o.ways, excused); len(missing) > 0 {
				r.Result, r.Reason = fail, "not tried by "+strings.Join(missing, ", ")
			}
		case th.reason() != "":
			r.Result, r.Reason = th.state, th.reason()
		default:
			r.Result = missing
		}
		all = append(all, r)
	}
	return all
}

// bad reports whether a line has neither a test that passed nor a reason.
func bad(all []result) bool {
	for _, r := range all {
		if r.Result == fail || r.Result == missing {
			return true
		}
	}
	return false
}

// write prints the report: a table for people, or JSON.
func write(w io.Writer, all []result, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	var b strings.Builder
	count := map[string]int{}
	fmt.Fprintf(&b, "%-8s %-8s %-10s %s\n", "ID", "RESULT", "USERS", "ATTACK · ways in · reason")
	for _, r := range all {
		count[r.Result]++
		fmt.Fprintf(&b, "%-8s %-8s %-10s %s", r.ID, r.Result, strings.Join(r.Users, ","), r.Title)
		if len(r.Ways) > 0 {
			b.WriteString(" · " + strings.Join(r.Ways, ", "))
		}
		if r.Reason != "" {
			b.WriteString(" · " + r.Reason)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d lines:", len(all))
	for _, k := range []string{pass, fail, missing, "absent", "partly", "open", "later"} {
		if count[k] > 0 {
			fmt.Fprintf(&b, " %d %s", count[k], k)
		}
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}
