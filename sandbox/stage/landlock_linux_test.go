package stage

import "testing"

// TestHandled: each ABI handles what it knows and nothing newer, which the
// kernel would refuse; reaching unix sockets is handled and never granted.
func TestHandled(t *testing.T) {
	for abi, want := range map[int]uint64{1: 1<<13 - 1, 2: 1<<14 - 1, 3: 1<<15 - 1, 4: 1<<15 - 1, 5: 1<<16 - 1, 8: 1<<16 - 1, 9: 1<<17 - 1, 12: 1<<17 - 1} {
		if got := handled(abi); got != want {
			t.Errorf("ABI %d: %#x, want %#x", abi, got, want)
		}
	}
	for abi := range 12 {
		if access := granted(^uint64(0), abi); access&resolveUnix != 0 || access&^handled(abi) != 0 {
			t.Errorf("ABI %d grants %#x", abi, access)
		}
	}
}
