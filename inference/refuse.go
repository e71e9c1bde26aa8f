package inference

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// refusal is why a request is not served: what the agent is told, and what the
// audit keeps. The reason never holds a key, a query or a part of the body.
type refusal struct {
	status int
	reason string // for operator and agent
	hint   string // for the agent alone
}

func (e *refusal) Error() string { return e.reason }

// doNotDodge is said to agents: they try other ways when one is closed.
const doNotDodge = "This is a boundary set by the operator, not an outage; do not try to work around it."

// write answers in the shape that the protocol's clients show to their user.
func (e *refusal) write(w http.ResponseWriter, p protocol) {
	message := "creel: " + e.reason
	if e.hint != "" {
		message += ". " + e.hint
	}
	kind, word := "permission_error", "PERMISSION_DENIED"
	switch {
	case e.status >= 500:
		kind, word = "api_error", "UNAVAILABLE"
	case e.status == http.StatusNotFound:
		kind, word = "not_found_error", "NOT_FOUND"
	case e.status != http.StatusForbidden:
		kind, word = "invalid_request_error", "INVALID_ARGUMENT"
	}
	var body any
	switch p {
	case anthropic:
		body = map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}}
	case gemini:
		body = map[string]any{"error": map[string]any{"code": e.status, "message": message, "status": word}}
	default:
		body = map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": "creel_refused"}}
	}
	text, err := json.Marshal(body)
	if err != nil {
		text = []byte(`{}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	if e.status != http.StatusServiceUnavailable {
		h.Set("X-Should-Retry", "false") // the clients of OpenAI and Anthropic heed it
	}
	w.WriteHeader(e.status)
	_, _ = w.Write(text)
}
