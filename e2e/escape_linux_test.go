package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// event and policyLoaded spare a test the import.
type event = audit.Event

const policyLoaded = audit.PolicyLoad

// The ways in by which attacks are tried, beside those of wire.
const (
	cleared = "cleared" // a child that cleared its environment
	inside  = "inside"  // not over the network: files, calls, signals
)

// line is one line of the attack catalogue, tried against one sandbox. It is a
// test and the sandbox at once.
type line struct {
	*testing.T
	*live
	id   string
	sink *sink // nil: the line has no network
	n    int
	ways []string
}

// escape runs the subtest escape_ID (one ID of the catalogue, or ID-more). What
// every line needs is asserted here and in try, once for all of them:
//
//  1. the sink saw nothing of the attack (try; the sink is the oracle, never the client);
//  2. an event with the reason exists (try, or denied and event of live);
//  3. no secret (canary) and no raw control byte stands in any log or page;
//  4. afterwards the sandbox still works: control does what is permitted, and
//     says what went wrong if it did not work.
//
// Every way in that was tried is a line of the log in the form that `make
// attacks` reads.
func (l *live) escape(t *testing.T, s *sink, id string, control func(x *line) string, attack func(x *line)) {
	t.Helper()
	t.Run("escape_"+id, func(t *testing.T) {
		x := &line{T: t, live: l, id: id, sink: s}
		outer := l.t
		l.t, l.line = t, x
		defer func() { l.t, l.line = outer, nil }()
		attack(x)
		if len(x.ways) == 0 {
			x.Error("the test tells no way in that it tried: call way or try")
		}
		x.clean()
		if got := x.sh("echo alive"); got != "alive" {
			x.Fatalf("the sandbox does not work afterwards: %s", got)
		}
		if wrong := control(x); wrong != "" {
			x.Fatalf("what is permitted does not work: %s", wrong)
		}
	})
}

// way tells that the line was tried in this way. Nil and empty tell nothing.
func (x *line) way(way string) {
	if x == nil || way == "" {
		return
	}
	for _, w := range x.ways {
		if w == way {
			return
		}
	}
	x.ways = append(x.ways, way)
	x.Logf("escape %s way=%s user=%s", x.id, way, userKind())
}

func userKind() string {
	if os.Geteuid() == 0 {
		return "root"
	}
	return "ordinary"
}

// mark is a text that stands nowhere else.
func (x *line) mark() string {
	x.n++
	return fmt.Sprintf("mark%s%s%d", strings.ReplaceAll(x.id, "-", ""), userKind(), x.n)
}

// try makes one attack by one way: do sends the mark as a part of it, and gives
// what came back. The mark must not arrive, and the denial must be recorded. An
// empty way is told by what do does (see wire).
func (x *line) try(way, what string, do func(mark string) string) audit.Event {
	x.Helper()
	seq := len(x.events())
	x.unseen(way, what, do)
	e := x.denied(seq)
	if strings.ContainsFunc(e.Host+e.Path+e.Reason+e.Method+e.Binary, isRaw) {
		x.Errorf("%s (%s): raw control bytes in the event: %+v", what, way, e)
	}
	return e
}

// unseen is try for an attack that ends before anything that could be an event:
// the sink alone decides.
func (x *line) unseen(way, what string, do func(mark string) string) string {
	x.Helper()
	x.way(way)
	mark := x.mark()
	got := do(mark)
	if x.sink.holds(mark) {
		x.Errorf("%s (%s): it reached the sink:\n%s", what, way, got)
	}
	if strings.ContainsFunc(got, isRaw) && !isHTTP2(got) {
		x.Errorf("%s (%s): raw control bytes in what came back: %q", what, way, got)
	}
	return got
}

// isHTTP2: frames, which begin with settings on stream 0.
func isHTTP2(got string) bool {
	return len(got) > 9 && got[0] == 0 && got[3] == 4 && got[5:9] == "\x00\x00\x00\x00"
}

// isRaw: what may stand on no terminal and no page.
func isRaw(r rune) bool {
	switch r {
	case '\n', '\r', '\t':
		return false
	case '\u202a', '\u202b', '\u202c', '\u202d', '\u202e', '\u2066', '\u2067', '\u2068', '\u2069', '\u200b', '\u200e', '\u200f':
		return true
	}
	return r < ' ' || r >= 0x7f && r < 0xa0
}

// clean: no secret and no raw control byte in the log, on standard error, or in
// what `audit show` makes of the log.
func (x *line) clean() {
	x.Helper()
	shown := creelCmd(x.T, "audit", "show", x.audit)
	for what, text := range map[string]string{"the audit log": readFile(x.T, x.audit), "standard error": x.stderr.String(), "audit show": shown.stdout + shown.stderr} {
		if i := strings.Index(text, "canary-"); i >= 0 {
			x.Errorf("a secret stands in %s: %q", what, text[max(0, i-80):min(len(text), i+40)])
		}
		if i := strings.IndexFunc(text, isRaw); i >= 0 {
			x.Errorf("a raw control byte stands in %s: %q", what, text[max(0, i-80):min(len(text), i+40)])
		}
	}
}
