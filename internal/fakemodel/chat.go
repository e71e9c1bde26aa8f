package fakemodel

import (
	"encoding/json"
	"net/http"
)

type chatRequest struct {
	Model  string `json:"model"`
	Stream bool   `json:"stream"`
	Tools  []struct {
		Type     string `json:"type"`
		Function struct {
			Name       string `json:"name"`
			Parameters schema `json:"parameters"`
		} `json:"function"`
	} `json:"tools"`
	Messages []struct {
		Role       string          `json:"role"`
		Content    json.RawMessage `json:"content"`
		ToolCallID string          `json:"tool_call_id"`
		ToolCalls  []struct {
			ID string `json:"id"`
		} `json:"tool_calls"`
	} `json:"messages"`
}

func (q chatRequest) asked() asked {
	a := asked{Model: q.Model, Stream: q.Stream}
	for _, t := range q.Tools {
		a.Tools = append(a.Tools, tool{Kind: t.Type, Name: t.Function.Name, Schema: t.Function.Parameters})
	}
	for _, m := range q.Messages {
		for _, c := range m.ToolCalls {
			if ours(c.ID) {
				a.Done++
			}
		}
		if m.Role == "tool" && ours(m.ToolCallID) {
			a.Results = append(a.Results, plainText(m.Content))
		}
	}
	return a
}

// chat is POST /v1/chat/completions.
func (s *Server) chat(w http.ResponseWriter, _ *http.Request, rec *Request) {
	var q chatRequest
	if err := json.Unmarshal(rec.Body, &q); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request_error", "read body: "+err.Error())
		return
	}
	a := q.asked()
	rec.note(a)
	out := s.answer(a)

	msg := map[string]any{"role": "assistant", "content": out.Text}
	finish := "stop"
	if c := out.Call; c != nil {
		finish = "tool_calls"
		msg["tool_calls"] = []any{chatCall(c, string(c.Input))}
	}
	usage := map[string]any{"prompt_tokens": len(rec.Body)/4 + 1, "completion_tokens": 1, "total_tokens": len(rec.Body)/4 + 2}
	if !a.Stream {
		writeJSON(w, map[string]any{"id": "chatcmpl-creel", "object": "chat.completion", "created": 1, "model": a.Model,
			"choices": []any{map[string]any{"index": 0, "message": msg, "finish_reason": finish}}, "usage": usage})
		return
	}
	ev := newEvents(w)
	chunk := func(delta map[string]any, finish any, extra map[string]any) {
		m := map[string]any{"id": "chatcmpl-creel", "object": "chat.completion.chunk", "created": 1, "model": a.Model,
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}}}
		for k, v := range extra {
			m[k] = v
		}
		ev.send("", m)
	}
	chunk(map[string]any{"role": "assistant", "content": ""}, nil, nil)
	for _, p := range pieces(out.Text) {
		chunk(map[string]any{"content": p}, nil, nil)
	}
	if c := out.Call; c != nil {
		chunk(map[string]any{"tool_calls": []any{chatCall(c, "")}}, nil, nil)
		for _, p := range pieces(string(c.Input)) {
			chunk(map[string]any{"tool_calls": []any{map[string]any{"index": 0,
				"function": map[string]any{"arguments": p}}}}, nil, nil)
		}
	}
	chunk(map[string]any{}, finish, map[string]any{"usage": usage})
	_, _ = w.Write([]byte("data: [DONE]\n\n"))
}

func chatCall(c *call, arguments string) map[string]any {
	return map[string]any{"index": 0, "id": c.ID, "type": "function",
		"function": map[string]any{"name": c.Tool.Name, "arguments": arguments}}
}
