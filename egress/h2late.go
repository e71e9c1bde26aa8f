package egress

// A client may send fields behind a body (trailers) when the answer to the request
// is complete, or was cut off, and its stream has ended here: the server of net/http
// takes them for a fault that ends the whole connection, with all other streams on
// it. RFC 9113 §5.1 has them ignored for a while; their block has to be read all the
// same, because later ones are compressed by what stands in it.
//
// A block with a malformed field ends its stream alone, after it was read. So the
// gate puts one behind such a block, in a frame of its own: the server answers with
// a reset of the stream that has ended, which clients ignore. A block that comes in
// the moment in which the server ends the stream, before the gate sees that sent, is
// not told from one that is in time, and ends the connection.

// spoiled is a CONTINUATION frame that ends a header block, with the field "A: a"
// as it stands (RFC 7541 §6.2.2): names have no capital letters (RFC 9113 §8.2.1).
// The first byte after its head is that of its payload.
var spoiled = [...]byte{0, 0, 5, frameContinuation, flagEndHeaders, 0, 0, 0, 0, 0, 1, 'A', 1, 'a'}

// opening gives the head of a frame as the server gets it, once it is whole.
func (g *h2gate) opening() []byte {
	f := &g.in.now
	switch f.kind {
	case frameHeaders:
		if g.late = g.room.late(f.stream); g.late {
			g.spend(1)
		}
	case frameContinuation:
	default:
		g.late = false
	}
	if !g.late {
		return g.head[:]
	}
	g.head[4] &^= flagEndHeaders
	if g.in.between() {
		return append(g.head[:], g.closing()...)
	}
	return g.head[:]
}

// closing gives what the server gets behind the payload of a frame.
func (g *h2gate) closing() []byte {
	f := &g.in.now
	if !g.late || f.flags&flagEndHeaders == 0 {
		return nil
	}
	g.late = false
	end := spoiled
	copy(end[5:9], g.head[5:9])
	return end[:]
}
