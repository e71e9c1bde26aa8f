package pac

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// inProcess is a child that serves in this process; dead tells that it was closed.
type inProcess struct {
	net.Conn
	done chan struct{}
}

func (c *inProcess) Close() error { err := c.Conn.Close(); <-c.done; return err }

// acted starts children that behave as f does, and counts them.
func acted(f func(io.ReadWriter)) (start func() (Child, error), count *int) {
	count = new(int)
	return func() (Child, error) {
		*count++
		ours, theirs := net.Pipe()
		c := &inProcess{ours, make(chan struct{})}
		go func() { defer close(c.done); defer theirs.Close(); f(theirs) }()
		return c, nil
	}, count
}

func served(rw io.ReadWriter) { _ = Serve(rw) }

func newEvaluator(t *testing.T, script string, start func() (Child, error), lookup func(context.Context, string) ([]netip.Addr, error)) *Evaluator {
	t.Helper()
	e, err := New(script, start, lookup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestFind: one child answers many questions, and has names looked up.
func TestFind(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	lookup := func(_ context.Context, name string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, name)
		if name == "no.test" {
			return []netip.Addr{netip.MustParseAddr("192.0.2.9")}, errors.New("no")
		}
		return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
	}
	start, started := acted(served)
	e := newEvaluator(t, `function FindProxyForURL(url, host) {
		if (host == "bad.test") throw "bad";
		for (var i = 0; i < 50; i++) if (isInNet(host, "192.168.0.0", "255.255.0.0")) return "DIRECT";
		return [url, host, dnsResolve(host), typeof myIpAddress()].join(" ");
	}`, start, lookup)
	if *started != 0 {
		t.Error("a child was started before there was a question")
	}
	if err := e.Check(t.Context()); err != nil {
		t.Error(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			host := fmt.Sprintf("h%d.test", i)
			got, err := e.Find(t.Context(), "https://"+host+"/", host)
			if want := "https://" + host + "/ " + host + " 10.0.0.7 string"; err != nil || got != want {
				t.Errorf("%q %v, want %q", got, err, want)
			}
		})
	}
	wg.Wait()
	if len(asked) != 20 {
		t.Errorf("names were looked up %d times for 20 hosts", len(asked))
	}
	if got, err := e.Find(t.Context(), "https://no.test/", "no.test"); err != nil || !strings.Contains(got, " no.test  ") && !strings.Contains(got, "null") && !strings.HasSuffix(got, "no.test  string") {
		t.Errorf("%q %v", got, err)
	}
	var own *ScriptError
	if got, err := e.Find(t.Context(), "https://bad.test/", "bad.test"); got != "" || !errors.As(err, &own) || own.Text != "FindProxyForURL: bad" {
		t.Errorf("%q %v", got, err)
	}
	if *started != 1 {
		t.Errorf("%d children were started", *started)
	}
	if got, err := e.Find(t.Context(), "", ""); got != "" || err == nil {
		t.Errorf("%q %v", got, err)
	}
}

// TestLookupsAreBounded: a script that wants more names has no answer, and the next
// question has one.
func TestLookupsAreBounded(t *testing.T) {
	var n int
	start, started := acted(served)
	e := newEvaluator(t, `function FindProxyForURL(url, host) { for (var i = 0; i < (host == "many.test" ? 1000 : 3); i++) dnsResolve("n" + i + ".test"); dnsResolve("x".repeat(300)); return "DIRECT" }`, start,
		func(context.Context, string) ([]netip.Addr, error) { n++; return make([]netip.Addr, 5000), nil })
	var own *ScriptError
	if got, err := e.Find(t.Context(), "https://many.test/", "many.test"); got != "" || !errors.As(err, &own) || n != maxLookups {
		t.Errorf("%q %v after %d names", got, err, n)
	}
	if got, err := e.Find(t.Context(), "https://few.test/", "few.test"); got != "DIRECT" || err != nil || *started != 1 {
		t.Errorf("%q %v, %d children", got, err, *started)
	}
}

// TestChildren: whatever a child does but answer is an error; it is ended, and after
// some of them none is started for a while.
func TestChildren(t *testing.T) {
	frame := func(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	text := func(n int) string { b, _ := json.Marshal(strings.Repeat("x", n)); return string(b) }
	for name, says := range map[string][]byte{
		"nothing": nil, "half a head": {0, 0}, "half a message": frame(`{"answer":"DIRECT"}`)[:10], "no JSON": frame(`DIRECT`), "no object": frame(`"DIRECT"`),
		"empty": frame(`{}`), "null": frame(`null`), "two": frame(`{"answer":"DIRECT","lookup":"a.test"}`), "both": frame(`{"answer":"DIRECT","error":"x"}`), "a number": frame(`{"answer":7}`),
		"huge head": {0xff, 0xff, 0xff, 0xff}, "too long": frame(`{"answer":` + text(maxAnswer+1) + `}`), "long error": frame(`{"error":` + text(maxReplySize) + `}`), "a long name": frame(`{"lookup":` + text(maxName+1) + `}`),
	} {
		t.Run(name, func(t *testing.T) {
			start, started := acted(func(rw io.ReadWriter) {
				var q question
				if receive(rw, maxQuestionSize, &q) == nil {
					_, _ = rw.Write(says)
				}
			})
			e := newEvaluator(t, "", start, nil)
			clock := time.Unix(1e9, 0)
			e.now = func() time.Time { return clock }
			for range maxDeaths + 3 {
				got, err := e.Find(t.Context(), "https://a.test/", "a.test")
				if own := (*ScriptError)(nil); got != "" || err == nil || errors.As(err, &own) {
					t.Errorf("%q %v", got, err)
				}
			}
			if *started != maxDeaths {
				t.Errorf("%d children were started", *started)
			}
			clock = clock.Add(deathWindow + time.Second)
			if _, err := e.Find(t.Context(), "https://a.test/", "a.test"); err == nil || *started != maxDeaths+1 {
				t.Errorf("%v, %d children", err, *started)
			}
		})
	}
	t.Run("names without end", func(t *testing.T) {
		start, _ := acted(func(rw io.ReadWriter) {
			var q question
			_ = receive(rw, maxQuestionSize, &q)
			for n := "a.test"; send(rw, reply{Lookup: &n}) == nil; {
				var f found
				if receive(rw, maxReplySize, &f) != nil {
					return
				}
			}
		})
		n := 0
		e := newEvaluator(t, "", start, func(context.Context, string) ([]netip.Addr, error) { n++; return nil, nil })
		if _, err := e.Find(t.Context(), "https://a.test/", "a.test"); err == nil || n > maxLookups+1 {
			t.Errorf("%v after %d names", err, n)
		}
	})
	t.Run("none can be started", func(t *testing.T) {
		n := 0
		e := newEvaluator(t, "", func() (Child, error) { n++; return nil, errors.New("no") }, nil)
		for range 2 * maxDeaths {
			if _, err := e.Find(t.Context(), "https://a.test/", "a.test"); err == nil {
				t.Error("an answer")
			}
		}
		if n != maxDeaths {
			t.Errorf("%d starts were tried", n)
		}
	})
}

// TestSilentChild: who waits is not held for longer than he wants, and ends nothing by
// leaving; Close ends all.
func TestSilentChild(t *testing.T) {
	heard, ended := make(chan struct{}, 10), make(chan struct{}, 10)
	start, started := acted(func(rw io.ReadWriter) {
		var q question
		_ = receive(rw, maxQuestionSize, &q)
		heard <- struct{}{}
		_, _ = io.Copy(io.Discard, rw)
		ended <- struct{}{}
	})
	e := newEvaluator(t, "", start, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-heard; cancel() }()
	for range 3 {
		if got, err := e.Find(ctx, "https://a.test/", "a.test"); got != "" || !errors.Is(err, context.Canceled) {
			t.Errorf("%q %v", got, err)
		}
	}
	select {
	case <-ended:
		t.Error("an impatient caller ended the child")
	default:
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	if *started != 1 {
		t.Errorf("%d children", *started)
	}
}

func TestBounds(t *testing.T) {
	if _, err := New(strings.Repeat("x", MaxScript+1), nil, nil); err == nil {
		t.Error("a script of more than its bound was taken")
	}
	var none *Evaluator
	for _, e := range []*Evaluator{none, {}} {
		if got, err := e.Find(t.Context(), "https://a.test/", "a.test"); got != "" || err == nil {
			t.Errorf("%q %v", got, err)
		}
		if err := e.Check(t.Context()); err == nil || e.Close() != nil {
			t.Error(err)
		}
	}
	// The longest script that there may be, all of it bytes that JSON writes as six.
	var b bytes.Buffer
	var q question
	if err := send(&b, question{Script: strings.Repeat("<", MaxScript)}); err != nil {
		t.Fatal(err)
	}
	if err := receive(&b, maxQuestionSize, &q); err != nil || len(q.Script) != MaxScript {
		t.Errorf("%d bytes, %v", len(q.Script), err)
	}
	start, started := acted(served)
	e := newEvaluator(t, `function FindProxyForURL() { return "DIRECT" }`, start, nil)
	_ = e.Close()
	if got, err := e.Find(t.Context(), "https://a.test/", "a.test"); got != "" || err == nil || *started != 0 {
		t.Errorf("%q %v", got, err)
	}
	if err := Ready(); err != nil {
		t.Error(err)
	}
}
