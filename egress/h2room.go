package egress

import (
	"slices"
	"sync"
)

// maxCut is how many streams of a connection are remembered that ended here before
// the client had ended its side: those that may be on their way.
const maxCut = maxStreams

// room counts the streams of one connection of HTTP/2 that hold memory here, which
// are requests that are served and answers that wait to be taken: a client may give
// them no window, or read nothing at all. The first is the connection's own, and each
// one beside it has a place among the connections of the sandbox (maxConns), until
// its request is done and its last frame was sent.
type room struct {
	s *Server

	mu      sync.Mutex
	over    bool
	open    map[uint32]bool // streams that have not ended; true: the client has ended its side
	cut     []uint32        // streams that ended here before that, oldest first
	last    uint32          // the server takes no newer stream
	running int             // requests
	places  int
	serving sync.WaitGroup
}

// held is how many streams hold memory. Which requests belong to which streams
// cannot be seen: where a client took streams back whose requests still run, it is up
// to half of it. Callers hold mu.
func (r *room) held() int { return max(r.running, len(r.open)) }

// enter reports whether a request may still be served, and whether there is no place
// for it; leave follows it then.
func (r *room) enter() (ok, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false, false
	}
	r.running++
	r.serving.Add(1)
	if r.places < r.held()-1 {
		if !r.s.oneMore() {
			return true, true
		}
		r.places++
	}
	return true, false
}

func (r *room) leave() {
	r.mu.Lock()
	r.running--
	r.giveBack()
	r.mu.Unlock()
	r.serving.Done()
}

// begin notes a stream that the client opened; whole: it is all that it sends.
func (r *room) begin(stream uint32, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stream > r.last || r.over {
		return
	}
	if r.open == nil {
		r.open = make(map[uint32]bool)
	}
	r.open[stream] = whole
}

// whole notes that the client has ended its side of a stream.
func (r *room) whole(stream uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, open := r.open[stream]; open {
		r.open[stream] = true
	}
}

// end notes that a stream has ended, by the client or here, and reports whether it
// had not before.
func (r *room) end(stream uint32, here bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	whole, open := r.open[stream]
	if !open {
		return false
	}
	delete(r.open, stream)
	if here && !whole {
		if len(r.cut) == maxCut {
			r.cut = slices.Delete(r.cut, 0, 1)
		}
		r.cut = append(r.cut, stream)
	}
	r.giveBack()
	return true
}

// late reports whether a stream ended here before the client had ended its side,
// once.
func (r *room) late(stream uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.cut, stream)
	if i >= 0 {
		r.cut = slices.Delete(r.cut, i, i+1)
	}
	return i >= 0
}

// shut notes that the server takes no stream that is newer than last.
func (r *room) shut(last uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = min(r.last, last)
	for stream := range r.open {
		if stream > r.last {
			delete(r.open, stream)
		}
	}
	r.giveBack()
}

// close waits for the requests of a connection that has ended.
func (r *room) close() {
	r.mu.Lock()
	r.over = true
	clear(r.open)
	r.giveBack()
	r.mu.Unlock()
	r.serving.Wait()
}

// giveBack gives up the places that are not needed any more. Callers hold mu.
func (r *room) giveBack() {
	for ; r.places > 0 && r.places > r.held()-1; r.places-- {
		r.s.oneLess()
	}
}
