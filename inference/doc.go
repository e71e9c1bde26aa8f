// Package inference answers model requests from the sandbox with the backend
// that the operator configured: the third verdict, reroute (design.md §8).
//
// A Route claims inference.local and the well-known model hosts. What it serves
// is a closed list of endpoints (endpoint.go) of three protocols, each passed
// through to the backend in the same protocol: OpenAI, Anthropic and Gemini.
// Everything else on a claimed host (files, batches, fine-tuning, telemetry,
// update checks, WebSockets) is refused and recorded.
//
// Nothing of the caller's own is passed on but the body, listed headers and
// listed query keys: credentials, cookies, organisations and unknown headers
// are dropped, and the key of the route is set in the way of the protocol. The
// request body is read whole before anything is sent, because the verdict
// names the model; the answer is streamed, every piece at once.
//
// How the request path is joined to the backend's URL (join in backend.go): a
// base that ends in a version segment (https://x/v1) replaces the version of
// the request; so does, for the OpenAI protocol, a version anywhere in the base
// (https://x/v1beta/openai), as its clients have it; any other base is put in
// front of the whole path.
//
// It may import leaves and audit. A Route is safe for concurrent use; it starts
// no goroutines of its own. Events hold no key, no query and no body.
package inference
