package resolver

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxNames bounds the cache; about 200 bytes each.
	maxNames = 1024

	// maxKeep is the longest that addresses are kept, whatever their time to live,
	// and maxKeepNone the longest that "there is none" is.
	maxKeep     = 5 * time.Minute
	maxKeepNone = 30 * time.Second
)

// cache keeps answers until their time is over; when it is full the one that was
// used least recently goes.
type cache struct {
	now func() time.Time

	mu    sync.Mutex
	names map[string]*list.Element // of *kept
	order *list.List               // most recently used first
}

type kept struct {
	name  string
	addrs []netip.Addr // nil: there are none
	until time.Time
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, names: make(map[string]*list.Element), order: list.New()}
}

func (c *cache) get(name string) ([]netip.Addr, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.names[name]
	if !ok {
		return nil, false
	}
	k := el.Value.(*kept)
	if !c.now().Before(k.until) {
		c.remove(el)
		return nil, false
	}
	c.order.MoveToFront(el)
	return k.addrs, true
}

func (c *cache) put(name string, addrs []netip.Addr, keep time.Duration) {
	if keep <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.names[name]; ok {
		c.remove(el)
	}
	c.names[name] = c.order.PushFront(&kept{name, addrs, c.now().Add(keep)})
	for c.order.Len() > maxNames {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(el *list.Element) {
	delete(c.names, el.Value.(*kept).name)
	c.order.Remove(el)
}
