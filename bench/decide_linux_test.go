package main

import (
	"reflect"
	"testing"
)

func TestReadBenchmarks(t *testing.T) {
	const out = `goos: linux
BenchmarkDecision/connect-2         	  100	       200.5 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecision/connect-2         	  100	       180 ns/op	       0 B/op	       1 allocs/op
BenchmarkDecision/connect-2         	  100	       190 ns/op	       0 B/op	       2 allocs/op
BenchmarkDecision/request   	  3	  5e+06 ns/op	 12 B/op	       7 allocs/op
BenchmarkBroken-2	--- SKIP
PASS
`
	want := map[string]figure{
		"BenchmarkDecision/connect": {180, 1},
		"BenchmarkDecision/request": {5e6, 7},
	}
	if got := readBenchmarks(out); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// One run of a program serves both of its contenders, in any order.
func TestOneRunServesBoth(t *testing.T) {
	c := &comparison{}
	c.benchmark(goBenchmark{"x, ", ", n", "BenchmarkDecision", decisionParts, 1, nil}, "echo",
		"BenchmarkDecision/connect 1 5 ns/op 0 allocs/op\nBenchmarkDecision/request 1 9 ns/op 3 allocs/op")
	for _, i := range []int{1, 0, 0, 1} {
		v, err := c.list[i].measure()
		if want := []float64{5, 9}[i]; v != want || err != nil {
			t.Errorf("%s: %v, %v", c.list[i].name, v, err)
		}
	}
	if c.allocations["x, request, n"] != 3 {
		t.Errorf("allocations: %v", c.allocations)
	}
}
