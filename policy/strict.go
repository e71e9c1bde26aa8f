package policy

import "go.yaml.in/yaml/v3"

// Strict decodes the documents that stand beside a policy (expectations,
// assertions) with its strictness, bounds and messages: every fault at once,
// unknown and repeated keys included.
type Strict struct{ d *decoder }

// Value is a place in such a document.
type Value struct{ v value }

// ReadStrict parses the bytes of a document. what names it in messages, begin
// is the hint for an empty one. ok is false if there is nothing to decode:
// Err says why.
func ReadStrict(name string, data []byte, what, begin string) (s *Strict, root Value, ok bool) {
	s = &Strict{&decoder{file: name, version: 1}}
	v, ok := s.d.read(data)
	if !ok && len(s.d.faults) == 1 && s.d.faults[0].Kind == Missing {
		// What is missing is the document; the decoder takes it for a policy.
		s.d.faults[0].Want, s.d.faults[0].Hint = what+"; the file is empty", begin
	}
	return s, Value{v}, ok
}

// Err is nil, or the Faults found so far, sorted.
func (s *Strict) Err() error {
	if len(s.d.faults) == 0 {
		return nil
	}
	return sortFaults(s.d.faults)
}

// Count is the number of faults so far: whether one decoding step found any.
func (s *Strict) Count() int { return len(s.d.faults) }

// At is the position of a value.
func (s *Strict) At(v Value) Position { return s.d.at(v.v.n) }

// Node is the value as the YAML library has it, with its place.
func (v Value) Node() *yaml.Node { return v.v.n }

// Null reports a value that is absent: a key with nothing behind it.
func (v Value) Null() bool { return v.v.n == nil || isNull(v.v.n) }

// Child is a key of v that is not there, for a fault about its absence.
func (v Value) Child(key string) Value { return Value{value{v.v.n, pathKey(v.v.path, key)}} }

// Section decodes a mapping that may hold the given keys and no other.
func (s *Strict) Section(v Value, what string, keys ...string) (map[string]Value, bool) {
	if v.v.n.Kind != yaml.MappingNode { // a nothing is no section here
		s.d.fault(v.v, WrongType, describe(v.v.n), "a mapping ("+what+")", "")
		return nil, false
	}
	words := make([]word, len(keys))
	for i, k := range keys {
		words[i] = word{name: k, since: 1}
	}
	sec, ok := s.d.section(v.v, what, words)
	out := make(map[string]Value, len(sec.fields))
	for k, f := range sec.fields {
		out[k] = Value{f}
	}
	return out, ok
}

// List calls f for every element of a list of what.
func (s *Strict) List(v Value, what string, f func(i int, v Value)) bool {
	return s.d.list(v.v, what, func(i int, item value) { f(i, Value{item}) })
}

// Text decodes a text.
func (s *Strict) Text(v Value, what string) (string, bool) { return s.d.text(v.v, what) }

// Number decodes a decimal whole number of low..high.
func (s *Strict) Number(v Value, low, high int, what string) (int, bool) {
	return s.d.number(v.v, low, high, what)
}

// Bool decodes true or false.
func (s *Strict) Bool(v Value) (on, ok bool) {
	before := len(s.d.faults)
	on = s.d.boolean(v.v)
	return on, len(s.d.faults) == before
}

// OneOf decodes one of some words; a near miss is named in the hint.
func (s *Strict) OneOf(v Value, want string, words ...string) (string, bool) {
	text, ok := s.d.text(v.v, want)
	if !ok {
		return "", false
	}
	for _, w := range words {
		if text == w {
			return text, true
		}
	}
	s.d.fault(v.v, BadValue, show(text), want, didYouMean(text, words...))
	return "", false
}

// Fault records a fault at a value.
func (s *Strict) Fault(v Value, kind Kind, found, want, hint string) {
	s.d.fault(v.v, kind, found, want, hint)
}

// Show quotes a foreign value for a message: escaped, shortened, and not at all
// if it could be a secret.
func Show(text string) string { return show(text) }

// DidYouMean is the hint for a misspelt word, or "".
func DidYouMean(text string, words ...string) string { return didYouMean(text, words...) }
