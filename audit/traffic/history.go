package traffic

import (
	"cmp"
	"slices"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/learn"
)

// History collects out of calls what can be learned from: those that were
// denied or asked about, and what is known about hosts.
type History struct {
	denied map[learn.Call]*tally
	hosts  map[netname.Host]learn.Host
	boxes  map[string]*box
	total  uint64 // denied calls
	more   uint64 // of kinds beyond the bound
}

// box is what one sandbox did so far.
type box struct {
	seen map[netname.Host]bool
	read netname.Host // from which something could be read, most recently
}

// maxDenied bounds the kinds of denied calls, and the hosts, that are told apart.
const maxDenied = 10000

// NewHistory returns an empty History; its Add takes the calls of Read.
func NewHistory() *History {
	return &History{denied: make(map[learn.Call]*tally), hosts: make(map[netname.Host]learn.Host), boxes: make(map[string]*box)}
}

// Add takes one call.
func (h *History) Add(c Call) {
	b := h.boxes[c.Sandbox]
	if b == nil {
		b = &box{seen: make(map[netname.Host]bool)}
		h.boxes[c.Sandbox] = b
	}
	host, known := h.hosts[c.Host]
	if known || len(h.hosts) < maxDenied {
		if !b.seen[c.Host] && host.AfterRead.IsZero() && b.read != c.Host {
			host.AfterRead = b.read
		}
		b.seen[c.Host] = true
		host.Calls++
		h.hosts[c.Host] = host
	}
	// A connection that is not inspected may have read as well.
	if c.Verdict == policy.Allow && (c.Method == "GET" || c.Method == "" && !c.Inspected) {
		b.read = c.Host
	}
	if c.Verdict != policy.Deny && c.Verdict != policy.Ask {
		return
	}
	h.total++
	k := learn.Call{Host: c.Host, Port: c.Port, Binary: c.Binary, Known: c.Known, Method: c.Method, Path: c.Path, Message: c.Message}
	t := h.denied[k]
	if t == nil {
		if len(h.denied) == maxDenied {
			h.more++
			return
		}
		t = &tally{first: c.Line}
		h.denied[k] = t
	}
	t.count++
}

// Denied are the kinds of calls that were denied or asked about, in the order
// of their first line. more is how many calls of other kinds there were.
func (h *History) Denied() (calls []learn.Call, total, more uint64) {
	for k, t := range h.denied {
		k.Count = t.count
		calls = append(calls, k)
	}
	slices.SortFunc(calls, func(a, b learn.Call) int { return cmp.Compare(h.first(a), h.first(b)) })
	return calls, h.total, h.more
}

func (h *History) first(c learn.Call) uint64 {
	c.Count = 0
	return h.denied[c].first
}

// Hosts are what is known about each.
func (h *History) Hosts() map[netname.Host]learn.Host { return h.hosts }
