package fakemodel

import (
	"encoding/json"
	"net/http"
	"strings"
)

type anthropicRequest struct {
	Model  string `json:"model"`
	Stream bool   `json:"stream"`
	Tools  []struct {
		Type   string `json:"type"`
		Name   string `json:"name"`
		Schema schema `json:"input_schema"`
	} `json:"tools"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
}

type anthropicBlock struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	ID        string          `json:"id"`
	ToolUseID string          `json:"tool_use_id"`
	Content   json.RawMessage `json:"content"`
}

func (q anthropicRequest) asked() asked {
	a := asked{Model: q.Model, Stream: q.Stream}
	for _, t := range q.Tools {
		kind := t.Type
		if kind == "" {
			kind = "custom_function"
		}
		a.Tools = append(a.Tools, tool{Kind: kind, Name: t.Name, Schema: t.Schema})
	}
	for _, m := range q.Messages {
		var blocks []anthropicBlock
		if json.Unmarshal(m.Content, &blocks) != nil {
			continue // a plain string
		}
		for _, b := range blocks {
			switch {
			case b.Type == "tool_use" && ours(b.ID):
				a.Done++
			case b.Type == "tool_result" && ours(b.ToolUseID):
				a.Results = append(a.Results, plainText(b.Content))
			}
		}
	}
	return a
}

// plainText reads a string, or the text members of a list of parts.
func plainText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return string(raw)
	}
	var out []string
	for _, p := range parts {
		out = append(out, p.Text)
	}
	return strings.Join(out, "\n")
}

func countTokens(w http.ResponseWriter, _ *http.Request, rec *Request) {
	writeJSON(w, map[string]any{"input_tokens": len(rec.Body)/4 + 1})
}

// messages is POST /v1/messages.
func (s *Server) messages(w http.ResponseWriter, _ *http.Request, rec *Request) {
	var q anthropicRequest
	if err := json.Unmarshal(rec.Body, &q); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request_error", "read body: "+err.Error())
		return
	}
	a := q.asked()
	rec.note(a)
	out := s.answer(a)

	var blocks []map[string]any
	if out.Text != "" {
		blocks = append(blocks, map[string]any{"type": "text", "text": out.Text})
	}
	stop := "end_turn"
	if c := out.Call; c != nil {
		stop = "tool_use"
		blocks = append(blocks, map[string]any{"type": "tool_use", "id": c.ID, "name": c.Tool.Name, "input": c.Input})
	}
	usage := map[string]any{"input_tokens": len(rec.Body)/4 + 1, "output_tokens": len(out.Text)/4 + 1}
	msg := map[string]any{"id": "msg_creel", "type": "message", "role": "assistant", "model": a.Model,
		"content": blocks, "stop_reason": stop, "stop_sequence": nil, "usage": usage}
	if !a.Stream {
		writeJSON(w, msg)
		return
	}
	msg["content"], msg["stop_reason"] = []any{}, nil
	ev := newEvents(w)
	ev.send("message_start", map[string]any{"type": "message_start", "message": msg})
	ev.send("ping", map[string]any{"type": "ping"})
	for i, b := range blocks {
		start, deltas := anthropicDeltas(b)
		ev.send("content_block_start", map[string]any{"type": "content_block_start", "index": i, "content_block": start})
		for _, d := range deltas {
			ev.send("content_block_delta", map[string]any{"type": "content_block_delta", "index": i, "delta": d})
		}
		ev.send("content_block_stop", map[string]any{"type": "content_block_stop", "index": i})
	}
	ev.send("message_delta", map[string]any{"type": "message_delta",
		"delta": map[string]any{"stop_reason": stop, "stop_sequence": nil}, "usage": usage})
	ev.send("message_stop", map[string]any{"type": "message_stop"})
}

// anthropicDeltas splits a finished block into its empty start and its deltas.
func anthropicDeltas(block map[string]any) (start map[string]any, deltas []map[string]any) {
	if block["type"] == "text" {
		for _, p := range pieces(block["text"].(string)) {
			deltas = append(deltas, map[string]any{"type": "text_delta", "text": p})
		}
		return map[string]any{"type": "text", "text": ""}, deltas
	}
	for _, p := range pieces(string(block["input"].(json.RawMessage))) {
		deltas = append(deltas, map[string]any{"type": "input_json_delta", "partial_json": p})
	}
	return map[string]any{"type": "tool_use", "id": block["id"], "name": block["name"], "input": map[string]any{}}, deltas
}
