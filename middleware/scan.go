package middleware

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// Mode is what happens to a message in which something is found.
type Mode uint8

// The zero Mode denies.
const (
	ModeDeny   Mode = iota
	ModeRedact      // the body loses it; what stands elsewhere is denied
	ModeReport      // nothing but the report
)

// maxRounds bounds how often a redacted body is looked at again: what is left
// of it may be joined to something new.
const maxRounds = 4

// Scan is a Middleware that looks for things in texts.
type Scan struct {
	What  string // a noun for reasons: "a secret"
	Mode  Mode
	On    Direction
	Parts []Part
	Most  int // bytes of a body

	// Find gives what stands in a text, with Rule, From, To, Via and Scattered.
	Find func(ctx context.Context, text []byte) ([]Finding, error)

	// Cover is what stands in the place of a finding in a redacted body; nil:
	// the rule in brackets. It must hold neither quotes nor backslashes.
	Cover func(rule string) string
}

// Words of the settings that all scans share.
var (
	modeWords = map[string]Mode{"deny": ModeDeny, "redact": ModeRedact, "report": ModeReport}
	onWords   = map[string]Direction{"request": Request, "response": Response, "message": AgentMessage, "server_message": ServerMessage}
	partWords = map[string]Part{"body": Body, "target": Target, "headers": Header}
)

// Read reads mode, on and parts. Without them, what an agent sends is denied if
// anything is found in any part of it.
func (s *Scan) Read(from *Settings) {
	s.Mode = modeWords[from.Choice("mode", "deny", "deny", "redact", "report")]
	s.On, s.Parts = 0, nil
	for _, w := range from.Choices("on", []string{"request", "message"}, slices.Sorted(maps.Keys(onWords))...) {
		s.On |= onWords[w]
	}
	for _, w := range from.Choices("parts", []string{"target", "headers", "body"}, slices.Sorted(maps.Keys(partWords))...) {
		s.Parts = append(s.Parts, partWords[w])
	}
}

func (s *Scan) Takes() Direction { return s.On }
func (s *Scan) MaxBody() int     { return s.Most }

// scanTime bounds a scan, which waits for nothing but a processor.
const scanTime = 2 * time.Second

func (s *Scan) Timeout() time.Duration { return scanTime }

// Check looks at the parts of a message.
func (s *Scan) Check(ctx context.Context, m *Message) (Answer, error) {
	if s.Mode > ModeReport {
		return Answer{}, errors.New("no such mode")
	}
	var outside, inside []Finding
	var err error
	for _, p := range s.Parts {
		var found []Finding
		switch p {
		case Target:
			if m.Direction == Request { // the others repeat it
				found, err = s.Find(ctx, []byte(m.Target()))
			}
		case Header:
			found, err = s.headers(ctx, m)
		case Body:
			inside, err = s.Find(ctx, m.Body)
			continue
		}
		if err != nil {
			return Answer{}, err
		}
		for i := range found {
			found[i].Part = p
		}
		outside = append(outside, found...)
	}
	if err != nil {
		return Answer{}, err
	}
	all := append(outside, inside...)
	switch {
	case len(all) == 0:
		return Answer{Action: Pass}, nil
	case s.Mode == ModeReport:
		return Answer{Action: Pass, Findings: all}, nil
	case s.Mode == ModeDeny || len(outside) > 0:
		return Answer{Reason: s.reason(all[0]), Findings: all}, nil
	}
	body, left, err := s.redact(ctx, m, inside)
	switch {
	case err != nil:
		return Answer{}, err
	case left != "":
		return Answer{Reason: s.reason(all[0]) + ", and " + left, Findings: all}, nil
	}
	return Answer{Action: Change, Body: body, Findings: all}, nil
}

// reason says what stands where.
func (s *Scan) reason(f Finding) string {
	text := s.What + " stands in the " + f.Part.String()
	if f.Name != "" {
		text += " " + f.Name
	}
	text += " (" + f.Rule
	if len(f.Via) > 0 {
		text += ", by way of " + strings.Join(f.Via, ", ")
	}
	return text + ")"
}

// headers looks at all fields as one text, and tells by the place whose it is.
func (s *Scan) headers(ctx context.Context, m *Message) ([]Finding, error) {
	var text []byte
	type field struct {
		name        string
		line, value int
	}
	var fields []field
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, v := range m.Header[name] {
			f := field{name: name, line: len(text)}
			if name != "Sec-Websocket-Key" { // random bytes of the protocol, which no name makes a key
				text = append(text, name...)
				text = append(text, ": "...)
			}
			f.value = len(text)
			fields = append(fields, f)
			text = append(append(text, v...), '\n')
		}
		if low := strings.ToLower(name); low != name { // a name has no case: what its sender wrote is not known any more
			fields = append(fields, field{name: name, line: len(text), value: len(text) + len(low) + 1})
			text = append(append(text, low...), '\n')
		}
	}
	found, err := s.Find(ctx, text)
	for i := range found {
		f := &found[i]
		at, _ := slices.BinarySearchFunc(fields, f.From, func(x field, from int) int { return cmp.Compare(x.line, from+1) })
		if at > 0 && !f.Scattered {
			begin := fields[at-1].value
			if f.Name = fields[at-1].name; f.To <= begin { // the name itself is what was found
				f.Name = ""
			}
			f.From, f.To = max(f.From-begin, 0), max(f.To-begin, 0)
		}
	}
	return found, err
}

// redact gives a body in which nothing is found any more; left says why there
// is none.
func (s *Scan) redact(ctx context.Context, m *Message, found []Finding) (body []byte, left string, err error) {
	body = m.Body
	for range maxRounds {
		if len(found) == 0 {
			if json.Valid(m.Body) && !json.Valid(body) {
				return nil, "the JSON around it would not be whole without it", nil
			}
			return body, "", nil
		}
		if slices.ContainsFunc(found, func(f Finding) bool { return f.Scattered || f.To <= f.From }) {
			return nil, "its pieces stand apart, so that they cannot be taken out", nil
		}
		body = s.replace(body, found)
		if found, err = s.Find(ctx, body); err != nil {
			return nil, "", err
		}
	}
	return nil, "what is left when it is taken out is one again", nil
}

// replace puts covers into the places of what was found.
func (s *Scan) replace(body []byte, found []Finding) []byte {
	found = slices.Clone(found)
	slices.SortFunc(found, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.To, a.To)) })
	var out []byte
	done := 0
	for i := 0; i < len(found); {
		from, to, rule := found[i].From, found[i].To, found[i].Rule
		for i++; i < len(found) && found[i].From < to; i++ { // overlapping ones are one
			to = max(to, found[i].To)
		}
		if escaped(body[done:from]) { // the first character belongs to an escape
			from--
		}
		out = append(out, body[done:from]...)
		if isNumber(body, from, to) {
			out = append(out, '0') // JSON stays JSON
		} else if s.Cover != nil {
			out = append(out, s.Cover(rule)...)
		} else {
			out = append(out, "[redacted:"+rule+"]"...)
		}
		done = to
	}
	return append(out, body[done:]...)
}

// escaped reports whether a text ends in a backslash that is not one itself.
func escaped(text []byte) bool {
	return (len(text)-len(bytes.TrimRight(text, `\`)))%2 == 1
}

// isNumber reports whether the bytes are all of a number of a JSON text.
func isNumber(body []byte, from, to int) bool {
	for _, c := range body[from:to] {
		if c < '0' || c > '9' {
			return false
		}
	}
	before, after := bytes.TrimRight(body[:from], " \t\r\n"), bytes.TrimLeft(body[to:], " \t\r\n")
	return len(before) > 0 && len(after) > 0 && strings.IndexByte(":[,", before[len(before)-1]) >= 0 && strings.IndexByte(",]}", after[0]) >= 0
}
