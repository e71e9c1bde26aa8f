package inference

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// protocol is the language of a request; it decides where the key goes and what
// an error looks like. The zero protocol is none.
type protocol uint8

const (
	noProtocol protocol = iota
	openAI
	anthropic
	gemini
)

func (p protocol) String() string {
	switch p {
	case openAI:
		return "openai"
	case anthropic:
		return "anthropic"
	case gemini:
		return "gemini"
	}
	return ""
}

// place says where a request names its model.
type place uint8

const (
	nowhere place = iota // lists of models
	inBody               // top-level member "model" of the JSON body
	inPath               // the path segment behind /models/
)

// endpoint is one that is served.
type endpoint struct {
	protocol protocol
	place    place
	model    string // asked for in the path; it is also the text to replace there
}

// endpoints are all fixed paths that are served, by method and canonical path.
// Paths of Gemini and of single models are patterns, in match.
var endpoints = map[string]endpoint{
	"POST /v1/chat/completions":      {protocol: openAI, place: inBody},
	"POST /v1/responses":             {protocol: openAI, place: inBody},
	"POST /v1/completions":           {protocol: openAI, place: inBody},
	"POST /v1/embeddings":            {protocol: openAI, place: inBody},
	"POST /v1/messages":              {protocol: anthropic, place: inBody},
	"POST /v1/messages/count_tokens": {protocol: anthropic, place: inBody},
	"GET /v1/models":                 {protocol: openAI},
	"GET /v1beta/models":             {protocol: gemini},
}

// geminiVerbs are the methods of a Gemini model that are served.
var geminiVerbs = map[string]bool{"generateContent": true, "streamGenerateContent": true, "countTokens": true}

// modelName is what may stand as a model in a path, as in gemini-2.5-pro.
// Longer names with slashes exist only in bodies.
var modelName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
})

// match finds the endpoint of a request by its canonical path. ok is false for
// everything that is not served.
func match(method, path string, header http.Header) (e endpoint, ok bool) {
	if e, ok = endpoints[method+" "+path]; ok {
		return e.fit(header), true
	}
	version, call, found := strings.Cut(path, "/models/")
	if !found || version != "/v1" && version != "/v1beta" {
		return endpoint{}, false
	}
	model, verb, isCall := strings.Cut(call, ":")
	if !modelName().MatchString(model) {
		return endpoint{}, false
	}
	switch {
	case isCall && method == http.MethodPost && geminiVerbs[verb]:
		return endpoint{protocol: gemini, place: inPath, model: model}, true
	case !isCall && method == http.MethodGet && version == "/v1":
		return endpoint{protocol: openAI, model: model}.fit(header), true
	case !isCall && method == http.MethodGet:
		return endpoint{protocol: gemini, model: model}, true
	}
	return endpoint{}, false
}

// fit tells apart the lists of models, whose paths two protocols share.
func (e endpoint) fit(header http.Header) endpoint {
	if e.protocol == openAI && e.place == nowhere && header.Get("Anthropic-Version") != "" {
		e.protocol = anthropic
	}
	return e
}

// guess picks the shape of a refusal for a path that is not served.
func guess(host, path string, header http.Header) protocol {
	switch {
	case strings.Contains(host, "anthropic"), header.Get("Anthropic-Version") != "", strings.HasPrefix(path, "/v1/messages"):
		return anthropic
	case strings.Contains(host, "googleapis"), strings.HasPrefix(path, "/v1beta/"):
		return gemini
	}
	return openAI
}
