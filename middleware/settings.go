package middleware

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings reads the config of a middleware: every key that is not asked for is
// a fault, and all faults come at once, from Err.
type Settings struct {
	values map[string]any
	known  []string
	faults []string
}

func NewSettings(config map[string]any) *Settings { return &Settings{values: config} }

func (s *Settings) value(key string) (any, bool) {
	s.known = append(s.known, key)
	v, ok := s.values[key]
	return v, ok
}

func (s *Settings) fault(key, want string) {
	s.faults = append(s.faults, key+": want "+want)
}

// Choice reads one of several words.
func (s *Settings) Choice(key, otherwise string, words ...string) string {
	v, ok := s.value(key)
	if !ok {
		return otherwise
	}
	if text, ok := v.(string); ok && slices.Contains(words, text) {
		return text
	}
	s.fault(key, "one of "+strings.Join(words, ", "))
	return otherwise
}

// Choices reads a list of words, at least one, each of which is one of words.
func (s *Settings) Choices(key string, otherwise []string, words ...string) []string {
	v, ok := s.value(key)
	if !ok {
		return otherwise
	}
	list, ok := v.([]any)
	var out []string
	for _, item := range list {
		text, isText := item.(string)
		ok = ok && isText && slices.Contains(words, text) && !slices.Contains(out, text)
		out = append(out, text)
	}
	if !ok || len(out) == 0 {
		s.fault(key, "a list of "+strings.Join(words, ", ")+", each once")
		return otherwise
	}
	return out
}

// Err gives all faults; nil: none.
func (s *Settings) Err() error {
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if !slices.Contains(s.known, key) {
			s.faults = append(s.faults, fmt.Sprintf("%q is no key of it; its keys are %s", key, strings.Join(s.known, ", ")))
		}
	}
	if len(s.faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(s.faults, "; "))
}
