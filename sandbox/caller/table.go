package caller

import (
	"container/list"
	"sync"
	"time"
)

const (
	// entryLife is how long a connect is remembered: the connection arrives as
	// soon as the handshake is done, unless the supervisor is slow to accept.
	// Connects that fail or stay inside the sandbox end by it.
	entryLife = 30 * time.Second

	// maxEntries and maxText bound what a hostile agent can make us hold: sockets,
	// and bytes of path names (a path may have 4096, with 64 ancestors each). The
	// oldest goes first, and its caller is unknown.
	maxEntries = 8192
	maxText    = 4 << 20
)

// table remembers who connected, by socket cookie.
type table struct {
	mu    sync.Mutex
	byID  map[uint64]*list.Element
	order list.List // of *entry, oldest first
	text  int       // bytes of path names
}

type entry struct {
	cookie uint64
	caller Caller
	text   int
	until  time.Time
}

// put remembers a caller. If another program connected the same socket a moment
// ago, neither is to be trusted with it.
func (t *table) put(cookie uint64, c Caller, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if e, ok := t.byID[cookie]; ok {
		if old := e.Value.(*entry).caller; old.Binary != c.Binary || old.Dev != c.Dev || old.Ino != c.Ino {
			c = Caller{}
		}
		t.remove(e)
	}
	e := &entry{cookie: cookie, caller: c, text: len(c.Binary) + len(c.Script), until: now.Add(entryLife)}
	for _, a := range c.Ancestors {
		e.text += len(a)
	}
	for t.order.Len() > 0 && (t.order.Len() >= maxEntries || t.text+e.text > maxText) {
		t.remove(t.order.Front())
	}
	if t.byID == nil {
		t.byID = make(map[uint64]*list.Element)
	}
	t.byID[cookie] = t.order.PushBack(e)
	t.text += e.text
}

// take gives the caller of a socket once.
func (t *table) take(cookie uint64, now time.Time) Caller {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	e, ok := t.byID[cookie]
	if !ok {
		return Caller{}
	}
	t.remove(e)
	return e.Value.(*entry).caller
}

// drop forgets a socket.
func (t *table) drop(cookie uint64) { t.take(cookie, time.Time{}) }

func (t *table) expire(now time.Time) {
	for e := t.order.Front(); e != nil && now.After(e.Value.(*entry).until); e = t.order.Front() {
		t.remove(e)
	}
}

func (t *table) remove(e *list.Element) {
	x := t.order.Remove(e).(*entry)
	delete(t.byID, x.cookie)
	t.text -= x.text
}
