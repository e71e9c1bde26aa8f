package main

import (
	"errors"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	tests := []struct {
		in   sample
		q    float64
		want float64
	}{
		{nil, 0.5, 0},
		{sample{3}, 0.9, 3},
		{sample{4, 1, 3, 2}, 0.5, 2.5},
		{sample{5, 1, 2, 4, 3}, 0.5, 3},
		{sample{1, 2, 3, 4, 5}, 1, 5},
		{sample{1, 2, 3, 4, 5}, 0, 1},
		{sample{0, 10}, 0.1, 1},
	}
	for _, tt := range tests {
		if got := tt.in.quantile(tt.q); got != tt.want {
			t.Errorf("%v at %v: %v, want %v", tt.in, tt.q, got, tt.want)
		}
	}
}

// TestTurns: every contender gets its rounds, one that fails leaves by name
// and does not take the others with it.
func TestTurns(t *testing.T) {
	calls := map[string]int{}
	count := func(name string, err error) *contender {
		return &contender{name: name, measure: func() (float64, error) { calls[name]++; return 1, err }}
	}
	c := &comparison{list: []*contender{count("a", nil), count("broken", errors.New("no kernel")), count("b", nil)}}
	c.run(10, time.Hour)
	if calls["a"] != 12 || calls["b"] != 12 || calls["broken"] != 1 {
		t.Errorf("calls: %v", calls)
	}
	if len(c.list) != 2 || len(c.list[0].values) != 10 || len(c.skipped) != 1 || c.skipped[0] != "broken: no kernel" {
		t.Errorf("list %d, skipped %v", len(c.list), c.skipped)
	}
}
