package pac

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

const (
	// maxQuestion bounds one evaluation, names included: past it the child is killed.
	maxQuestion = 6 * time.Second
	// maxStart bounds the time until a child has answered for the first time.
	maxStart = 10 * time.Second

	// maxLookups bounds the names of one evaluation, maxName each, in bytes, and
	// lookupTime the wait for one.
	maxLookups = 16
	maxName    = 253
	lookupTime = 2 * time.Second
	// maxAddrs bounds what a script is told of a name.
	maxAddrs = 16

	// A child that dies is replaced, but not without end: a script may be written for it.
	maxDeaths   = 5
	deathWindow = time.Minute
)

// Child is a process that serves. Close kills it and waits for its end.
type Child interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// Evaluator asks a script. Its zero value answers nothing.
type Evaluator struct {
	script string
	start  func() (Child, error)
	lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	now    func() time.Time

	life context.Context // until Close
	stop context.CancelFunc

	turn   chan struct{} // holds one while somebody uses what is below
	child  Child         // nil: none
	deaths []time.Time   // of the last deathWindow
}

// New makes an Evaluator of a script: start starts a child, lookup gives the
// addresses of a name that the script asks for; nil: there are none. It must not wait
// for this Evaluator. Nothing is started yet.
func New(script string, start func() (Child, error), lookup func(ctx context.Context, name string) ([]netip.Addr, error)) (*Evaluator, error) {
	if len(script) > MaxScript {
		return nil, fmt.Errorf("the script has more than %d KiB", MaxScript>>10)
	}
	e := &Evaluator{script: script, start: start, lookup: lookup, now: time.Now, turn: make(chan struct{}, 1)}
	e.life, e.stop = context.WithCancel(context.Background())
	return e, nil
}

// ScriptError is the script's own fault. Its text is what a script threw, as plain
// text; it is for the operator.
type ScriptError struct{ Text string }

func (e *ScriptError) Error() string { return e.Text }

// Find gives the script's answer for a URL, of which host is the host. The answer is
// a text of at most 2 KiB and nothing is known of it. Who does not wait for it ends
// nothing: a client that comes and goes must not cost a process each time.
func (e *Evaluator) Find(ctx context.Context, url, host string) (string, error) {
	if url == "" {
		return "", errors.New("no URL")
	}
	return e.question(ctx, url, host)
}

// Check has the script read, and not asked.
func (e *Evaluator) Check(ctx context.Context) error {
	_, err := e.question(ctx, "", "")
	return err
}

func (e *Evaluator) question(ctx context.Context, url, host string) (string, error) {
	if e == nil || e.turn == nil {
		return "", errors.New("no script")
	}
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := e.answer(question{Script: e.script, URL: url, Host: host})
		<-e.turn
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// answer has the turn.
func (e *Evaluator) answer(q question) (string, error) {
	most := maxQuestion
	if e.child == nil {
		if err := e.begin(); err != nil {
			return "", err
		}
		most = maxStart
	}
	q.Me = ownAddresses()
	text, err := e.ask(most, q)
	if script := (*ScriptError)(nil); err != nil && !errors.As(err, &script) {
		// It is not known what it would say next.
		_ = e.child.Close()
		e.child = nil
		e.deaths = append(e.deaths, e.now())
		return "", fmt.Errorf("ask the script: %w", err)
	}
	return text, err
}

func (e *Evaluator) begin() error {
	if e.life.Err() != nil {
		return errors.New("the script is not asked any more")
	}
	for len(e.deaths) > 0 && e.now().Sub(e.deaths[0]) > deathWindow {
		e.deaths = e.deaths[1:]
	}
	if len(e.deaths) >= maxDeaths {
		return errors.New("the process that runs the script was ended too often: it is not started again for a while")
	}
	child, err := e.start()
	if err != nil {
		e.deaths = append(e.deaths, e.now())
		return fmt.Errorf("start the process that runs the script: %w", err)
	}
	e.child = child
	return nil
}

func (e *Evaluator) ask(most time.Duration, q question) (string, error) {
	ctx, cancel := context.WithTimeout(e.life, most)
	defer cancel()
	child := e.child
	if err := child.SetDeadline(time.Time{}); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = child.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	text, err := e.talk(ctx, child, q)
	if script := (*ScriptError)(nil); err == nil || errors.As(err, &script) {
		// A deadline that fell just now would meet the next question.
		if !stop() {
			err = context.Cause(ctx)
		}
	} else if ctx.Err() != nil {
		err = errors.New("no answer in time")
	}
	return text, err
}

func (e *Evaluator) talk(ctx context.Context, child Child, q question) (string, error) {
	if err := send(child, q); err != nil {
		return "", err
	}
	for range maxLookups + 1 {
		var r reply
		if err := receive(child, maxReplySize, &r); err != nil {
			return "", err
		}
		switch {
		case r.Answer != nil && r.Error == nil && r.Lookup == nil && len(*r.Answer) <= maxAnswer:
			return *r.Answer, nil
		case r.Error != nil && r.Answer == nil && r.Lookup == nil:
			return "", &ScriptError{plain(*r.Error)}
		case r.Lookup != nil && r.Answer == nil && r.Error == nil && len(*r.Lookup) <= maxName:
			if err := send(child, found{e.addresses(ctx, *r.Lookup)}); err != nil {
				return "", err
			}
		default:
			return "", errors.New("not an answer")
		}
	}
	return "", errors.New("too many names")
}

// addresses looks a name up. Whatever goes wrong, the script is told that there are
// none, as browsers do.
func (e *Evaluator) addresses(ctx context.Context, name string) []netip.Addr {
	if e.lookup == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := e.lookup(ctx, name)
	if err != nil {
		return nil
	}
	return addrs[:min(len(addrs), maxAddrs)]
}

// Close ends the child, and waits for what is going on. Nothing is answered after it.
func (e *Evaluator) Close() error {
	if e == nil || e.turn == nil {
		return nil
	}
	e.stop()
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	if e.child == nil {
		return nil
	}
	err := e.child.Close()
	e.child = nil
	return err
}

// ownAddresses are those that this machine would use towards the internet, of both
// families. Nothing is sent: a connected UDP socket knows its source address. The
// destinations are for documentation (RFC 5737, RFC 3849).
func ownAddresses() []netip.Addr {
	var all []netip.Addr
	for _, to := range []string{"192.0.2.1:53", "[2001:db8::1]:53"} {
		c, err := net.Dial("udp", to)
		if err != nil {
			continue
		}
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
			all = append(all, a.AddrPort().Addr().Unmap().WithZone(""))
		}
		_ = c.Close()
	}
	return all
}
