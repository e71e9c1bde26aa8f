// Package api is how a running sandbox is found and spoken to: the wire types,
// the client, the server's frame, and the folders where sockets and state lie.
//
// The protocol is HTTP/1.1 with JSON over a unix socket, which belongs to one
// user (folder 0700, socket 0600) and whose peers are checked by their
// credentials. What answers the requests is the supervisor, behind Backend.
//
//	GET  /v1/sandbox             Sandbox
//	GET  /v1/posture             Posture
//	POST /v1/reload  ReloadArgs  Reloaded, or 422 with Problem.Faults
//	POST /v1/stop                202
//
// It may import leaves alone; supervisor and cli import it. Every error answer
// is a Problem. Answers come from a process that handles hostile bytes: strings
// in them are escaped before they are shown.
package api
