package audit

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxEntries bounds each list of a Summary: an agent can ask for any number of
// names. What comes later is counted without being told apart.
// A verdict has its own list, so that a flood of denials hides nothing else.
const maxEntries = 1000

// rerouteFailed is the Verdict of an Entry for a model backend that was not reached.
const rerouteFailed = "reroute_failed"

// maxShown bounds a string of an entry in bytes; the log has it in full.
const maxShown = 256

// Entry is one kind of decision in a Summary and how often it was made.
type Entry struct {
	Verdict string `json:"verdict"`
	Host    string `json:"host,omitempty"`
	Port    uint16 `json:"port,omitempty"`
	// Protocol is set where it decides: packets that are neither TCP nor DNS.
	Protocol string `json:"protocol,omitempty"`
	// Binary, Unverified and Script are those of Event.
	Binary     string `json:"binary,omitempty"`
	Unverified bool   `json:"unverified,omitempty"`
	Script     string `json:"script,omitempty"`
	Method     string `json:"method,omitempty"`
	Path       string `json:"path,omitempty"`
	Model      string `json:"model,omitempty"`
	Rule       string `json:"rule,omitempty"`
	RuleAt     string `json:"rule_at,omitempty"`
	Audited    bool   `json:"audited,omitempty"`
	// Layer is which check denied, and Addr the address that address rules refused.
	Layer string `json:"layer,omitempty"`
	Addr  string `json:"addr,omitempty"`
	// Asked is what a message that was denied asked for, and RuleMissing the comment
	// lines that say what would allow it.
	Asked       string `json:"asked,omitempty"`
	RuleMissing string `json:"rule_missing,omitempty"`

	Reason string `json:"reason,omitempty"` // of the first one
	Count  uint64 `json:"count"`
}

// Totals are the sums of a Summary.
type Totals struct {
	Allowed  uint64 `json:"allowed"`
	Denied   uint64 `json:"denied"`
	Rerouted uint64 `json:"rerouted"`
	Failed   uint64 `json:"failed,omitempty"`          // allowed connections whose upstream was not reached
	Missed   uint64 `json:"rerouted_failed,omitempty"` // rerouted requests whose backend was not reached
	BytesIn  int64  `json:"bytes_in"`
	BytesOut int64  `json:"bytes_out"`
}

// SummaryData is a Summary at one moment, in its JSON form.
type SummaryData struct {
	Totals   Totals        `json:"totals"`
	Millis   int64         `json:"ms"`
	Allowed  []Entry       `json:"allowed"`
	Denied   []Entry       `json:"denied"`
	Rerouted []Entry       `json:"rerouted"`
	Failed   []Entry       `json:"failed,omitempty"`
	Missed   []Entry       `json:"rerouted_failed,omitempty"` // backends, in the form SCHEME://HOST:PORT as host
	More     uint64        `json:"more,omitempty"`            // decisions beyond the lists' bound
	Suggest  []Suggestion  `json:"suggest,omitempty"`
	Policy   string        `json:"policy,omitempty"` // the suggestions as one piece of policy
	Duration time.Duration `json:"-"`
}

// Summary collects what happened, for the end of a run and audit show. The zero
// Summary is empty and ready. Safe for concurrent use: Add fits Log.Tee.
type Summary struct {
	mu          sync.Mutex
	first, last time.Time
	totals      Totals
	more        uint64
	count       map[Entry]*entryState
	order       uint64
	listed      map[string]int // entries by verdict
}

type entryState struct {
	count  uint64
	order  uint64
	reason string
}

// NewSummary returns an empty Summary.
func NewSummary() *Summary { return &Summary{} }

// Add takes one event. An allowed connection and the allowed requests on it
// count together as one line of the lists, each as one decision of the totals.
func (s *Summary) Add(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() || e.Time.Before(s.first) {
		s.first = e.Time
	}
	if e.Time.After(s.last) {
		s.last = e.Time
	}
	switch e.Kind {
	case Close, InferenceDone:
		// Both tell the bytes of their own stretch: a rerouted connection ends
		// with InferenceDone per request, and its Close counts none of them.
		s.totals.BytesIn += e.BytesIn
		s.totals.BytesOut += e.BytesOut
		switch {
		case e.Detail["error"] != UpstreamFailed:
		case e.Kind == InferenceDone: // whoever asked, it is the one backend
			s.totals.Missed++
			s.add(Entry{Verdict: rerouteFailed, Host: shorten(e.Detail["backend"])}, shorten(e.Reason))
		default:
			s.totals.Failed++
			s.add(Entry{Verdict: "failed", Host: shorten(e.Host), Port: e.Port, Binary: shorten(e.Binary), Unverified: e.Unverified, Script: shorten(e.Script)}, shorten(e.Reason))
		}
		return
	case Connect, Request, Inference, DNS, Refused:
	default:
		return
	}
	entry := Entry{
		Host: shorten(e.Host), Port: e.Port, Binary: shorten(e.Binary), Unverified: e.Unverified, Script: shorten(e.Script), Method: shorten(e.Method),
		Path: shorten(e.Path), Model: shorten(e.Model), Rule: e.Rule, RuleAt: e.RuleAt, Audited: e.Audited,
	}
	switch {
	case e.Verdict == "reroute":
		entry.Verdict = "reroute"
		if e.Kind == Connect {
			return // its requests follow, each with its model
		}
		s.totals.Rerouted++
	case e.Verdict == "allow":
		entry.Verdict = "allow"
		if e.Inspected {
			return // its requests follow
		}
		// Only the endpoint is of interest: the paths of an allowed host are many.
		entry.Method, entry.Path = "", ""
		s.totals.Allowed++
	default: // an unknown verdict is none that let something out
		entry.Verdict = "deny"
		entry.Protocol = refusedProtocol(e)
		entry.Layer = e.Detail["layer"]
		if e.Kind == Inference {
			entry.Layer = "inference" // the route decides there, not a rule
		}
		if entry.Layer == "address" {
			entry.Addr = e.Addr
			entry.Path, entry.Method = "", "" // the same for every request
		} else {
			entry.Asked = shorten(e.Asked())
			if lines := e.Detail[RuleMissing]; len(lines) <= MaxRuleMissing {
				entry.RuleMissing = lines
			}
		}
		s.totals.Denied++
	}
	s.add(entry, shorten(e.Reason))
}

// ellipsis ends a string that was shortened.
const ellipsis = "…"

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + ellipsis
}

func refusedProtocol(e Event) string {
	if e.Kind == Refused || e.Kind == DNS {
		return e.Protocol
	}
	return ""
}

func (s *Summary) add(entry Entry, reason string) {
	if s.count == nil {
		s.count = make(map[Entry]*entryState)
	}
	st := s.count[entry]
	if st == nil {
		if s.listed == nil {
			s.listed = make(map[string]int)
		}
		if s.listed[entry.Verdict] == maxEntries {
			s.more++
			return
		}
		s.listed[entry.Verdict]++
		s.order++
		st = &entryState{order: s.order, reason: reason}
		s.count[entry] = st
	}
	st.count++
}

// Totals are the sums so far.
func (s *Summary) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals
}

// Data is the Summary at this moment; lists are in the order of first
// appearance. suggest may be nil.
func (s *Summary) Data(suggest Suggest) SummaryData {
	s.mu.Lock()
	d := SummaryData{Totals: s.totals, More: s.more, Allowed: []Entry{}, Denied: []Entry{}, Rerouted: []Entry{}}
	if !s.first.IsZero() {
		d.Duration = s.last.Sub(s.first)
		d.Millis = d.Duration.Milliseconds()
	}
	type numbered struct {
		Entry
		order uint64
	}
	all := make([]numbered, 0, len(s.count))
	for e, st := range s.count {
		e.Count, e.Reason = st.count, st.reason
		all = append(all, numbered{e, st.order})
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b numbered) int { return cmp.Compare(a.order, b.order) })
	for _, n := range all {
		switch n.Verdict {
		case "allow":
			d.Allowed = append(d.Allowed, n.Entry)
		case "reroute":
			d.Rerouted = append(d.Rerouted, n.Entry)
		case "failed":
			d.Failed = append(d.Failed, n.Entry)
		case rerouteFailed:
			d.Missed = append(d.Missed, n.Entry)
		default:
			d.Denied = append(d.Denied, n.Entry)
		}
	}
	if suggest != nil {
		list := suggestions(d.Denied, suggest)
		for _, sg := range list {
			d.Suggest = append(d.Suggest, sg.Suggestion)
		}
		lines, notes := merge(list)
		d.Policy = strings.Join(append(lines, notes...), "\n")
	}
	return d
}

// SummaryOptions say how Render writes.
type SummaryOptions struct {
	Suggest Suggest // nil: no suggestions
	// Rows bounds each list as it is printed; 0: 20.
	Rows int
	// Audit is the path of the log, named as the place of the rest; "" : not.
	Audit string
	// Where names what suggested lines are added to; "": the policy.
	Where string
	// Next is printed below suggested lines: what to type then.
	Next string
}

// Render writes the Summary for people. All strings are escaped.
func (s *Summary) Render(w io.Writer, o SummaryOptions) error {
	d := s.Data(o.Suggest)
	rows := o.Rows
	if rows <= 0 {
		rows = 20
	}
	var b strings.Builder
	fmt.Fprintf(&b, "creel: %s · %d allowed · %d denied · %d rerouted · %s in · %s out\n",
		d.Duration.Round(100*time.Millisecond), d.Totals.Allowed, d.Totals.Denied, d.Totals.Rerouted,
		size(d.Totals.BytesIn), size(d.Totals.BytesOut))
	section(&b, "allowed", d.Allowed, rows)
	section(&b, "rerouted", d.Rerouted, rows)
	section(&b, "rerouted, but not reached", d.Missed, rows)
	section(&b, "allowed, but not reached", d.Failed, rows)
	section(&b, "denied", d.Denied, rows)
	if d.More > 0 {
		fmt.Fprintf(&b, "  and %d more decisions of other kinds\n", d.More)
	}
	if d.Policy != "" {
		allows := strings.HasPrefix(d.Policy, policyHeader) // remarks stand below the rules, or alone
		if allows {
			b.WriteString("to allow what was denied, add what you agree with to " + Printable(cmp.Or(o.Where, "the policy")) + ":\n")
		} else {
			b.WriteString("about what was denied:\n")
		}
		// At the left margin, as they are pasted.
		for l := range strings.SplitSeq(d.Policy, "\n") {
			b.WriteString(Printable(l) + "\n")
		}
		if allows && o.Next != "" {
			b.WriteString(Printable(o.Next) + "\n")
		}
	}
	if o.Audit != "" {
		b.WriteString("audit: " + Printable(o.Audit) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func section(b *strings.Builder, title string, list []Entry, rows int) {
	if len(list) == 0 {
		return
	}
	b.WriteString(title + "\n")
	for i, e := range list {
		if i == rows {
			fmt.Fprintf(b, "  and %d more\n", len(list)-rows)
			return
		}
		fmt.Fprintf(b, "  %5d× %s\n", e.Count, Printable(e.String()))
	}
}

// String is the entry on one line, not escaped.
func (e Entry) String() string {
	var b strings.Builder
	if e.Protocol != "" {
		b.WriteString(e.Protocol + " ")
	}
	if e.Method != "" {
		b.WriteString(e.Method + " ")
	}
	b.WriteString(e.Host)
	if e.Port != 0 {
		fmt.Fprintf(&b, ":%d", e.Port)
	}
	b.WriteString(e.Path)
	if e.Asked != "" {
		b.WriteString(" (" + e.Asked + ")")
	}
	if e.Model != "" {
		b.WriteString(" model " + e.Model)
	}
	if e.Binary != "" {
		b.WriteString(" by " + caller(e.Binary, e.Unverified, e.Script))
	}
	switch {
	case e.Rule != "":
		b.WriteString(" — rule " + e.Rule)
		if e.RuleAt != "" {
			b.WriteString(" (" + e.RuleAt + ")")
		}
	}
	if (e.Verdict == "deny" || e.Verdict == "failed" || e.Verdict == rerouteFailed) && e.Reason != "" {
		b.WriteString(" — " + e.Reason)
	}
	if e.Audited {
		b.WriteString(" (would be denied: enforcement is audit)")
	}
	return b.String()
}

func size(n int64) string {
	const k = 1024
	switch {
	case n < k:
		return fmt.Sprintf("%d B", n)
	case n < k*k:
		return fmt.Sprintf("%.1f KiB", float64(n)/k)
	case n < k*k*k:
		return fmt.Sprintf("%.1f MiB", float64(n)/(k*k))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(k*k*k))
}
