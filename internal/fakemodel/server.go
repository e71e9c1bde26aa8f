package fakemodel

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Config is what a Server plays and expects.
type Config struct {
	Script Script
	Key    string    // if set, every request must carry it; else 401
	Log    io.Writer // one JSON line per request, without keys and bodies; nil: none
}

// Request is one request as it arrived.
type Request struct {
	Protocol string // anthropic, openai-chat, openai-responses, openai, gemini; empty: unknown path
	Method   string
	Path     string
	RawQuery string
	Host     string
	Header   http.Header
	Key      string // the credential, in the way of the protocol
	Model    string
	Stream   bool     // the answer was asked for as a stream
	Tools    []string // names of the tools that the agent offers
	Results  []string // tool results in it
	Body     []byte
	Status   int
}

// Server is the http.Handler.
type Server struct {
	conf Config
	mux  *http.ServeMux

	mu       sync.Mutex
	requests []Request
}

// bodyBytes bounds a request: agents send their whole conversation each time.
const bodyBytes = 32 << 20

// New makes a server; serve it with net/http or httptest.
func New(c Config) *Server {
	s := &Server{conf: c, mux: http.NewServeMux()}
	for _, base := range []string{"", "/v1"} { // clients differ in where they put the version
		s.mux.HandleFunc("POST "+base+"/messages", s.handle("anthropic", s.messages))
		s.mux.HandleFunc("POST "+base+"/messages/count_tokens", s.handle("anthropic", countTokens))
		s.mux.HandleFunc("POST "+base+"/chat/completions", s.handle("openai-chat", s.chat))
		s.mux.HandleFunc("POST "+base+"/responses", s.handle("openai-responses", s.responses))
		s.mux.HandleFunc("GET "+base+"/models", s.handle("openai", models))
	}
	s.mux.HandleFunc("POST /{version}/models/{call}", s.handle("gemini", s.gemini))
	s.mux.HandleFunc("/", s.handle("", func(w http.ResponseWriter, r *http.Request, _ *Request) {
		fail(w, http.StatusNotFound, "not_found_error", "no such path: "+r.URL.Path)
	}))
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Requests gives all requests that were answered so far, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

type handler func(w http.ResponseWriter, r *http.Request, rec *Request)

// handle reads the body, checks the key, answers, and keeps the request.
func (s *Server) handle(protocol string, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := Request{Protocol: protocol, Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery,
			Host: r.Host, Header: r.Header.Clone(), Key: key(protocol, r)}
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytes))
		rec.Body = body
		switch {
		case err != nil:
			fail(sw, http.StatusBadRequest, "invalid_request_error", "read body: "+err.Error())
		case s.conf.Key != "" && rec.Key != s.conf.Key:
			fail(sw, http.StatusUnauthorized, "authentication_error", "wrong or missing key")
		default:
			h(sw, r, &rec)
		}
		rec.Status = sw.status
		s.keep(rec)
	}
}

func (s *Server) keep(rec Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, rec)
	if s.conf.Log == nil {
		return
	}
	keyWord := "none"
	switch {
	case rec.Key != "" && rec.Key == s.conf.Key:
		keyWord = "expected"
	case rec.Key != "":
		keyWord = "other"
	}
	line, err := json.Marshal(map[string]any{"protocol": rec.Protocol, "method": rec.Method, "path": rec.Path,
		"model": rec.Model, "key": keyWord, "stream": rec.Stream, "tools": rec.Tools, "results": len(rec.Results), "status": rec.Status})
	if err == nil {
		_, _ = s.conf.Log.Write(append(line, '\n'))
	}
}

// key is the credential where the protocol's own clients put it.
func key(protocol string, r *http.Request) string {
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch protocol {
	case "anthropic":
		if k := r.Header.Get("X-Api-Key"); k != "" {
			return k
		}
	case "gemini":
		if k := r.Header.Get("X-Goog-Api-Key"); k != "" {
			return k
		}
		if k := r.URL.Query().Get("key"); k != "" {
			return k
		}
	}
	return bearer
}

// note keeps what the request asked for in its record.
func (rec *Request) note(a asked) {
	rec.Model, rec.Stream = a.Model, a.Stream
	rec.Results = a.Results
	for _, t := range a.Tools {
		name := t.Name
		if name == "" {
			name = t.Kind
		}
		rec.Tools = append(rec.Tools, name)
	}
}

func models(w http.ResponseWriter, _ *http.Request, _ *Request) {
	writeJSON(w, map[string]any{"object": "list", "data": []any{
		map[string]any{"id": "fake-model", "object": "model", "owned_by": "test"}}})
}

// fail answers in a shape that the clients of all protocols show.
func fail(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "error",
		"error": map[string]any{"type": kind, "message": message, "code": status}})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// statusWriter remembers the status and keeps flushing possible.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// events writes server-sent events, each flushed by itself.
type events struct {
	w    http.ResponseWriter
	flow *http.ResponseController
}

func newEvents(w http.ResponseWriter) *events {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	return &events{w: w, flow: http.NewResponseController(w)}
}

// send writes one event; without a name only its data line.
func (e *events) send(name string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // only maps of this package come here
	}
	if name != "" {
		fmt.Fprintf(e.w, "event: %s\n", name)
	}
	fmt.Fprintf(e.w, "data: %s\n\n", data)
	_ = e.flow.Flush()
}

// pieces cuts a text into several, so that a stream is one.
func pieces(text string) []string { return strings.SplitAfter(text, " ") }
