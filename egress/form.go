package egress

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/creel-run/creel/policy"
)

const (
	// maxFormKey is how much of a key is looked at: every spelling of a name of
	// method fields is shorter, percent-encoded.
	maxFormKey = 128
	// maxFormMethod is the longest value of such a field that is judged.
	maxFormMethod = 3 * maxMethod
	// maxPartHead bounds a line of the head of a part of multipart/form-data.
	maxPartHead = 4 << 10
)

// overrideError is a form that names a method that the rules do not allow.
type overrideError struct{ reason string }

func (e *overrideError) Error() string { return e.reason }

// formScan reads a form through, and fails before it has given out a field that
// turns the request into another one which judge refuses: what is sent of it by
// then can never become complete.
type formScan struct {
	io.ReadCloser
	judge func(method string) error
	step  func(f *formScan, c byte) // looks at one byte

	out  []byte // ready to be given out
	held []byte // behind it: a value that is not judged yet
	err  error

	// of a pair
	key, value       []byte
	inValue, telling bool

	// of a part
	line   []byte
	inHead bool
}

// scanForm wraps the body of a form; ok is false if the body is none.
func scanForm(header http.Header, body io.ReadCloser, judge func(method string) error) (_ io.ReadCloser, ok bool) {
	// Servers look at what stands before the parameters, whatever those are.
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	kind, _, _ = strings.Cut(kind, ",")
	f := &formScan{ReadCloser: body, judge: judge}
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "application/x-www-form-urlencoded":
		f.step = (*formScan).pair
	case "multipart/form-data":
		f.step = (*formScan).part
	default:
		return body, false
	}
	if isEncoded(header) {
		f.everyMethod() // a server that reads it sees what is not seen here
	}
	return f, true
}

func (f *formScan) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(f.out) == 0 {
		if f.err != nil {
			return 0, f.err
		}
		f.fill()
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	return n, nil
}

// fill reads once. Bytes from the begin of a telling value on are held back.
func (f *formScan) fill() {
	const piece = 16 << 10
	buf := make([]byte, len(f.held)+piece)
	have := copy(buf, f.held)
	n, err := f.ReadCloser.Read(buf[have:])
	hold := -1
	if f.telling {
		hold = 0
	}
	for i, c := range buf[have : have+n] {
		was := f.telling
		f.step(f, c)
		switch {
		case f.err != nil:
			return // nothing of this piece is given out
		case f.telling && !was:
			hold = have + i
		case !f.telling:
			hold = -1
		}
	}
	if err != nil {
		if f.end(); f.err != nil {
			return
		}
		f.err, hold = err, -1
	}
	end := have + n
	if hold >= 0 {
		end = hold
	}
	f.out, f.held = buf[:end], buf[end:have+n]
}

// pair looks at one byte of application/x-www-form-urlencoded.
func (f *formScan) pair(c byte) {
	switch {
	case c == '&' || c == ';':
		f.end()
		f.key, f.value, f.inValue, f.telling = f.key[:0], f.value[:0], false, false
	case c == '=' && !f.inValue:
		f.inValue, f.telling = true, namesMethod(lenient(string(f.key)))
	case !f.inValue && len(f.key) < maxFormKey:
		f.key = append(f.key, c)
	case f.inValue && f.telling:
		if f.value = append(f.value, c); len(f.value) > maxFormMethod {
			f.err = &overrideError{"a field of the form names another method, which is none"}
		}
	}
}

// end judges the pair that is complete.
func (f *formScan) end() {
	if !f.telling || f.err != nil {
		return
	}
	if m := strings.ToUpper(strings.TrimSpace(lenient(string(f.value)))); m != "" {
		f.err = f.judge(m)
	}
	f.telling = false
}

// part looks at one byte of multipart/form-data. The value of a field that names
// a method comes later, so that every method which it may name must be allowed.
func (f *formScan) part(c byte) {
	if c != '\n' {
		if len(f.line) < maxPartHead {
			f.line = append(f.line, c)
		}
		return
	}
	line := bytes.TrimSuffix(f.line, []byte("\r"))
	f.line = f.line[:0]
	switch {
	case bytes.HasPrefix(line, []byte("--")): // whatever the boundary is: servers read it in several ways
		f.inHead = true
	case len(line) == 0:
		f.inHead = false
	case f.inHead && partNamesMethod(string(line)):
		f.everyMethod()
	}
}

// everyMethod judges the form as all methods that it may name.
func (f *formScan) everyMethod() {
	for _, m := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodPost} {
		if f.err = f.judge(m); f.err != nil {
			return
		}
	}
}

// partNamesMethod: some parser may take the name of the part for a method field.
func partNamesMethod(line string) bool {
	for _, p := range strings.FieldsFunc(line, func(r rune) bool { return r == ';' || r == ' ' || r == '\t' }) {
		key, name, ok := strings.Cut(p, "=")
		if !ok || !strings.HasPrefix(strings.ToLower(key), "name") {
			continue
		}
		if i := strings.LastIndexByte(name, '\''); i >= 0 && strings.HasSuffix(key, "*") {
			name = name[i+1:] // RFC 5987
		}
		if namesMethod(lenient(strings.Trim(name, `"'`))) {
			return true
		}
	}
	return false
}

// judgeForm judges the request once more as the method that its form names.
func (x *exchange) judgeForm(method string) error {
	if method == x.request.Method {
		return nil
	}
	asked := x.request
	asked.Method = method
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	asked.Connection = x.present()
	if c.isCut || c.mode != modeInspect || len(x.asked) > maxOverrides+1 {
		return &overrideError{"the form names several other methods"}
	}
	if d := x.count([]policy.Request{asked}); d.Verdict != policy.Allow {
		return &overrideError{"a field of the form names another method, " + printableMethod(method) + ", and for it: " + d.Reason}
	}
	x.asked = append(x.asked, asked) // Recheck looks at it, too
	return nil
}
