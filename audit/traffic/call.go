package traffic

import (
	"io"
	"strings"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// Call is one verdict of a log that a policy, or the route beside it, gave.
type Call struct {
	Line    uint64 // in the log
	Time    time.Time
	Sandbox string
	Host    netname.Host
	Port    uint16
	Binary  string
	Known   bool   // the program is one that rules can name
	Method  string // empty: a connection
	Path    string // canonical, without query
	// Message says of a call that was denied by its message what it asked for, and
	// what would allow it; "": its method and path are all.
	Message string

	Verdict   policy.Verdict
	Audited   bool
	Inspected bool   // of an allowed connection: its requests are judged one by one
	Rule      string // key of the network policy, and where it stood
	RuleAt    string
}

// Connection is what a policy is asked.
func (c Call) Connection() policy.Connection {
	return policy.Connection{Host: c.Host, Port: c.Port, Binary: c.Binary, KnownCaller: c.Known}
}

// Log is what was read beside the calls.
type Log struct {
	audit.Report
	Calls uint64 // handed out
	// Other counts verdicts that no policy gave: packets and names that were
	// refused, addresses, malformed requests, the inference route's own.
	Other uint64
	// Unreadable counts calls whose host, path or program was recorded shortened
	// or is none: they cannot be asked about.
	Unreadable uint64
}

// Read hands the calls of a log to each, in order. An inspected connection is
// handed out only if no request of it follows, because its requests are the
// calls then. The error is that of reading.
func Read(r io.Reader, each func(Call)) (Log, error) {
	var log Log
	w := waiting{calls: make(map[connection]Call)}
	hand := func(c Call) {
		log.Calls++
		each(c)
	}
	rep, err := audit.Walk(r, func(line uint64, e audit.Event) {
		key := connection{e.Sandbox, e.Conn}
		switch e.Kind {
		case audit.SandboxStart:
			w.flush(hand) // connections are counted anew
			return
		case audit.Close:
			w.end(key, hand)
			return
		case audit.Connect, audit.Request:
		case audit.DNS, audit.Refused:
			log.Other++
			return
		default:
			return
		}
		if !byPolicy(e) {
			log.Other++
			return
		}
		c, ok := call(line, e)
		if !ok {
			log.Unreadable++
			return
		}
		if e.Kind == audit.Connect && c.Inspected && c.Verdict == policy.Allow && e.Conn != 0 {
			w.add(key, c, hand)
			return
		}
		if e.Kind == audit.Request {
			w.drop(key)
		}
		hand(c)
	})
	w.flush(hand)
	log.Report = rep
	return log, err
}

// byPolicy: a denial of another layer says nothing about the policy.
func byPolicy(e audit.Event) bool {
	switch e.Detail["layer"] {
	case "", "connection", "request":
		return true
	}
	return false
}

// verdict of an event; an unknown word is none that let something out.
func verdict(word string) policy.Verdict {
	switch word {
	case "allow":
		return policy.Allow
	case "ask":
		return policy.Ask
	case "reroute":
		return policy.Reroute
	}
	return policy.Deny
}

// cut ends a string that the log holds shortened.
const cut = " bytes left out]"

func call(line uint64, e audit.Event) (Call, bool) {
	c := Call{
		Line: line, Time: e.Time, Sandbox: e.Sandbox, Port: e.Port, Binary: e.Binary, Known: e.Binary != "" && !e.Unverified,
		Method: e.Method, Path: e.Path, Verdict: verdict(e.Verdict), Audited: e.Audited, Inspected: e.Inspected, Rule: e.Rule, RuleAt: e.RuleAt,
	}
	host, err := netname.ParseHost(e.Host)
	if err != nil || e.Port == 0 || strings.HasSuffix(e.Binary, cut) || c.Known && !strings.HasPrefix(e.Binary, "/") {
		return c, false
	}
	c.Host = host
	if asked := e.Asked(); c.Verdict != policy.Allow {
		if c.Message = audit.OneLine(audit.MessageNote(asked, e.Detail[audit.RuleMissing])); asked != "" && e.Detail[audit.RuleMissing] != "" {
			c.Message = asked + ": " + c.Message
		}
	}
	switch {
	case c.Method == "" && e.Kind == audit.Request:
		return c, false
	case c.Method == "":
		c.Path = ""
		return c, true
	}
	t, err := target.Parse(c.Path, true)
	return c, err == nil && t.Path == c.Path && !t.HasQuery && method(c.Method)
}

// method: what a rule could name.
func method(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

// connection joins the events of one connection.
type connection struct {
	sandbox string
	number  uint64
}

// waiting are inspected connections of which no request was seen yet.
type waiting struct {
	calls map[connection]Call
	order []connection // of appearance, with keys that are gone
}

// maxWaiting bounds them: a sandbox has far fewer connections at a time.
const maxWaiting = 1 << 14

func (w *waiting) add(key connection, c Call, hand func(Call)) {
	w.end(key, hand) // the same number again: another start of the sandbox
	if len(w.order) >= maxWaiting {
		w.flush(hand)
	}
	w.calls[key] = c
	w.order = append(w.order, key)
}

func (w *waiting) drop(key connection) { delete(w.calls, key) }

func (w *waiting) end(key connection, hand func(Call)) {
	if c, ok := w.calls[key]; ok {
		delete(w.calls, key)
		hand(c)
	}
}

func (w *waiting) flush(hand func(Call)) {
	for _, key := range w.order {
		w.end(key, hand)
	}
	w.order = w.order[:0]
}
