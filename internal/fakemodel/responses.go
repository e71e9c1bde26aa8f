package fakemodel

import (
	"encoding/json"
	"net/http"
	"strings"
)

type responsesRequest struct {
	Model  string          `json:"model"`
	Stream bool            `json:"stream"`
	Tools  []responsesTool `json:"tools"`
	Input  json.RawMessage `json:"input"`
}

type responsesTool struct {
	Type       string          `json:"type"`
	Name       string          `json:"name"`
	Parameters schema          `json:"parameters"`
	Tools      []responsesTool `json:"tools"` // of a namespace
}

type responsesItem struct {
	Type   string          `json:"type"`
	Tools  []responsesTool `json:"tools"` // newer Codex offers its tools in the input
	CallID string          `json:"call_id"`
	Output json.RawMessage `json:"output"`
}

func (q responsesRequest) asked() asked {
	a := asked{Model: q.Model, Stream: q.Stream}
	a.offer("", q.Tools)
	var items []responsesItem
	if json.Unmarshal(q.Input, &items) != nil {
		return a // a plain string
	}
	for _, it := range items {
		switch {
		case it.Type == "additional_tools":
			a.offer("", it.Tools)
		case !ours(it.CallID):
		case strings.HasSuffix(it.Type, "_output"):
			a.Results = append(a.Results, plainText(it.Output))
		case strings.HasSuffix(it.Type, "_call"):
			a.Done++
		}
	}
	return a
}

func (a *asked) offer(namespace string, tools []responsesTool) {
	for _, t := range tools {
		if t.Type == "namespace" {
			a.offer(t.Name, t.Tools)
			continue
		}
		a.Tools = append(a.Tools, tool{Kind: t.Type, Namespace: namespace, Name: t.Name, Schema: t.Parameters})
	}
}

// responses is POST /v1/responses.
func (s *Server) responses(w http.ResponseWriter, _ *http.Request, rec *Request) {
	var q responsesRequest
	if err := json.Unmarshal(rec.Body, &q); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request_error", "read body: "+err.Error())
		return
	}
	a := q.asked()
	rec.note(a)
	out := s.answer(a)

	var items []map[string]any
	if out.Text != "" {
		items = append(items, map[string]any{"type": "message", "id": "msg_creel", "status": "completed", "role": "assistant",
			"content": []any{textPart(out.Text)}})
	}
	if c := out.Call; c != nil {
		items = append(items, callItem(c))
	}
	resp := map[string]any{"id": "resp_creel", "object": "response", "created_at": 1, "model": a.Model, "status": "completed",
		"output": items, "usage": map[string]any{"input_tokens": len(rec.Body)/4 + 1, "output_tokens": 1,
			"input_tokens_details":  map[string]any{"cached_tokens": 0},
			"output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": len(rec.Body)/4 + 2}}
	if !a.Stream {
		writeJSON(w, resp)
		return
	}
	ev := &responseEvents{events: newEvents(w)}
	begun := map[string]any{"id": "resp_creel", "object": "response", "created_at": 1, "model": a.Model,
		"status": "in_progress", "output": []any{}}
	ev.send("response.created", map[string]any{"response": begun})
	ev.send("response.in_progress", map[string]any{"response": begun})
	for i, item := range items {
		ev.item(i, item, out.Text)
	}
	ev.send("response.completed", map[string]any{"response": resp})
}

func textPart(text string) map[string]any {
	return map[string]any{"type": "output_text", "text": text, "annotations": []any{}}
}

// callItem is a tool call in the shape that belongs to the kind of the tool.
func callItem(c *call) map[string]any {
	item := map[string]any{"id": "fc_" + c.ID, "call_id": c.ID, "status": "completed"}
	switch c.Tool.Kind {
	case "custom":
		item["type"], item["name"], item["input"] = "custom_tool_call", c.Tool.Name, c.Text
	case "local_shell":
		item["type"] = "local_shell_call"
		item["action"] = map[string]any{"type": "exec", "command": c.Input, "env": map[string]any{}}
		return item
	default:
		item["type"], item["name"], item["arguments"] = "function_call", c.Tool.Name, string(c.Input)
	}
	if c.Tool.Namespace != "" {
		item["namespace"] = c.Tool.Namespace
	}
	return item
}

// responseEvents numbers the events, and repeats their name in the data.
type responseEvents struct {
	*events
	seq int
}

func (e *responseEvents) send(name string, v map[string]any) {
	v["type"], v["sequence_number"] = name, e.seq
	e.seq++
	e.events.send(name, v)
}

// item sends the events of one output item.
func (e *responseEvents) item(i int, item map[string]any, text string) {
	begun := map[string]any{}
	for k, v := range item {
		begun[k] = v
	}
	begun["status"] = "in_progress"
	at := func(m map[string]any) map[string]any {
		m["output_index"], m["item_id"] = i, item["id"]
		return m
	}
	switch item["type"] {
	case "message":
		begun["content"] = []any{}
		e.send("response.output_item.added", map[string]any{"output_index": i, "item": begun})
		e.send("response.content_part.added", at(map[string]any{"content_index": 0, "part": textPart("")}))
		for _, p := range pieces(text) {
			e.send("response.output_text.delta", at(map[string]any{"content_index": 0, "delta": p}))
		}
		e.send("response.output_text.done", at(map[string]any{"content_index": 0, "text": text}))
		e.send("response.content_part.done", at(map[string]any{"content_index": 0, "part": textPart(text)}))
	case "function_call":
		begun["arguments"] = ""
		e.send("response.output_item.added", map[string]any{"output_index": i, "item": begun})
		for _, p := range pieces(item["arguments"].(string)) {
			e.send("response.function_call_arguments.delta", at(map[string]any{"delta": p}))
		}
		e.send("response.function_call_arguments.done", at(map[string]any{"arguments": item["arguments"]}))
	default:
		e.send("response.output_item.added", map[string]any{"output_index": i, "item": begun})
	}
	e.send("response.output_item.done", map[string]any{"output_index": i, "item": item})
}
