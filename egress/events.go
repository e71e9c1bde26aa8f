package egress

import (
	"bytes"
	"io"
)

// eventScreen passes a stream of server-sent events on, event by event: each is
// written anew from what was read of it, with what the agent may have of its
// messages. A message that cannot be read ends the stream.
//
// Source: the HTML standard, "Server-sent events", of which all of the parsing is
// here: fields that it does not know are dropped.
type eventScreen struct {
	io.ReadCloser
	x     *exchange
	apply func(text []byte) ([]byte, error)

	line   []byte // that is not complete
	wasCR  bool   // a line feed that comes next belongs to it
	begun  bool   // behind a byte order mark, if there was one
	data   []byte
	hasAny bool // data of this event, be it empty
	kind   []byte
	fields []byte // id and retry of this event, as they are written
	out    []byte
	err    error
}

func (s *eventScreen) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(s.out) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.fill()
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// fill reads once. An event that the stream breaks off in is none.
func (s *eventScreen) fill() {
	s.out = nil
	buf := make([]byte, 16<<10)
	n, err := s.ReadCloser.Read(buf)
	if err != nil {
		s.err = err
		if s.x.overdue.Load() {
			s.err = &screenError{reasonScreen + errOverdue.Error()}
		}
	}
	for _, c := range buf[:n] {
		if c == '\n' && s.wasCR {
			s.wasCR = false
			continue
		}
		s.wasCR = c == '\r'
		if c != '\n' && c != '\r' {
			s.line = append(s.line, c)
			continue
		}
		if err := s.field(); err != nil {
			s.err = err
			return
		}
	}
	if err := s.x.hold(len(s.line) + len(s.data) + len(s.kind) + len(s.fields)); err != nil {
		s.err = &screenError{reasonScreen + err.Error()}
	}
}

// field takes a line that is complete.
func (s *eventScreen) field() error {
	line := s.line
	s.line = nil
	if !s.begun {
		s.begun = true
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	if len(line) == 0 {
		return s.dispatch()
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "": // a comment, which keeps the connection open
		s.out = append(s.out, ":\n"...)
	case "data":
		if s.hasAny {
			s.data = append(s.data, '\n')
		}
		s.data, s.hasAny = append(s.data, value...), true
	case "event":
		s.kind = value
	case "id", "retry":
		s.fields = append(append(append(append(s.fields, name...), ": "...), value...), '\n')
	}
	return nil
}

// dispatch ends an event.
func (s *eventScreen) dispatch() error {
	data, kind := s.data, string(s.kind)
	given := s.hasAny
	s.data, s.kind, s.hasAny = nil, nil, false
	s.x.releaseAnswer()
	if len(data) > 0 && (kind == "" || kind == "message" || isJSONText(data)) {
		screened, err := s.apply(data)
		switch {
		case err == nil:
			data = screened
		case kind == "" || kind == "message":
			return &screenError{reasonScreen + err.Error()}
		default: // of a type that is not MCP's, and no message of its either
			given = false
		}
	}
	if given && kind != "" {
		s.out = append(append(append(s.out, "event: "...), kind...), '\n')
	}
	s.out, s.fields = append(s.out, s.fields...), nil
	if given {
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			s.out = append(append(append(s.out, "data: "...), line...), '\n')
		}
	}
	s.out = append(s.out, '\n')
	return nil
}

// isJSONText: some client may take it for a message.
func isJSONText(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}
