package fakemodel

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// asked is what a request of any protocol says, as far as a script needs it.
type asked struct {
	Model   string
	Stream  bool
	Tools   []tool
	Done    int      // calls of ours that the conversation already holds
	Results []string // what came back for them, in order
}

// tool is a tool that the agent offers.
type tool struct {
	Kind      string // function, custom, local_shell …
	Namespace string // of the responses protocol; usually empty
	Name      string
	Schema    schema
}

type schema struct {
	Properties map[string]property `json:"properties"`
	Required   []string            `json:"required"`
}

type property struct {
	Type any `json:"type"` // a string, or a list of them
}

func (p property) is(kind string) bool {
	if s, ok := p.Type.(string); ok {
		return s == kind
	}
	list, _ := p.Type.([]any)
	return slices.Contains(list, any(kind))
}

// answer is one turn of the model.
type answer struct {
	Text string
	Call *call
}

// call is a tool call. Input is a JSON object, or the bare text for custom tools.
type call struct {
	ID    string
	Tool  tool
	Input json.RawMessage
	Text  string
}

// idPrefix marks the calls of this package, with their number behind it. Letters
// and digits alone: some agents take everything else out of an id.
const idPrefix = "callcreel"

// resultBytes bounds how much of a tool's result the last answer quotes.
const resultBytes = 4 << 10

// answer picks what comes next in the script for a request.
func (s *Server) answer(a asked) answer {
	turns := s.conf.Script.turns()
	n := min(a.Done, len(turns)-1)
	out := answer{Text: strings.Join(turns[n].say, "\n")}
	step := turns[n].call
	switch {
	case len(a.Tools) == 0 && step != nil:
		// A side request (titles, quota probes, summaries): it cannot play the script.
		return answer{Text: "ok"}
	case step == nil:
		if len(a.Results) > 0 {
			out.Text = strings.TrimSpace(out.Text + "\n\nLast results:\n" + quote(a.Results))
		}
		if out.Text == "" {
			out.Text = "Done."
		}
		return out
	}
	c, err := makeCall(step, a.Tools)
	if err != nil {
		return answer{Text: err.Error()}
	}
	c.ID = idPrefix + strconv.Itoa(a.Done)
	out.Call = c
	return out
}

func quote(results []string) string {
	all := strings.Join(results, "\n---\n")
	if len(all) > resultBytes {
		all = "…" + strings.ToValidUTF8(all[len(all)-resultBytes:], "")
	}
	return all
}

// ours reports whether a call id was given out by this package.
func ours(id string) bool { return strings.HasPrefix(id, idPrefix) }

// The tools of known agents, best first: Claude Code, Codex, Gemini CLI, OpenCode and OpenClaw, others.
var (
	shellTools = []string{"Bash", "exec_command", "shell_command", "shell", "container.exec", "local_shell", "run_shell_command", "bash", "exec", "execute_command", "process"}
	writeTools = []string{"Write", "write_file", "write"}
	readTools  = []string{"Read", "read_file", "read"}
	fetchTools = []string{"web_fetch", "webfetch"}
)

func makeCall(step *Step, offered []tool) (*call, error) {
	cmd, known, own := step.Run, map[string]string{}, []string(nil)
	switch w := step.Write; {
	case w != nil:
		own, cmd = writeTools, "printf %s "+shellQuote(w.Content)+" > "+shellQuote(w.Path)
		known = map[string]string{"file_path": w.Path, "filePath": w.Path, "path": w.Path, "content": w.Content}
	case step.Read != "":
		own, cmd = readTools, "cat "+shellQuote(step.Read)
		known = map[string]string{"file_path": step.Read, "filePath": step.Read, "path": step.Read, "absolute_path": step.Read}
	case step.Fetch != "":
		own, cmd = fetchTools, "curl -sS "+shellQuote(step.Fetch)
		known = map[string]string{"url": step.Fetch, "prompt": "Say what is at " + step.Fetch, "format": "text"}
	}
	if t := pick(offered, own); t != nil {
		return objectCall(*t, known)
	}
	t := pick(offered, shellTools)
	if t == nil {
		return nil, fmt.Errorf("fake model: no shell tool among %s", names(offered))
	}
	switch t.Kind {
	case "custom": // code mode: the input is a program that calls the nested tools
		arg, _ := json.Marshal(cmd)
		return &call{Tool: *t, Text: "text(await tools.exec_command({cmd: " + string(arg) + "}));"}, nil
	case "local_shell":
		in, _ := json.Marshal([]string{"bash", "-lc", cmd})
		return &call{Tool: *t, Input: in}, nil
	}
	return objectCall(*t, map[string]string{"command": cmd, "cmd": cmd})
}

// objectCall fills a tool's parameters by name, and required ones that it does
// not know with something that does no harm.
func objectCall(t tool, known map[string]string) (*call, error) {
	args := map[string]any{}
	for name, p := range t.Schema.Properties {
		value, ok := known[name]
		switch {
		case ok && p.is("array"):
			args[name] = []string{"bash", "-lc", value}
		case ok:
			args[name] = value
		case !slices.Contains(t.Schema.Required, name):
		case p.is("string"):
			args[name] = "a step of the script"
		case p.is("boolean"):
			args[name] = false
		case p.is("number"), p.is("integer"):
			args[name] = 1
		}
	}
	in, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("fake model: make call of %s: %w", t.Name, err)
	}
	return &call{Tool: t, Input: in}, nil
}

func pick(offered []tool, wanted []string) *tool {
	for _, w := range wanted {
		for i := range offered {
			if offered[i].Name == w || offered[i].Kind == w {
				return &offered[i]
			}
		}
	}
	return nil
}

func names(offered []tool) string {
	var out []string
	for _, t := range offered {
		out = append(out, t.Kind+":"+t.Name)
	}
	return strings.Join(out, ", ")
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
