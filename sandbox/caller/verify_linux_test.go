package caller

import (
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVerify: who is refused is unknown, with its name; an ancestor that is
// refused is left out.
func TestVerify(t *testing.T) {
	var mu sync.Mutex
	var refuse string
	wrong := 0
	b := newBox(t)
	b.tracker.ps.verify = func(path string, dev, ino uint64) bool {
		mu.Lock()
		defer mu.Unlock()
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Dev != dev || st.Ino != ino {
			wrong++
		}
		return path != refuse
	}
	b.start()
	_, p := programs(t, "one", "two", "three")
	one, two, three := p[0], p[1], p[2]
	for _, tt := range []struct {
		name, refuse string
		known        bool
		ancestors    []string
	}{
		{"nobody", "", true, []string{two, one}},
		{"an ancestor", two, true, []string{one}},
		{"the first ancestor", one, true, []string{two}},
		{"the caller", three, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mu.Lock()
			refuse = tt.refuse
			mu.Unlock()
			b := *b
			b.t = t
			b.order(order{Path: one, Args: []string{one, helperArg, "agent", "chain", two, three, b.l4.Addr().String()}})
			c := b.expect(b.l4)
			got := b.lookup(c)
			if got.Known != tt.known || got.Binary != three || !slices.Equal(got.Ancestors, tt.ancestors) {
				t.Errorf("caller %+v, wanted known %v, %s below %q", got, tt.known, three, tt.ancestors)
			}
			c.Close()
			b.finish()
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if wrong > 0 {
		t.Errorf("%d calls with another file's numbers", wrong)
	}
}
