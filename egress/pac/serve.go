package pac

import (
	"errors"
	"io"
	"net/netip"
	"time"
)

// Serve answers questions until their stream ends, which is no error. It is what the
// child does, once it is shut in (Ready comes before); nothing of it may be trusted by
// who asks.
func Serve(rw io.ReadWriter) error {
	for {
		var q question
		if err := receive(rw, maxQuestionSize, &q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		names := &names{rw: rw, known: map[string][]netip.Addr{}}
		text, err := evaluate(q.Script, q.URL, q.Host, world{me: q.Me, now: time.Now(), lookup: names.lookup})
		if names.broken != nil {
			return names.broken
		}
		if names.many {
			err = errors.New("the script looks up too many names")
		}
		r := reply{Answer: &text}
		if err != nil {
			text = err.Error()
			r = reply{Error: &text}
		}
		if err := send(rw, r); err != nil {
			return err
		}
	}
}

// names are those that one evaluation has looked up: scripts ask for one and the
// same in each of their rules.
type names struct {
	rw     io.ReadWriter
	known  map[string][]netip.Addr
	many   bool  // it wanted more than maxLookups
	broken error // of the stream: nothing counts any more
}

func (n *names) lookup(name string) []netip.Addr {
	if addrs, ok := n.known[name]; ok || n.broken != nil || n.many || len(name) > maxName {
		return addrs
	}
	if n.many = len(n.known) >= maxLookups; n.many {
		return nil
	}
	var f found
	if n.broken = send(n.rw, reply{Lookup: &name}); n.broken == nil {
		n.broken = receive(n.rw, maxReplySize, &f)
	}
	n.known[name] = f.Addrs
	return f.Addrs
}

// Ready makes the engine and the clock look at what they read once, the time zone
// above all, so that nothing has to be opened later.
func Ready() error {
	_, err := evaluate("function FindProxyForURL() { return String(new Date()) }", "", "", world{now: time.Now().Local()})
	return err
}
