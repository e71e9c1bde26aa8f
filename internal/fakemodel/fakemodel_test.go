package fakemodel_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/internal/fakemodel"
	"github.com/google/go-cmp/cmp"
)

const script = `
# a comment
say I will work.
write hello.txt hello
run curl ok.test
say Finished.
`

func TestParseScript(t *testing.T) {
	got, err := fakemodel.ParseScript(strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	want := fakemodel.Script{{Say: "I will work."}, {Write: &fakemodel.File{Path: "hello.txt", Content: "hello\n"}},
		{Run: "curl ok.test"}, {Say: "Finished."}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"jump x", "run", "write path"} {
		if _, err := fakemodel.ParseScript(strings.NewReader("say x\n" + bad)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

type object = map[string]any

// client is the least that an agent does in one protocol.
type client struct {
	name, path, streamPath, keyHeader string
	tools                             any
	request                           func(conversation []any) object
	// turn reads an answer: its text, its call (name and input), and what goes
	// into the conversation with the call's result.
	turn func(t *testing.T, answer object, result string) (text, name, input string, add []any)
	// whole puts an answer together from the events of a stream.
	whole func(t *testing.T, events []object) object
}

func str(v any) string { s, _ := v.(string); return s }

func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(object)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func text(v any) string { b, _ := json.Marshal(v); return string(b) }

var params = object{"type": "object", "required": []string{"command", "why"},
	"properties": object{"command": object{"type": "string"}, "why": object{"type": "string"}, "other": object{"type": "string"}}}

var writeParams = object{"type": "object", "properties": object{"file_path": object{"type": "string"}, "content": object{"type": "string"}}}

func clients() []client {
	return []client{
		{
			name: "anthropic", path: "/v1/messages", keyHeader: "X-Api-Key",
			tools: []any{object{"name": "Bash", "input_schema": params}, object{"name": "Write", "input_schema": writeParams}},
			request: func(c []any) object {
				return object{"model": "m", "messages": append([]any{object{"role": "user", "content": "go"}}, c...)}
			},
			turn: func(t *testing.T, a object, result string) (say, name, input string, add []any) {
				blocks, _ := a["content"].([]any)
				for _, b := range blocks {
					switch dig(b, "type") {
					case "text":
						say = str(dig(b, "text"))
					case "tool_use":
						name, input = str(dig(b, "name")), text(dig(b, "input"))
						add = []any{object{"role": "assistant", "content": blocks}, object{"role": "user", "content": []any{
							object{"type": "tool_result", "tool_use_id": dig(b, "id"), "content": []any{object{"type": "text", "text": result}}}}}}
					}
				}
				if (a["stop_reason"] == "tool_use") != (name != "") {
					t.Errorf("stop_reason %v", a["stop_reason"])
				}
				return
			},
			whole: func(t *testing.T, events []object) object {
				if events[0]["type"] != "message_start" || events[len(events)-1]["type"] != "message_stop" {
					t.Errorf("events begin with %v and end with %v", events[0], events[len(events)-1])
				}
				out := events[0]["message"].(object)
				var blocks []any
				var partial string
				for _, e := range events {
					switch e["type"] {
					case "content_block_start":
						blocks, partial = append(blocks, e["content_block"]), ""
					case "content_block_delta":
						b := blocks[len(blocks)-1].(object)
						if b["type"] == "text" {
							b["text"] = str(b["text"]) + str(dig(e, "delta", "text"))
							continue
						}
						partial += str(dig(e, "delta", "partial_json"))
					case "content_block_stop":
						if b := blocks[len(blocks)-1].(object); b["type"] == "tool_use" {
							var in any
							if err := json.Unmarshal([]byte(partial), &in); err != nil {
								t.Error(err)
							}
							b["input"] = in
						}
					case "message_delta":
						out["stop_reason"] = dig(e, "delta", "stop_reason")
					}
				}
				out["content"] = blocks
				return out
			},
		},
		{
			name: "chat", path: "/v1/chat/completions", keyHeader: "Authorization",
			tools: []any{object{"type": "function", "function": object{"name": "bash", "parameters": params}}},
			request: func(c []any) object {
				return object{"model": "m", "messages": append([]any{object{"role": "user", "content": "go"}}, c...)}
			},
			turn: func(t *testing.T, a object, result string) (say, name, input string, add []any) {
				msg := dig(a, "choices", 0, "message")
				call := dig(msg, "tool_calls", 0)
				if (dig(a, "choices", 0, "finish_reason") == "tool_calls") != (call != nil) {
					t.Errorf("finish_reason %v", dig(a, "choices", 0, "finish_reason"))
				}
				if call != nil {
					add = []any{msg, object{"role": "tool", "tool_call_id": dig(call, "id"), "content": result}}
				}
				return str(dig(msg, "content")), str(dig(call, "function", "name")), str(dig(call, "function", "arguments")), add
			},
			whole: func(t *testing.T, events []object) object {
				var say, args string
				var call, finish any
				for _, e := range events {
					d := dig(e, "choices", 0, "delta")
					say += str(dig(d, "content"))
					if c := dig(d, "tool_calls", 0); c != nil {
						if call == nil {
							call = c
						}
						args += str(dig(c, "function", "arguments"))
					}
					if f := dig(e, "choices", 0, "finish_reason"); f != nil {
						finish = f
					}
				}
				msg := object{"role": "assistant", "content": say}
				if call != nil {
					dig(call, "function").(object)["arguments"] = args
					msg["tool_calls"] = []any{call}
				}
				return object{"choices": []any{object{"message": msg, "finish_reason": finish}}}
			},
		},
		{
			name: "responses", path: "/v1/responses", keyHeader: "Authorization",
			tools:   []any{object{"type": "function", "name": "exec_command", "parameters": object{"properties": object{"cmd": object{"type": "string"}}}}},
			request: func(c []any) object { return object{"model": "m", "input": append([]any{}, c...)} },
			turn: func(t *testing.T, a object, result string) (say, name, input string, add []any) {
				items, _ := a["output"].([]any)
				for _, it := range items {
					switch dig(it, "type") {
					case "message":
						say = str(dig(it, "content", 0, "text"))
					case "function_call":
						name, input = str(dig(it, "name")), str(dig(it, "arguments"))
						add = append(slices.Clone(items), object{"type": "function_call_output", "call_id": dig(it, "call_id"), "output": result})
					}
				}
				return
			},
			whole: func(t *testing.T, events []object) object {
				last := events[len(events)-1]
				if events[0]["type"] != "response.created" || last["type"] != "response.completed" {
					t.Errorf("events begin with %v and end with %v", events[0]["type"], last["type"])
				}
				var items []any
				var deltas string
				for i, e := range events {
					if e["sequence_number"] != float64(i) {
						t.Errorf("event %d has number %v", i, e["sequence_number"])
					}
					switch e["type"] {
					case "response.output_text.delta":
						deltas += str(e["delta"])
					case "response.output_item.done":
						items = append(items, e["item"])
					}
				}
				for _, it := range items {
					if dig(it, "type") == "message" && dig(it, "content", 0, "text") != deltas {
						t.Errorf("deltas %q, item %v", deltas, it)
					}
				}
				if d := cmp.Diff(dig(last, "response", "output"), any(items)); d != "" {
					t.Error(d)
				}
				return object{"output": items}
			},
		},
		{
			name: "gemini", path: "/v1beta/models/m:generateContent", streamPath: "/v1beta/models/m:streamGenerateContent?alt=sse", keyHeader: "X-Goog-Api-Key",
			tools: []any{object{"functionDeclarations": []any{object{"name": "run_shell_command",
				"parameters": object{"type": "OBJECT", "properties": object{"command": object{"type": "STRING"}}}}}}},
			request: func(c []any) object {
				return object{"contents": append([]any{object{"role": "user", "parts": []any{object{"text": "go"}}}}, c...)}
			},
			turn: func(t *testing.T, a object, result string) (say, name, input string, add []any) {
				parts, _ := dig(a, "candidates", 0, "content", "parts").([]any)
				for _, p := range parts {
					say += str(dig(p, "text"))
					if c := dig(p, "functionCall"); c != nil {
						name, input = str(dig(c, "name")), text(dig(c, "args"))
						add = []any{object{"role": "model", "parts": parts}, object{"role": "user", "parts": []any{
							object{"functionResponse": object{"name": name, "response": object{"output": result}}}}}}
					}
				}
				return
			},
			whole: func(t *testing.T, events []object) object {
				var parts []any
				for _, e := range events {
					p, _ := dig(e, "candidates", 0, "content", "parts").([]any)
					parts = append(parts, p...)
				}
				if f := dig(events[len(events)-1], "candidates", 0, "finishReason"); f != "STOP" {
					t.Errorf("finishReason %v", f)
				}
				return object{"candidates": []any{object{"content": object{"parts": parts}}}}
			},
		},
	}
}

// Each protocol, streamed and not, plays the whole script to a client that does
// what agents do.
func TestScriptIsPlayed(t *testing.T) {
	steps, err := fakemodel.ParseScript(strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clients() {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s stream %v", c.name, stream), func(t *testing.T) {
				var log bytes.Buffer
				m := fakemodel.New(fakemodel.Config{Script: steps, Key: "k", Log: &log})
				srv := httptest.NewServer(m)
				defer srv.Close()
				var talk []any
				var got []string
				for i := range 3 {
					answer := ask(t, c, srv.URL, talk, stream)
					say, name, input, add := c.turn(t, answer, fmt.Sprintf("result %d", i))
					got = append(got, say+" | "+name+" | "+input)
					talk = append(talk, add...)
				}
				first, second := `{"command":"printf %s 'hello\n' \u003e 'hello.txt'"}`, `{"command":"curl ok.test"}`
				tool := map[string]string{"chat": "bash", "responses": "exec_command", "gemini": "run_shell_command", "anthropic": "Bash"}[c.name]
				if c.name == "responses" {
					first, second = strings.Replace(first, "command", "cmd", 1), strings.Replace(second, "command", "cmd", 1)
				}
				if c.name == "anthropic" || c.name == "chat" { // the other members of params
					second = `{"command":"curl ok.test","why":"a step of the script"}`
					first = strings.Replace(first, "}", `,"why":"a step of the script"}`, 1)
				}
				firstTool := tool
				if c.name == "anthropic" {
					firstTool, first = "Write", `{"content":"hello\n","file_path":"hello.txt"}`
				}
				first = strings.ReplaceAll(first, "'hello\n'", `'hello\n'`)
				want := []string{
					"I will work. | " + firstTool + " | " + first,
					" | " + tool + " | " + second,
					"Finished.\n\nLast results:\n" + results(c.name) + " |  | ",
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
				reqs := m.Requests()
				if len(reqs) != 3 || reqs[0].Key != "k" || len(reqs[2].Results) != 2 || reqs[0].Model != "m" || len(reqs[0].Tools) == 0 {
					t.Errorf("requests: %+v", reqs)
				}
				if n := strings.Count(log.String(), `"key":"expected"`); n != 3 {
					t.Errorf("log: %s", log.String())
				}
			})
		}
	}
}

func results(protocol string) string {
	if protocol == "gemini" {
		return `{"output":"result 0"}` + "\n---\n" + `{"output":"result 1"}`
	}
	return "result 0\n---\nresult 1"
}

func ask(t *testing.T, c client, base string, talk []any, stream bool) object {
	t.Helper()
	q := c.request(talk)
	q["tools"] = c.tools
	path := c.path
	if stream {
		q["stream"] = true
		if c.streamPath != "" {
			path = c.streamPath
		}
	}
	resp := send(t, base+path, c.keyHeader, "k", text(q))
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("status %d: %s", resp.StatusCode, b)
	}
	if !stream {
		var out object
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	var events []object
	var name string
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = n
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var e object
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatal(err)
		}
		if name != "" && e["type"] != name {
			t.Errorf("event %q holds %v", name, e["type"])
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		t.Fatal("the stream holds no event")
	}
	return c.whole(t, events)
}

func send(t *testing.T, url, keyHeader, key, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if keyHeader == "Authorization" {
		key = "Bearer " + key
	}
	req.Header.Set(keyHeader, key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestWrongKeyAndUnknownPath(t *testing.T) {
	var log bytes.Buffer
	m := fakemodel.New(fakemodel.Config{Key: "right-one", Log: &log})
	srv := httptest.NewServer(m)
	defer srv.Close()
	for _, c := range clients() {
		resp := send(t, srv.URL+c.path, c.keyHeader, "wrong-one", text(c.request(nil)))
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("%s: status %d", c.name, resp.StatusCode)
		}
	}
	resp := send(t, srv.URL+"/v1/files", "Authorization", "right-one", "{}")
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("unknown path: %d", resp.StatusCode)
	}
	if strings.Contains(log.String(), "-one") || strings.Count(log.String(), `"key":"other"`) != 4 {
		t.Errorf("log: %s", log.String())
	}
}

// Requests without tools (titles, probes) do not play the script.
func TestSideRequest(t *testing.T) {
	srv := httptest.NewServer(fakemodel.New(fakemodel.Config{Script: fakemodel.Script{{Run: "x"}}}))
	defer srv.Close()
	resp := send(t, srv.URL+"/v1/messages", "X-Api-Key", "", `{"model":"m","messages":[]}`)
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); !bytes.Contains(b, []byte(`"text":"ok"`)) || bytes.Contains(b, []byte("tool_use")) {
		t.Errorf("got %s", b)
	}
}

// Codex offers its tools in the input, as one that takes a program.
func TestCodeMode(t *testing.T) {
	srv := httptest.NewServer(fakemodel.New(fakemodel.Config{Script: fakemodel.Script{{Run: `echo "x"`}}}))
	defer srv.Close()
	ask := `{"model":"m","input":[{"type":"additional_tools","tools":[{"type":"namespace","name":"functions","tools":[{"type":"custom","name":"exec"}]}]}`
	resp := send(t, srv.URL+"/v1/responses", "Authorization", "", ask+"]}")
	var out object
	err := json.NewDecoder(resp.Body).Decode(&out)
	resp.Body.Close()
	call := dig(out, "output", 0)
	if err != nil || dig(call, "type") != "custom_tool_call" || dig(call, "namespace") != "functions" ||
		dig(call, "input") != `text(await tools.exec_command({cmd: "echo \"x\""}));` {
		t.Fatalf("%v, %v", out, err)
	}
	resp = send(t, srv.URL+"/v1/responses", "Authorization", "", ask+","+text(call)+`,{"type":"custom_tool_call_output","call_id":"`+str(dig(call, "call_id"))+`","output":"the result"}]}`)
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); !bytes.Contains(b, []byte("the result")) {
		t.Errorf("got %s", b)
	}
}
