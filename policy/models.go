package policy

import (
	"slices"
	"strings"
)

// ModelCall is a request with the shape of a model protocol, whatever its host:
// a model that is used past the inference route is neither counted nor bounded,
// and no key of the operator's is needed for it.
type ModelCall struct {
	// Served is the path at which an inference route serves the same call; empty:
	// at none, as its protocol has another shape (Ollama, Bedrock).
	Served string `json:"served,omitempty"`
}

// ModelShape tells a model call by method and canonical path alone, so that
// nothing has to be read for it. Any prefix may stand before what is known, and
// letters count in either case. upgrade: the request asks for a WebSocket.
//
// A protocol that is not listed, or a server that takes a listed one at other
// paths, is not told from other requests.
func ModelShape(method, path string, upgrade bool) (ModelCall, bool) {
	s, written := lastSegments(path)
	if upgrade && strings.EqualFold(method, "GET") {
		return ModelCall{}, isVersion(s[1]) && (s[0] == "realtime" || s[0] == "responses") || strings.HasSuffix(s[0], ".bidigeneratecontent")
	}
	if !strings.EqualFold(method, "POST") {
		return ModelCall{}, false
	}
	deployed := s[2] == "deployments" // of Azure: /openai/deployments/NAME/…
	switch s[0] {
	case "completions":
		switch {
		case s[1] == "chat":
			return ModelCall{"/v1/chat/completions"}, true
		case isVersion(s[1]), deployed:
			return ModelCall{"/v1/completions"}, true
		}
		return ModelCall{}, s[1] == "fim"
	case "responses":
		return ModelCall{"/v1/responses"}, isVersion(s[1]) || s[1] == "openai"
	case "embeddings":
		return ModelCall{"/v1/embeddings"}, isVersion(s[1]) || deployed || s[1] == "api"
	case "messages":
		return ModelCall{"/v1/messages"}, isVersion(s[1])
	case "count_tokens":
		return ModelCall{"/v1/messages/count_tokens"}, s[1] == "messages" && isVersion(s[2])
	case "batches":
		return ModelCall{}, s[1] == "messages" && isVersion(s[2])
	case "chat", "generate", "embed":
		return ModelCall{}, s[1] == "api"
	case "invoke", "invoke-with-response-stream", "converse", "converse-stream":
		return ModelCall{}, s[2] == "model"
	case "generatecontent", "streamgeneratecontent": // gRPC
		return ModelCall{}, strings.HasSuffix(s[1], ".generativeservice") || strings.HasSuffix(s[1], ".predictionservice")
	}
	return geminiShape(written, s[0], s[1])
}

// lastSegments are the last segments of a path, the last one first, as the
// laxest of servers takes them: in lower case, without parameters behind a
// semicolon, and parted by encoded slashes, too. Empty ones do not count. last
// is the last one as it is written.
func lastSegments(path string) (s [3]string, last string) {
	path = strings.ReplaceAll(path, encodedSlash, "/")
	for i := 0; i < len(s) && path != ""; {
		at := strings.LastIndexByte(path, '/')
		segment := path[at+1:]
		path = path[:max(at, 0)]
		name, _, _ := strings.Cut(segment, ";")
		if name == "" {
			continue
		}
		if i == 0 {
			last = segment
		}
		s[i] = strings.ToLower(name)
		i++
	}
	return s, last
}

// geminiShape: a verb behind a colon, as in /v1beta/models/NAME:generateContent.
func geminiShape(written, last, before string) (ModelCall, bool) {
	_, verb, ok := strings.Cut(strings.ReplaceAll(last, "%3a", ":"), ":")
	if !ok {
		return ModelCall{}, false
	}
	switch verb {
	case "generatecontent", "streamgeneratecontent", "counttokens":
		if before == "models" {
			return ModelCall{"/v1beta/models/" + written}, true
		}
		return ModelCall{}, true
	case "rawpredict", "streamrawpredict", "embedcontent", "batchembedcontents", "asyncbatchembedcontent", "batchgeneratecontent":
		return ModelCall{}, true
	}
	return ModelCall{}, false
}

// isVersion: v1, v1beta, v1alpha2, v4.
func isVersion(s string) bool {
	rest, ok := strings.CutPrefix(s, "v")
	digits := strings.TrimLeft(rest, "0123456789")
	if !ok || len(digits) == len(rest) {
		return false
	}
	digits = strings.TrimRight(digits, "0123456789")
	return digits == "" || digits == "beta" || digits == "alpha"
}

// ReasonModel is why a model call is denied that the policy would allow.
const ReasonModel = "the request has the shape of a model protocol, and models are used through the inference route alone"

// Models reports that an allowed request is a model call for the inference route.
// It is none where the operator wrote that models are used there: models: allow
// on an endpoint that takes the request, or its host in inference.remove_hosts.
//
// Version 1 has no such words. There a known model host that is written out, and
// an allow rule that names the path without a wildcard, are as good.
func (e *Engine) Models(r *Request, upgrade bool) (ModelCall, bool) {
	call, shaped := ModelShape(r.Method, r.Target.Path, upgrade)
	return call, shaped && !r.Text && !e.acceptsModels(r)
}

func (e *Engine) acceptsModels(r *Request) bool {
	if e == nil {
		return false
	}
	if !r.Host.IsAddr() && slices.Contains(e.unclaimed, r.Host.String()) {
		return true
	}
	who, accepted := caller{c: &r.Connection}, false
	e.each(r.Host, r.Port, func(ep *endpoint) {
		switch {
		case accepted || !who.matches(ep.net) || ep.inspect && !ep.takesPath(r.Target.Path) || ep.lapsed(&r.Connection) != "":
		case ep.spec.Models:
			accepted = true
		case e.version == 1:
			accepted = ep.pattern.Literal() && slices.Contains(modelHosts, ep.pattern.String()) || ep.namesPath(r)
		}
	})
	return accepted
}

// AcceptsModels reports whether an endpoint lets model calls go to its host
// outside of the inference route: all of them, or in version 1 perhaps those of some
// paths alone.
func (d *Document) AcceptsModels(e *Endpoint) (all bool, paths []string) {
	if d.Version >= 2 {
		return e.Models, nil
	}
	if slices.Contains(modelHosts, strings.ToLower(e.Host)) {
		return true, nil
	}
	for _, r := range e.Allow {
		if r.namesModelCall() {
			paths = append(paths, r.Path)
		}
	}
	return false, paths
}

// namesPath: an allow rule takes the request by a path that is written out.
func (ep *endpoint) namesPath(r *Request) bool {
	return slices.ContainsFunc(ep.allow, func(rule requestRule) bool {
		return !rule.every && isLiteral(rule.spec.Path) && rule.takes(r, false)
	})
}

// namesModelCall: the rule names a model call by a path that is written out.
func (r RequestRule) namesModelCall() bool {
	_, shaped := ModelShape("POST", r.Path, false)
	return shaped && isLiteral(r.Path) && (r.Method == "*" || strings.EqualFold(r.Method, "POST"))
}

// isLiteral: the glob takes one path.
func isLiteral(glob string) bool { return !strings.ContainsAny(glob, "*?[{") }
