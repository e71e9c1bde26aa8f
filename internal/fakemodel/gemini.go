package fakemodel

import (
	"encoding/json"
	"net/http"
	"strings"
)

type geminiRequest struct {
	Tools []struct {
		Functions []struct {
			Name       string `json:"name"`
			Parameters schema `json:"parameters"`
			JSONSchema schema `json:"parametersJsonSchema"`
		} `json:"functionDeclarations"`
	} `json:"tools"`
	Contents []struct {
		Parts []struct {
			FunctionCall     json.RawMessage `json:"functionCall"`
			FunctionResponse *struct {
				Response json.RawMessage `json:"response"`
			} `json:"functionResponse"`
		} `json:"parts"`
	} `json:"contents"`
}

// asked counts calls instead of looking at ids: the protocol's are optional.
func (q geminiRequest) asked(model string, stream bool) asked {
	a := asked{Model: model, Stream: stream}
	for _, t := range q.Tools {
		for _, f := range t.Functions {
			s := f.Parameters
			if len(s.Properties) == 0 {
				s = f.JSONSchema
			}
			// The protocol writes types in capitals.
			for name, p := range s.Properties {
				if k, ok := p.Type.(string); ok {
					s.Properties[name] = property{Type: strings.ToLower(k)}
				}
			}
			a.Tools = append(a.Tools, tool{Kind: "function", Name: f.Name, Schema: s})
		}
	}
	for _, c := range q.Contents {
		for _, p := range c.Parts {
			if len(p.FunctionCall) > 0 {
				a.Done++
			}
			if p.FunctionResponse != nil {
				a.Results = append(a.Results, string(p.FunctionResponse.Response))
			}
		}
	}
	return a
}

// gemini is POST /v1beta/models/MODEL:generateContent, :streamGenerateContent and :countTokens.
func (s *Server) gemini(w http.ResponseWriter, r *http.Request, rec *Request) {
	model, verb, _ := strings.Cut(r.PathValue("call"), ":")
	var q geminiRequest
	if err := json.Unmarshal(rec.Body, &q); err != nil {
		fail(w, http.StatusBadRequest, "INVALID_ARGUMENT", "read body: "+err.Error())
		return
	}
	a := q.asked(model, verb == "streamGenerateContent")
	rec.note(a)
	switch verb {
	case "countTokens":
		writeJSON(w, map[string]any{"totalTokens": len(rec.Body)/4 + 1})
		return
	case "generateContent", "streamGenerateContent":
	default:
		fail(w, http.StatusNotFound, "NOT_FOUND", "no such method: "+verb)
		return
	}
	out := s.answer(a)
	var parts []any
	for _, p := range pieces(out.Text) {
		if p != "" {
			parts = append(parts, map[string]any{"text": p})
		}
	}
	if c := out.Call; c != nil {
		parts = append(parts, map[string]any{"functionCall": map[string]any{"id": c.ID, "name": c.Tool.Name, "args": c.Input}})
	}
	chunk := func(parts []any, last bool) map[string]any {
		cand := map[string]any{"index": 0, "content": map[string]any{"role": "model", "parts": parts}}
		if last {
			cand["finishReason"] = "STOP"
		}
		return map[string]any{"candidates": []any{cand}, "modelVersion": a.Model,
			"usageMetadata": map[string]any{"promptTokenCount": len(rec.Body)/4 + 1, "candidatesTokenCount": 1,
				"totalTokenCount": len(rec.Body)/4 + 2}}
	}
	if !a.Stream {
		writeJSON(w, chunk(parts, true))
		return
	}
	if r.URL.Query().Get("alt") != "sse" { // the other form is one JSON list
		writeJSON(w, []any{chunk(parts, true)})
		return
	}
	ev := newEvents(w)
	for i, p := range parts {
		ev.send("", chunk([]any{p}, i == len(parts)-1))
	}
}
