package main

import (
	"fmt"
	"slices"
	"time"
)

// sample holds what one contender measured, in its own unit.
type sample []float64

// quantile interpolates between the two nearest values.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	lower := int(at)
	if lower == len(sorted)-1 {
		return sorted[lower]
	}
	part := at - float64(lower)
	return sorted[lower]*(1-part) + sorted[lower+1]*part
}

func (s sample) median() float64 { return s.quantile(0.5) }

// contender is one program in a comparison. measure gives one value, or an
// error, after which the contender leaves the comparison.
type contender struct {
	name    string
	measure func() (float64, error)

	values sample
	fault  error
	note   func() string // more about it, for the report; nil: nothing
}

// comparison is one figure with all its contenders.
type comparison struct {
	id, title, unit string
	reference       string // the contender that the ratios refer to
	target          string
	conditions      string
	list            []*contender
	skipped         []string
	allocations     map[string]float64 // of one operation, by contender; nil: not counted
}

// run takes turns: every round measures each contender once, the order moving
// on by one, so that drift and neighbours hit all alike. Slow contenders take
// part in fewer rounds; each has at least four. The first two rounds warm up.
func (c *comparison) run(rounds int, budget time.Duration) {
	const warmUp = 2
	stop := time.Now().Add(budget)
	slow := map[*contender]int{}
	for round := range rounds + warmUp {
		if round > warmUp+4 && time.Now().After(stop) {
			break
		}
		for i := range c.list {
			x := c.list[(i+round)%len(c.list)]
			if x.fault != nil || slow[x] > 0 && round > warmUp+4 && round%slow[x] != 0 {
				continue
			}
			begin := time.Now()
			v, err := x.measure()
			if err != nil {
				x.fault = err
				c.skipped = append(c.skipped, fmt.Sprintf("%s: %v", x.name, err))
				continue
			}
			if took := time.Since(begin); took > 200*time.Millisecond {
				slow[x] = 10
			}
			if round >= warmUp {
				x.values = append(x.values, v)
			}
		}
	}
	c.list = slices.DeleteFunc(c.list, func(x *contender) bool { return x.fault != nil || len(x.values) == 0 })
}

func (c *comparison) medianOf(name string) (float64, bool) {
	for _, x := range c.list {
		if x.name == name {
			return x.values.median(), true
		}
	}
	return 0, false
}
