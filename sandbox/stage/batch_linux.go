package stage

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch collects calls for a child, and keeps alive what they point to.
type batch struct {
	calls []call
	keep  []any
	text  []byte  // room for strings
	fds   []int32 // room for results
	err   error   // the first argument that cannot be passed on
	what  string  // of the calls that follow
	name  string
}

// step names the calls that follow, for errors: what is done, and to what.
func (b *batch) step(what, subject string) { b.what, b.name = what, subject }

// add appends a call. An argument of type *int32 is the descriptor (or number)
// that stands there when the call is made; strings and byte slices are passed by
// address.
func (b *batch) add(nr uintptr, args ...any) *call {
	c := call{nr: nr, what: b.what, subject: b.name}
	for i, a := range args {
		switch v := a.(type) {
		case int:
			c.arg[i] = uintptr(v)
		case uintptr:
			c.arg[i] = v
		case uint64:
			c.arg[i] = uintptr(v)
		case *int32:
			c.arg[i] = uintptr(unsafe.Pointer(v))
			c.load |= 1 << i
			b.keep = append(b.keep, v)
		case string:
			c.arg[i] = b.str(v)
		case []byte:
			c.arg[i] = b.data(v)
		case unsafe.Pointer:
			c.arg[i] = uintptr(v)
			b.keep = append(b.keep, v)
		default:
			b.fail(fmt.Errorf("cannot pass %T", a))
		}
	}
	if len(b.calls) == cap(b.calls) {
		b.calls = append(make([]call, 0, 2*cap(b.calls)+64), b.calls...)
	}
	b.calls = append(b.calls, c)
	return &b.calls[len(b.calls)-1]
}

func (b *batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// cell is room for one result.
func (b *batch) cell() *int32 {
	if len(b.fds) == 0 {
		b.fds = make([]int32, 128)
	}
	p := &b.fds[0]
	b.fds = b.fds[1:]
	*p = -1
	return p
}

// str gives the address of a copy that ends with a zero.
func (b *batch) str(s string) uintptr {
	for i := range len(s) {
		if s[i] == 0 {
			b.fail(fmt.Errorf("%s %s: a zero byte inside", b.what, s))
			return 0
		}
	}
	if len(b.text) < len(s)+1 {
		b.text = make([]byte, max(8<<10, len(s)+1))
		b.keep = append(b.keep, b.text)
	}
	p := uintptr(unsafe.Pointer(&b.text[0]))
	n := copy(b.text, s)
	b.text[n] = 0
	b.text = b.text[n+1:]
	return p
}

func (b *batch) data(p []byte) uintptr {
	if len(p) == 0 {
		return 0
	}
	b.keep = append(b.keep, p)
	return uintptr(unsafe.Pointer(&p[0]))
}

// get is a call whose result is a descriptor.
func (b *batch) get(nr uintptr, args ...any) *int32 {
	out := b.cell()
	b.add(nr, args...).out = out
	return out
}

func (b *batch) close(fd *int32) { b.add(unix.SYS_CLOSE, fd) }

// CallError is a call that failed in a child.
type CallError struct {
	Step    string
	Subject string        // what it was done to; may be empty
	Errno   syscall.Errno // 0: end of file
}

func (e *CallError) Error() string {
	s := e.Step
	if e.Subject != "" {
		s += " " + e.Subject
	}
	if e.Errno == 0 {
		return s + ": end of file"
	}
	return s + ": " + e.Errno.Error()
}

func (e *CallError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}
