// Package websocket reads and writes the WebSocket protocol as a proxy needs it:
// frames are read strictly from either side, and what goes on is framed anew.
//
// A Reader turns frames into messages that are unmasked, inflated and checked to
// be UTF-8 where they are text. Everything that two implementations may take in
// two ways is a fault with the close code that the peer gets. Memory is bounded:
// a Reader holds a window of 32 KB where messages are compressed, and nothing of
// a message beyond what its caller keeps.
//
// It imports nothing of the project, knows no sockets and starts no goroutine.
// A Reader belongs to one goroutine. Frames, handshake headers and compression
// are decided here; who may send what is not.
//
// Sources: RFC 6455 (the protocol), RFC 7692 (permessage-deflate), RFC 3629 (UTF-8).
package websocket
