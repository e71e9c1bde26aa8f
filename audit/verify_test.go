package audit

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func join(ls ...[]byte) []byte {
	b := bytes.Join(ls, nil)
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return b
}

// forge makes a line with a right hash of its own, as somebody would who knows the format.
func forge(t testing.TB, e Event) []byte {
	t.Helper()
	line, _, err := encode(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	return append(line, '\n')
}

func TestVerifyFinds(t *testing.T) {
	ls := lines(t, 6)
	ls[5] = append(slices.Clone(ls[5]), '\n')
	e, _, err := decode(bytes.TrimSuffix(ls[2], []byte("\n")))
	if err != nil {
		t.Fatal(err)
	}
	e.Host = "evil.test"
	forged := forge(t, e)
	edit := bytes.Replace(ls[2], []byte("a.test"), []byte("b.test"), 1)
	tests := []struct {
		name string
		log  []byte
		want []string // a part of each fault, in order
		torn bool
	}{
		{"sound", join(ls...), nil, false},
		{"empty", nil, nil, false},
		{"edit", join(ls[0], ls[1], edit, ls[3]), []string{"event 3 was changed"}, false},
		{"forged edit", join(ls[0], ls[1], forged, ls[3]), []string{"event 4 does not follow"}, false},
		{"gap", join(ls[0], ls[1], ls[4], ls[5]), []string{"gap: 2 events missing between event 2 and event 5"}, false},
		{"cut beginning", join(ls[2:]...), []string{"begins with event 3: the 2 events"}, false},
		{"swapped", join(ls[0], ls[2], ls[1], ls[3]), []string{"gap", "out of order", "gap"}, false},
		{"repeated", join(ls[0], ls[1], ls[1], ls[2]), []string{"repeated"}, false},
		{"blank line", join(ls[0], []byte("\n"), ls[1]), []string{"not an audit event"}, false},
		{"carriage return", join(bytes.Replace(ls[0], []byte("\n"), []byte("\r\n"), 1)), []string{"not an audit event"}, false},
		{"blank inserted", join(bytes.Replace(ls[0], []byte(`,"time"`), []byte(`, "time"`), 1)), []string{"event 1 was changed"}, false},
		{"torn", bytes.TrimSuffix(join(ls...), []byte("\n")), nil, true},
		{"no number", forge(t, Event{}), []string{"without a number"}, false},
		{"first with a past", forge(t, Event{Seq: 1, Prev: strings.Repeat("0", hashLen)}), []string{"beginning is missing"}, false},
		{"line too long", join(ls[0], bytes.Repeat([]byte("x"), maxLine+1), []byte("\n"), ls[1]), []string{"longer than"}, false},
	}
	for _, tt := range tests {
		rep := verify(t, tt.log)
		if len(rep.Faults) != len(tt.want) || (rep.Torn != nil) != tt.torn || rep.OK() != (tt.want == nil && !tt.torn) {
			t.Errorf("%s: %+v", tt.name, rep)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(rep.Faults[i].Problem, want) {
				t.Errorf("%s: fault %d is %q, want %q", tt.name, i, rep.Faults[i].Problem, want)
			}
		}
	}
}

func TestVerifyBoundsItsFaults(t *testing.T) {
	rep := verify(t, bytes.Repeat([]byte("\n"), maxFaults+7))
	if len(rep.Faults) != maxFaults || rep.More != 7 {
		t.Errorf("%d faults and %d more", len(rep.Faults), rep.More)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("bad disk") }

func TestVerifyReturnsReadErrors(t *testing.T) {
	if _, err := Verify(failing{}); err == nil || !strings.Contains(err.Error(), "bad disk") {
		t.Errorf("error %v", err)
	}
}

// Whatever is done to one byte of a sound log, or to its lines, is found.
func FuzzVerify(f *testing.F) {
	sound := join(lines(f, 4)...)
	f.Add(sound)
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"seq":1,"hash":"` + strings.Repeat("0", hashLen) + `"}` + "\n"))
	f.Add([]byte(`,"hash":"` + strings.Repeat("f", hashLen) + `"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rep, err := Verify(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if want := uint64(bytes.Count(b, []byte("\n"))); rep.Lines != want {
			t.Fatalf("%d lines, want %d", rep.Lines, want)
		}
		if rep.OK() && rep.Lines != rep.LastSeq {
			t.Fatalf("sound, but %d lines end with event %d", rep.Lines, rep.LastSeq)
		}
	})
}

func FuzzVerifyOneChange(f *testing.F) {
	sound := join(lines(f, 4)...)
	f.Add(0, byte('x'))
	f.Add(len(sound)/2, byte('\n'))
	f.Add(len(sound)-1, byte(' '))
	f.Fuzz(func(t *testing.T, at int, c byte) {
		at = max(at%len(sound), -at%len(sound), 0)
		b := bytes.Clone(sound)
		if b[at] == c {
			t.Skip()
		}
		b[at] = c
		if rep := verify(t, b); rep.OK() {
			t.Fatalf("byte %d changed to %q is not found", at, c)
		}
	})
}
