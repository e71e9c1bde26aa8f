package fakemodel

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Step is one thing that the model wants: exactly one member is set.
type Step struct {
	Say   string // text; shown together with the next call
	Run   string // a shell command
	Write *File  // a file to create, through the agent's own file tool if it has one
	Read  string // a file to read, in the same way
	Fetch string // a URL to get through the agent's own tool, or curl if it has none
}

// File is the content of one file.
type File struct{ Path, Content string }

// Script is what the model does, turn by turn. After its last step it answers
// with a text that quotes the results of the last calls.
type Script []Step

// ParseScript reads one step per line: "say TEXT", "run COMMAND",
// "read PATH", "fetch URL" or "write PATH TEXT" (a newline is added to TEXT). Empty lines and lines that
// start with # are skipped.
func ParseScript(r io.Reader) (Script, error) {
	var out Script
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if rest == "" {
			return nil, fmt.Errorf("read script: line %d: %q needs an argument", n, word)
		}
		switch word {
		case "say":
			out = append(out, Step{Say: rest})
		case "run":
			out = append(out, Step{Run: rest})
		case "read":
			out = append(out, Step{Read: rest})
		case "fetch":
			out = append(out, Step{Fetch: rest})
		case "write":
			path, content, ok := strings.Cut(rest, " ")
			if !ok {
				return nil, fmt.Errorf("read script: line %d: write needs a path and a text", n)
			}
			out = append(out, Step{Write: &File{Path: path, Content: content + "\n"}})
		default:
			return nil, fmt.Errorf("read script: line %d: unknown step %q (say, run, read, fetch, write)", n, word)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	return out, nil
}

// turns groups the steps by answer: texts go with the call after them.
func (s Script) turns() []turn {
	var out []turn
	var cur turn
	for i := range s {
		if s[i].Say != "" {
			cur.say = append(cur.say, s[i].Say)
			continue
		}
		cur.call = &s[i]
		out = append(out, cur)
		cur = turn{}
	}
	return append(out, cur) // the closing answer, without a call
}

type turn struct {
	say  []string
	call *Step
}
