package pac

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"time"

	"modernc.org/quickjs"
)

const (
	// MaxScript bounds a script, in bytes: lists of a whole company's networks are
	// some hundred thousand.
	MaxScript = 1 << 20

	// maxHeap bounds what a script allocates, in bytes. The engine refuses more, and the
	// script gets an error.
	maxHeap = 32 << 20

	// maxRun bounds reading the script and, again, asking it, names that it looks up
	// included. The engine looks at the clock in loops of the script, not in its own:
	// those are ended by maxQuestion.
	maxRun = 2 * time.Second
)

// world is what a script may know.
type world struct {
	lookup func(name string) []netip.Addr // nil: no such name, or no answer
	me     []netip.Addr                   // this machine's; the first one is the likeliest
	now    time.Time                      // with the zone that is local
}

// evaluate gives what FindProxyForURL says; without a URL it only reads the script. It fails if the script is wrong, throws,
// takes too much, or gives anything but a text.
func evaluate(script, url, host string, w world) (string, error) {
	vm, err := quickjs.NewVM()
	if err != nil {
		return "", errors.New("the script engine cannot be started")
	}
	defer vm.Close()
	vm.SetMemoryLimit(maxHeap)
	if err := vm.SetEvalTimeout(maxRun); err != nil {
		return "", err
	}
	for name, f := range w.functions() {
		if err := vm.RegisterHostFunc(name, func(args []any) (any, error) { return f(args), nil }); err != nil {
			return "", err
		}
	}
	if _, err := vm.Eval(strings.TrimPrefix(script, "\ufeff"), quickjs.EvalGlobal); err != nil {
		return "", thrown("reading the script", err)
	}
	if v, err := vm.Eval("typeof FindProxyForURL", quickjs.EvalGlobal); err != nil || v != "function" {
		return "", errors.New("the script has no function FindProxyForURL")
	}
	if url == "" {
		return "", nil
	}
	// The name need not be a property of the global object (const FindProxyForURL = …).
	v, err := vm.Eval("FindProxyForURL("+quote(url)+","+quote(host)+")", quickjs.EvalGlobal)
	if err != nil {
		return "", thrown("FindProxyForURL", err)
	}
	text, ok := v.(string)
	switch {
	case !ok:
		return "", errors.New("FindProxyForURL gives no text")
	case len(text) > maxAnswer:
		return "", errors.New("FindProxyForURL gives too long a text")
	}
	return text, nil
}

// quote writes a text as a literal of JavaScript, of which JSON is a part.
func quote(s string) string {
	b, _ := json.Marshal(s) // of a string: never an error
	return string(b)
}

// thrown says what a script threw, as far as that is text for people.
func thrown(what string, err error) error {
	return errors.New(what + ": " + plain(err.Error()))
}

// plain is the beginning of a hostile text, on one line.
func plain(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	if s = strings.Join(strings.Fields(s), " "); s == "" {
		return "an error"
	}
	return s[:min(len(s), most)]
}
