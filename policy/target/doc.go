// Package target turns the request target of an HTTP request into the one
// canonical form that policy judges, logs show and the wire carries.
package target
