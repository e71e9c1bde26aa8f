package pii

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/middleware/layers"
)

// Name is what a policy calls the middleware of this package.
const Name = "creel/pii"

const maxFound = 1000

var errFound = errors.New("too much of what is looked for stands in it")

// A matcher looks whether something begins at byte i of a text, or stands around
// it; from is not before low, up to which all is used up.
type matcher func(text []byte, low, i int) (from, to int, ok bool)

// kinds are what can be looked for, each with the bytes at which it is tried.
var kinds = map[string]struct {
	at    func(c byte) bool
	match matcher
}{
	"email":  {func(c byte) bool { return c == '@' }, email},
	"phone":  {func(c byte) bool { return c == '+' }, phone},
	"card":   {isDigit, card},
	"iban":   {isCapital, iban},
	"ip":     {func(c byte) bool { return isDigit(c) || c == ':' || 'a' <= c|0x20 && c|0x20 <= 'f' }, address},
	"us_ssn": {isDigit, usSSN},
	"br_cpf": {isDigit, brCPF},
	"es_dni": {isDigit, esDNI},
	"fr_nir": {isDigit, frNIR},
}

// usual are the kinds that are looked for if none are written.
var usual = []string{"card", "email", "iban", "phone", "us_ssn"}

// Factory gives the middleware. Its settings are kinds and those of
// middleware.Scan.
func Factory(config map[string]any) (middleware.Middleware, error) {
	settings := middleware.NewSettings(config)
	chosen := settings.Choices("kinds", usual, slices.Sorted(maps.Keys(kinds))...)
	scan := &middleware.Scan{What: "personal data", Most: middleware.MaxBody}
	scan.Read(settings)
	if err := settings.Err(); err != nil {
		return nil, err
	}
	f, err := newFinder(chosen)
	if err != nil {
		return nil, err
	}
	scan.Find = f.find
	return scan, nil
}

// finder looks for some kinds, in their order.
type finder struct {
	names []string
	each  []matcher
	tried [256][]int // by byte: which of them
}

func newFinder(names []string) (*finder, error) {
	f := &finder{names: slices.Sorted(slices.Values(names))}
	for i, n := range f.names {
		k, ok := kinds[n]
		if !ok {
			return nil, errors.New("no such kind as " + n)
		}
		f.each = append(f.each, k.match)
		for c := range f.tried {
			if k.at(byte(c)) {
				f.tried[c] = append(f.tried[c], i)
			}
		}
	}
	return f, nil
}

func (f *finder) find(ctx context.Context, text []byte) ([]middleware.Finding, error) {
	var found []middleware.Finding
	if len(text) == 0 {
		return nil, nil
	}
	for layer, err := range layers.Of(ctx, text) {
		if err != nil {
			return nil, err
		}
		low := 0
		for i := 0; i < len(layer.Text); i++ {
			for _, n := range f.tried[layer.Text[i]] {
				from, to, ok := f.each[n](layer.Text, low, i)
				if !ok {
					continue
				}
				low, i = to, max(to-1, i)
				if layer.Copied(from, to) {
					break
				}
				if len(found) == maxFound {
					return nil, errFound
				}
				a, b, via := layer.Origin(from, to)
				found = append(found, middleware.Finding{Rule: "pii/" + f.names[n], From: a, To: b, Via: via})
				break
			}
		}
	}
	return found, nil
}

func isDigit(c byte) bool   { return '0' <= c && c <= '9' }
func isCapital(c byte) bool { return 'A' <= c && c <= 'Z' }
func isLetter(c byte) bool  { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isAlnum(c byte) bool   { return isDigit(c) || isLetter(c) }

// at gives a byte of the text, or a space outside of it.
func at(text []byte, i int) byte {
	if i < 0 || i >= len(text) {
		return ' '
	}
	return text[i]
}
