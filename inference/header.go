package inference

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/creel-run/creel/secret"
)

// requestHeaders are the headers that are passed on. All others are dropped,
// credentials, cookies and organisations (authorization, x-api-key,
// x-goog-api-key, openai-organization, openai-project …) above all.
// Accept-Encoding is not the agent's: the backend is asked to answer uncompressed,
// so that every event can be passed on at once and the key be found in it.
var requestHeaders = []string{
	"Accept",
	"User-Agent",
	"Anthropic-Version",
	"Anthropic-Beta",
	"OpenAI-Beta",
	"X-Goog-Api-Client",
	// Codex: which form of the protocol it speaks
	"Originator",
	"Version",
	"X-Codex-Beta-Features",
	"X-Openai-Internal-Codex-Responses-Lite",
}

// responseHeaders are passed back; a trailing * stands for any rest.
var responseHeaders = []string{
	"Content-Type",
	"Content-Encoding",
	"Cache-Control",
	"Retry-After",
	"Retry-After-Ms",
	"X-Should-Retry",
	"Request-Id",
	"X-Request-Id",
	"Anthropic-Ratelimit-*",
	"X-Ratelimit-*",
	"Openai-Model",
	"Openai-Version",
	"Openai-Processing-Ms",
}

func outHeader(in http.Header) http.Header {
	out := http.Header{}
	for _, name := range requestHeaders {
		if v := in.Values(name); len(v) > 0 {
			out[http.CanonicalHeaderKey(name)] = append([]string(nil), v...)
		}
	}
	out["Accept-Encoding"] = []string{"identity"}
	if len(out["User-Agent"]) == 0 {
		out["User-Agent"] = []string{"creel"} // else net/http names itself
	}
	return out
}

// setKey puts the key where the clients of the protocol put it.
func setKey(h http.Header, p protocol, key secret.Value) {
	if key.IsZero() {
		return
	}
	text := key.Reveal()
	switch p {
	case anthropic:
		// Tokens of a sign-in, unlike keys of the console, are bearer tokens.
		if strings.HasPrefix(text, "sk-ant-oat") {
			h.Set("Authorization", "Bearer "+text)
			return
		}
		h.Set("X-Api-Key", text)
	case gemini:
		h.Set("X-Goog-Api-Key", text)
	default:
		h.Set("Authorization", "Bearer "+text)
	}
}

// backHeader copies the listed headers of an answer, except names and values
// that hold the key: the listed prefixes leave a name to the backend.
func backHeader(to, from http.Header, key *secret.Mask) {
	for name, values := range from {
		if !listed(name) || key.Holds(name) {
			continue
		}
		for _, v := range values {
			if key.String(v) == v {
				to.Add(name, v)
			}
		}
	}
}

func listed(name string) bool {
	for _, want := range responseHeaders {
		want = http.CanonicalHeaderKey(want)
		if prefix, ok := strings.CutSuffix(want, "*"); ok && strings.HasPrefix(name, prefix) || name == want {
			return true
		}
	}
	return false
}

// queryKeys are the query keys that are passed on, by protocol. All others are
// dropped, "key" above all.
var queryKeys = map[protocol][]string{
	openAI:    {"limit", "after", "order"},
	anthropic: {"beta", "limit", "after_id", "before_id"},
	gemini:    {"alt", "pageSize", "pageToken"},
}

// queryValue is what the value of a passed query key may be.
var queryValue = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
})

// outQuery builds the query anew from what is listed.
func outQuery(p protocol, in map[string][]string) string {
	out := url.Values{}
	for _, k := range queryKeys[p] {
		if v := in[k]; len(v) == 1 && queryValue().MatchString(v[0]) {
			out.Set(k, v[0])
		}
	}
	return out.Encode()
}
