package automaton

import "fmt"

// MaxStates bounds one automaton or product. A path glob has some tens of
// states; the largest product that a policy of 1,000 rules needed in tests has
// some thousands.
const MaxStates = 1 << 16

// maxSteps bounds the work of one construction, some nanoseconds each, and
// maxTuples the numbers that a product keeps: states may be few and wide.
const (
	maxSteps  = 1 << 28
	maxTuples = 1 << 24
)

// TooLargeError says that a construction would pass a bound.
type TooLargeError struct{ What string }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("build automaton of %s: more than %d states, or as much work", e.What, MaxStates)
}

// Automaton is a set of texts. Its zero value and nil are the empty set.
type Automaton struct {
	class  [256]uint8 // of each byte
	width  int        // number of classes
	next   []int32    // state × width; state 0 is the start
	accept []bool
	work   int
}

// Work is what the construction took, in steps of some nanoseconds.
func (a *Automaton) Work() int { return a.whole().work }

// states is the number of states; the empty set has one.
func (a *Automaton) states() int { return len(a.accept) }

// Size is the number of states.
func (a *Automaton) Size() int { return max(1, a.whole().states()) }

// whole gives the zero value its one state.
func (a *Automaton) whole() *Automaton {
	if a == nil || len(a.accept) == 0 {
		return Nothing()
	}
	return a
}

func (a *Automaton) step(state int32, c byte) int32 {
	return a.next[int(state)*a.width+int(a.class[c])]
}

// Match reports whether a text is in the set.
func (a *Automaton) Match(s string) bool {
	a = a.whole()
	state := int32(0)
	for i := 0; i < len(s); i++ {
		state = a.step(state, s[i])
	}
	return a.accept[state]
}

// Nothing is the empty set, Everything the set of all texts.
func Nothing() *Automaton    { return &Automaton{width: 1, next: []int32{0}, accept: []bool{false}} }
func Everything() *Automaton { return &Automaton{width: 1, next: []int32{0}, accept: []bool{true}} }

// Not is the complement within all texts.
func Not(a *Automaton) *Automaton {
	a = a.whole()
	b := &Automaton{class: a.class, width: a.width, next: a.next, accept: make([]bool, len(a.accept))}
	for i, in := range a.accept {
		b.accept[i] = !in
	}
	return b
}

// And is the intersection, Or the union, Minus the difference.
func And(a, b *Automaton) (*Automaton, error) {
	return combine(a, b, func(x, y bool) bool { return x && y })
}

func Or(a, b *Automaton) (*Automaton, error) {
	return combine(a, b, func(x, y bool) bool { return x || y })
}

func Minus(a, b *Automaton) (*Automaton, error) {
	return combine(a, b, func(x, y bool) bool { return x && !y })
}

func combine(a, b *Automaton, keep func(x, y bool) bool) (*Automaton, error) {
	c, err := Classify(nil, []*Automaton{a, b})
	if err != nil {
		return nil, err
	}
	out := &Automaton{class: c.class, width: c.width, next: c.next, accept: make([]bool, len(c.of))}
	for state, class := range c.of {
		out.accept[state] = keep(c.List[class].In(0), c.List[class].In(1))
	}
	return out.Minimal(), nil
}

// Empty reports whether the set has no text.
func (a *Automaton) Empty() bool {
	_, some := a.Witness()
	return !some
}

// Witness is a shortest text of the set, of those the one that reads best.
func (a *Automaton) Witness() (string, bool) {
	a = a.whole()
	order := readable(&a.class, a.width)
	type step struct {
		from int32
		byte byte
	}
	back := make([]step, a.states())
	seen := make([]bool, a.states())
	queue := []int32{0}
	seen[0] = true
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if a.accept[s] {
			var text []byte
			for s != 0 {
				text = append(text, back[s].byte)
				s = back[s].from
			}
			reverse(text)
			return string(text), true
		}
		for _, c := range order {
			if t := a.step(s, c); !seen[t] {
				seen[t] = true
				back[t] = step{s, c}
				queue = append(queue, t)
			}
		}
	}
	return "", false
}

// Includes reports whether every text of b is in a; if not, it gives one that
// is not.
func Includes(a, b *Automaton) (bool, string, error) {
	d, err := Minus(b, a)
	if err != nil {
		return false, "", err
	}
	w, some := d.Witness()
	return !some, w, nil
}

// Equal reports whether two sets are the same; if not, it gives a text that is
// in one of them alone.
func Equal(a, b *Automaton) (bool, string, error) {
	d, err := combine(a, b, func(x, y bool) bool { return x != y })
	if err != nil {
		return false, "", err
	}
	w, some := d.Witness()
	return !some, w, nil
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

// preferred are the bytes of witnesses, the most readable first.
const preferred = "abcdefghijklmnopqrstuvwxyz0123456789-_./ABCDEFGHIJKLMNOPQRSTUVWXYZ~+=@:,!$&'()* \"#%;<>?[\\]^`{|}"

// readable gives for every class of bytes its most readable byte, the most
// readable class first.
func readable(class *[256]uint8, width int) []byte {
	order := make([]byte, 0, width)
	var seen [256]bool
	take := func(c byte) {
		if !seen[class[c]] {
			seen[class[c]] = true
			order = append(order, c)
		}
	}
	for i := 0; i < len(preferred); i++ {
		take(preferred[i])
	}
	for c := range 256 {
		// High bytes before control bytes: what follows is UTF-8 at best.
		take(byte(c ^ 0x80))
	}
	return order
}
