package middleware

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// Bounds of a chain.
const (
	// MaxBody is the largest body that is looked at by anyone, in bytes.
	MaxBody = 4 << 20

	// stageTime bounds one middleware, chainTime all of them, waiting included.
	stageTime = 500 * time.Millisecond
	chainTime = 30 * time.Second

	// atOnce messages are looked at at the same time, and waiting more wait: a
	// body, what is encoded in it and its copy are held in memory meanwhile.
	atOnce  = 8
	waiting = 64

	maxFindings = 100 // of one answer, that are reported
	maxReason   = 300 // bytes
)

// Timed is a Middleware with a time limit of its own.
type Timed interface {
	Middleware
	Timeout() time.Duration
}

// Chain is the middlewares of one policy, in their order. The nil Chain has none.
type Chain struct {
	stages []stage
	slots  chan struct{}
	queue  chan struct{}
}

type stage struct {
	entry policy.Middleware
	does  Middleware
	time  time.Duration
}

// New makes the chain of a policy. known has a factory for every implementation
// by name. The error is policy.Faults, all of them; no entries give a nil Chain.
func New(list []policy.Middleware, known map[string]Factory) (*Chain, error) {
	if len(list) == 0 {
		return nil, nil
	}
	c := &Chain{slots: make(chan struct{}, atOnce), queue: make(chan struct{}, atOnce+waiting)}
	var faults policy.Faults
	for _, e := range list {
		fault := policy.Fault{At: e.At, Path: "network_middlewares." + e.Key, Kind: policy.BadValue}
		make, ok := known[e.Implementation]
		if !ok {
			fault.Path += ".middleware"
			fault.Found, fault.Want = fmt.Sprintf("%q, which is not known here", e.Implementation), "one of "+strings.Join(names(known), ", ")
			faults = append(faults, fault)
			continue
		}
		does, err := make(e.Config)
		if err == nil && does.Takes() == 0 {
			err = errors.New("it looks at nothing")
		}
		if err != nil {
			fault.Path += ".config"
			fault.Found = err.Error()
			faults = append(faults, fault)
			continue
		}
		s := stage{entry: e, does: does, time: stageTime}
		if t, ok := does.(Timed); ok {
			s.time = t.Timeout()
		}
		c.stages = append(c.stages, s)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	slices.SortStableFunc(c.stages, func(a, b stage) int { return a.entry.Order - b.entry.Order })
	return c, nil
}

func names(known map[string]Factory) []string {
	var list []string
	for n := range known {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// Selection is the part of a chain that a host has. The nil Selection is
// nothing: no message needs to be shown to it.
type Selection struct {
	chain  *Chain
	stages []stage
}

// For gives the middlewares of a host; nil: none.
func (c *Chain) For(h netname.Host) *Selection {
	if c == nil {
		return nil
	}
	var s *Selection
	for i := range c.stages {
		if !c.stages[i].entry.Takes(h) {
			continue
		}
		if s == nil {
			s = &Selection{chain: c}
		}
		s.stages = append(s.stages, c.stages[i])
	}
	return s
}

// Takes reports whether messages of a direction have to be shown to Check.
func (s *Selection) Takes(d Direction) bool { return s.MaxBody(d) > 0 }

// MaxBody is how many bytes of a body anyone looks at; a larger one is shown as
// Unseen. 0: no one looks at messages of the direction.
func (s *Selection) MaxBody(d Direction) int {
	n := 0
	if s != nil {
		for _, st := range s.stages {
			if st.does.Takes()&d != 0 {
				n = max(n, min(st.does.MaxBody(), MaxBody))
			}
		}
	}
	return n
}

// FailClosed reports whether one of them denies what it cannot look at.
func (s *Selection) FailClosed() bool {
	if s == nil {
		return false
	}
	return slices.ContainsFunc(s.stages, func(st stage) bool { return !st.entry.FailOpen })
}

// Opaque is what becomes of bytes that are no messages, in any direction: each of
// the middlewares fails, because of why.
func (s *Selection) Opaque(why string) Result {
	r := Result{Action: Pass}
	if s == nil {
		return r
	}
	for _, st := range s.stages {
		if !r.add(&st, Answer{}, st.failed(errors.New(why))) {
			break
		}
	}
	return r
}

// Result is what becomes of a message, and why.
type Result struct {
	Action  Action
	Body    []byte // of Change, without content coding: Content-Encoding has to go
	By      string // key of the middleware that denied
	At      policy.Position
	Reason  string // of Deny
	Failed  bool   // it was denied because a middleware failed
	Reports []Report
}

// Report is for the record: what one middleware did.
type Report struct {
	Key            string
	Implementation string
	At             policy.Position
	Action         Action
	Findings       []Finding // the first ones
	Found          int       // how many there were
	Failure        string    // it gave no answer, because; the message passed if Action says so
	Took           time.Duration
}

// Check shows a message to all middlewares that take it. judge is asked about
// every body that one of them wrote, before the next one sees it, and gives an
// error if the policy does not allow it; nil: any body is fine.
func (s *Selection) Check(ctx context.Context, m *Message, judge func(body []byte) error) Result {
	if !s.Takes(m.Direction) {
		return Result{Action: Pass}
	}
	ctx, cancel := context.WithTimeout(ctx, chainTime)
	defer cancel()
	release, err := s.chain.enter(ctx)
	if err != nil {
		return Result{Reason: err.Error(), Failed: true}
	}
	defer release()

	seen := *m // what the next middleware sees
	var unseen error
	if m.Unseen != "" {
		unseen = errors.New(m.Unseen)
	} else {
		seen.Header, seen.Body, unseen = identity(m.Header, m.Body, s.MaxBody(m.Direction))
	}
	r := Result{Action: Pass}
	for _, st := range s.stages {
		if st.does.Takes()&m.Direction == 0 {
			continue
		}
		a, report := st.check(ctx, &seen, unseen)
		if report.Failure == "" && a.Action == Change && judge != nil {
			if err := judge(a.Body); err != nil {
				a = Answer{Reason: "what it made of the message is not allowed: " + err.Error(), Findings: a.Findings}
				report.Action = Deny
			}
		}
		if !r.add(&st, a, report) {
			return r
		}
		if r.Action == Change {
			seen.Body = r.Body
		}
	}
	return r
}

// add takes what one of them said, and reports whether the next one is asked.
func (r *Result) add(st *stage, a Answer, report Report) bool {
	r.Reports = append(r.Reports, report)
	switch report.Action {
	case Pass:
		return true
	case Change:
		r.Action, r.Body = Change, a.Body
		return true
	case Deny:
	}
	r.Action, r.Body = Deny, nil
	r.By, r.At, r.Reason, r.Failed = st.entry.Key, st.entry.At, a.Reason, report.Failure != ""
	if r.Failed {
		r.Reason = "the middleware " + st.entry.Key + " gave no answer: " + report.Failure
	}
	return false
}

// enter waits for one of the slots; release gives it back.
func (c *Chain) enter(ctx context.Context) (release func(), err error) {
	select {
	case c.queue <- struct{}{}:
	default:
		return nil, fmt.Errorf("more than %d messages wait for middlewares", waiting)
	}
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots; <-c.queue }, nil
	case <-ctx.Done():
		<-c.queue
		return nil, errors.New("no middleware was free in time")
	}
}

// check asks one middleware. The action of the report is what happens.
func (st *stage) check(ctx context.Context, m *Message, unseen error) (a Answer, r Report) {
	begin := time.Now()
	err := unseen
	if err == nil {
		a, err = st.ask(ctx, m)
	}
	if err != nil {
		r = st.failed(err)
		r.Took = time.Since(begin)
		return Answer{}, r
	}
	r = Report{Key: st.entry.Key, Implementation: st.entry.Implementation, At: st.entry.At, Took: time.Since(begin)}
	a.Reason = cut(a.Reason)
	if a.Action == Deny && a.Reason == "" {
		a.Reason = "the middleware " + st.entry.Key + " denied it"
	}
	r.Action, r.Found, r.Findings = a.Action, len(a.Findings), a.Findings
	if r.Found > maxFindings {
		r.Findings = a.Findings[:maxFindings:maxFindings]
	}
	return a, r
}

// failed is the report of one that gave no answer.
func (st *stage) failed(err error) Report {
	r := Report{Key: st.entry.Key, Implementation: st.entry.Implementation, At: st.entry.At, Failure: cut(err.Error())}
	if st.entry.FailOpen {
		r.Action = Pass
	}
	return r
}

func (st *stage) ask(ctx context.Context, m *Message) (a Answer, err error) {
	most := min(st.does.MaxBody(), MaxBody)
	if len(m.Body) > most {
		return a, fmt.Errorf("the body has more than %d bytes", most)
	}
	ctx, cancel := context.WithTimeout(ctx, st.time)
	defer cancel()
	defer func() {
		if v := recover(); v != nil { // what it says may hold a part of the message
			a, err = Answer{}, errors.New("it broke down")
		}
	}()
	shown := *m
	a, err = st.does.Check(ctx, &shown)
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Answer{}, fmt.Errorf("it took longer than %v", st.time)
	case err == nil && ctx.Err() != nil:
		return Answer{}, ctx.Err()
	case err != nil:
		return Answer{}, err
	}
	switch a.Action {
	case Deny, Pass:
		a.Body = nil
	case Change:
		if m.Direction&st.does.Takes() == 0 || len(a.Body) > most {
			return Answer{}, fmt.Errorf("it wrote a body of more than %d bytes", most)
		}
	default:
		return Answer{}, errors.New("its answer is none of pass, change and deny")
	}
	return a, nil
}

// cut bounds a text that comes from a middleware, and makes it one line.
func cut(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}
