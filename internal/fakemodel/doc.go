// Package fakemodel is a model server for tests and the demo: it speaks the
// wire protocols of real model services (Anthropic messages, OpenAI chat and
// responses, Gemini generateContent) and fakes only what a model would say,
// which has no offline form. What it says comes from a Script.
//
// It keeps no conversation: how far a script has been played is read from the
// conversation that each request carries, so retries, side requests and several
// agents at once do not disturb each other. A Server is safe for concurrent
// use. It is never part of the shipped binary; only tests and
// cmd/creel-fakemodel may import it.
package fakemodel
