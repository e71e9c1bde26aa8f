package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// outcome is what the tests of one line came to.
type outcome struct {
	passed, failed []string // users
	ways           []string
	tests          []string
}

// tests is what `go test -json` told.
type tests struct {
	lines map[string]*outcome
	users []string
	bad   bool
	log   strings.Builder // of the tests that failed
}

var (
	// verdict is the end of a test, also of the ordinary user's half, which is
	// printed into the log of the test that started it.
	verdict = regexp.MustCompile(`--- (PASS|FAIL|SKIP): (Test\w+)((?:/[^/\s]+)*)/(escape_\S+) \(`)
	tried   = regexp.MustCompile(`\bescape (\S+) way=(\S+) user=(\S+)$`)
	anID    = regexp.MustCompile(`[A-Z]+-\d\d`)
)

// readTests reads the output of `go test -json`.
func readTests(r io.Reader) (*tests, error) {
	t := &tests{lines: map[string]*outcome{}}
	logs := map[string]*strings.Builder{}
	for d := json.NewDecoder(r); ; {
		var e struct{ Action, Test, Output string }
		if err := d.Decode(&e); err == io.EOF {
			return t, nil
		} else if err != nil {
			return nil, fmt.Errorf("read output of go test: %w", err)
		}
		switch e.Action {
		case "output", "build-output":
			if logs[e.Test] == nil {
				logs[e.Test] = &strings.Builder{}
			}
			logs[e.Test].WriteString(e.Output)
			t.output(strings.TrimRight(e.Output, "\n"))
		case "fail", "build-fail":
			t.bad = true
			if l := logs[e.Test]; l != nil {
				t.log.WriteString(l.String())
			}
		}
	}
}

func (t *tests) output(text string) {
	if m := tried.FindStringSubmatch(text); m != nil {
		for _, id := range anID.FindAllString(m[1], -1) {
			o := t.line(id)
			add(&o.ways, m[2])
		}
		return
	}
	m := verdict.FindStringSubmatch(text)
	if m == nil {
		return
	}
	user := "user"
	if strings.HasPrefix(m[3]+"/", "/root/") {
		user = "root"
	}
	add(&t.users, user)
	for _, id := range anID.FindAllString(m[4], -1) {
		o := t.line(id)
		add(&o.tests, m[2])
		if m[1] == "PASS" {
			add(&o.passed, user)
		} else { // a line that is skipped is not held
			add(&o.failed, user)
		}
	}
}

func (t *tests) line(id string) *outcome {
	if t.lines[id] == nil {
		t.lines[id] = &outcome{}
	}
	return t.lines[id]
}

func add(list *[]string, s string) {
	if !slices.Contains(*list, s) {
		*list = append(*list, s)
		slices.Sort(*list)
	}
}
