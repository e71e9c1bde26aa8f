// Package inference answers model requests from the sandbox with the backend
// that the operator configured: the third verdict, reroute (design.md §8).
package inference
