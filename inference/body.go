package inference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxModel bounds a model's name: the longest known (Bedrock ARNs) have about
// 150 bytes, and the name goes into every event.
const maxModel = 256

// maxMembers bounds the members at the top of a body: the services know about 40.
const maxMembers = 512

// span is a half-open range of bytes.
type span struct{ from, to int }

// document is a request body whose top level was read strictly. The bytes stay
// as they are, so that what is sent is what was judged.
type document struct {
	raw      []byte
	model    string
	modelAt  span // the value of "model", with its quotes; empty: absent
	insertAt int  // just behind the opening brace
	empty    bool // no member at all
	keys     map[string]bool
}

// readDocument reads a JSON object. Faults: not JSON, not UTF-8, not an object,
// a top-level key twice, a key that a careless backend would take for "model"
// (some compare keys without case), a model that is not a short string.
func readDocument(raw []byte) (*document, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("the body is not UTF-8")
	}
	if !json.Valid(raw) {
		return nil, errors.New("the body is not valid JSON")
	}
	d := &document{raw: raw, keys: map[string]bool{}}
	s := scanner{raw: raw}
	s.space()
	if s.peek() != '{' {
		return nil, errors.New("the body is not a JSON object")
	}
	s.at++
	d.insertAt = s.at
	for s.space(); s.peek() != '}'; s.space() {
		if s.peek() == ',' {
			s.at++
			s.space()
		}
		key, err := s.text()
		if err != nil {
			return nil, err
		}
		if d.keys[key] {
			// Keys are not quoted: reasons go to the audit, which holds nothing of bodies.
			return nil, errors.New("the body has a key twice")
		}
		if len(d.keys) == maxMembers {
			return nil, fmt.Errorf("the body has more than %d members at its top", maxMembers)
		}
		d.keys[key] = true
		s.space()
		s.at++ // the colon; validity was checked
		s.space()
		value := s.value()
		if !strings.EqualFold(key, "model") {
			continue
		}
		if key != "model" {
			return nil, errors.New("the body has a key that may be read as \"model\", in other letters")
		}
		if err := json.Unmarshal(raw[value.from:value.to], &d.model); err != nil || raw[value.from] != '"' {
			return nil, errors.New("the model is not a string")
		}
		if d.model == "" || len(d.model) > maxModel {
			return nil, fmt.Errorf("the name of the model is empty or has more than %d bytes", maxModel)
		}
		d.modelAt = value
	}
	d.empty = len(d.keys) == 0
	return d, nil
}

// withModel gives the body with another model, every other byte as it was.
func (d *document) withModel(name string) ([]byte, error) {
	if name == d.model {
		return d.raw, nil
	}
	text, err := json.Marshal(name)
	if err != nil {
		return nil, err
	}
	at := d.modelAt
	if at == (span{}) {
		at = span{d.insertAt, d.insertAt}
		text = append([]byte(`"model":`), text...)
		if !d.empty {
			text = append(text, ',')
		}
	}
	return bytes.Join([][]byte{d.raw[:at.from], text, d.raw[at.to:]}, nil), nil
}

// scanner walks over the top level of JSON that is known to be valid.
type scanner struct {
	raw []byte
	at  int
}

func (s *scanner) peek() byte {
	if s.at < len(s.raw) {
		return s.raw[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.raw) && strings.IndexByte(" \t\r\n", s.raw[s.at]) >= 0 {
		s.at++
	}
}

// text reads a string and decodes its escapes.
func (s *scanner) text() (string, error) {
	v := s.value()
	var out string
	if err := json.Unmarshal(s.raw[v.from:v.to], &out); err != nil {
		return "", errors.New("the body has a key that is not a string")
	}
	return out, nil
}

// value steps over one value.
func (s *scanner) value() span {
	from, depth := s.at, 0
	for s.at < len(s.raw) {
		switch c := s.raw[s.at]; c {
		case '"':
			s.quoted()
			if depth == 0 {
				return span{from, s.at}
			}
			continue
		case '{', '[':
			depth++
		case '}', ']', ',', ' ', '\t', '\r', '\n', ':':
			if depth == 0 {
				return span{from, s.at} // behind a number or a word
			}
			if c == '}' || c == ']' {
				depth--
				if depth == 0 {
					s.at++
					return span{from, s.at}
				}
			}
		}
		s.at++
	}
	return span{from, s.at}
}

func (s *scanner) quoted() {
	for s.at++; s.at < len(s.raw); s.at++ {
		switch s.raw[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return
		}
	}
}
