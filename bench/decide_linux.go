package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ruleCounts are the sizes of B6.
var ruleCounts = []int{10, 1000, 100_000}

// decisions is B6: one decision, by Creel's engine and by OPA with the same
// rules. Both are measured by Go's benchmarks in programs of their own, which
// load a file of rules and then time decisions alone.
func (b *bench) decisions() *comparison {
	c := &comparison{
		id: "B6", title: "One policy decision at 10, 1,000 and 100,000 rules", unit: "ns", reference: "creel, request, 1000 rules",
		target: "at most 1 µs and no allocation at 1,000 rules, growth at most logarithmic; aim 300 ns",
		conditions: "Each rule names a host (nine of ten) or the hosts of a domain, two programs, two allow rules and a deny rule; two requests in turn, both allowed. " +
			"A round is the least of seven runs of 30 ms, since a neighbour on the processor only ever adds. " +
			"connect judges the connection, request the connection and a POST with a query. OPA: the query is prepared, input and data are parsed beforehand; " +
			"indexed looks its rules up by an object's key; list walks them, and is left out for the most rules.",
	}
	engine, opa := b.program("policy.test"), b.opa()
	if engine == "" {
		c.skipped = append(c.skipped, "creel: bin/policy.test is missing (bench/run builds it)")
	}
	if opa == "" {
		c.skipped = append(c.skipped, "OPA: not installed (tools/prepare peers)")
	}
	for _, n := range ruleCounts {
		file := b.rules(n)
		suffix := fmt.Sprintf(", %d rules", n)
		if engine != "" {
			c.benchmark(goBenchmark{"creel, ", suffix, "BenchmarkDecision", decisionParts, 1, []string{"CREEL_BENCH_RULES=" + file}},
				engine, "-test.run", "^$", "-test.bench", "^BenchmarkDecision$", "-test.benchtime", "30ms", "-test.count", "7")
		}
		for _, form := range []string{"indexed", "list"} {
			// A walk over the most rules takes the better part of a second.
			if opa != "" && (form == "indexed" || n < ruleCounts[len(ruleCounts)-1]) {
				c.benchmark(goBenchmark{"OPA " + form + ", ", suffix, "BenchmarkDecision", decisionParts, 1, nil}, opa, "-form", form, "-rules", file, "-test.benchtime", "30ms", "-test.count", "7")
			}
		}
	}
	return c
}

// differences is B14: the exact difference of two policies of 1,000 rules.
func (b *bench) differences() *comparison {
	c := &comparison{
		id: "B14", title: "The exact difference of two policies of 1,000 rules", unit: "ms", reference: "one rule differs",
		target: "at most 1 s, aim 100 ms",
	}
	analyser := b.program("analyse.test")
	if analyser == "" {
		c.skipped = append(c.skipped, "creel: bin/analyse.test is missing (policy/analyse is not there)")
		return c
	}
	const name = "BenchmarkDiff1000"
	for _, part := range []string{"one", "ten", "all"} {
		row := goBenchmark{"", map[bool]string{true: " rule differs", false: " rules differ"}[part == "one"], name, []string{part}, 1e6, nil}
		c.benchmark(row, analyser, "-test.run", "^$", "-test.bench", "^"+name+"$/^"+part+"$", "-test.benchtime", "3x", "-test.benchmem")
	}
	return c
}

// program is one that bench/run has built beside this one, or "".
func (b *bench) program(name string) string {
	path := filepath.Join(filepath.Dir(b.built), name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

func (b *bench) opa() string {
	path := filepath.Join(b.tools, "opa", "opa-decide")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// rules writes n rules and two questions about them, for all contenders.
func (b *bench) rules(n int) string {
	type entry struct {
		Method string            `json:"method"`
		Path   string            `json:"path"`
		Query  map[string]string `json:"query"`
	}
	type rule struct {
		Key      string   `json:"key"`
		Host     string   `json:"host"`
		Port     int      `json:"port"`
		Binaries []string `json:"binaries"`
		Globs    []string `json:"binary_globs"`
		Allow    []entry  `json:"allow"`
		Deny     []entry  `json:"deny"`
	}
	var list []rule
	for i := range n {
		host := fmt.Sprintf("host%d.zone%d.test", i, i%97)
		if i%10 == 9 {
			host = fmt.Sprintf("*.domain%d.test", i)
		}
		list = append(list, rule{
			Key: fmt.Sprintf("rule%06d", i), Host: host, Port: 443,
			Binaries: []string{"/usr/bin/curl"}, Globs: []string{"/opt/tools/**"},
			Allow: []entry{
				{"GET", "/repos/**", map[string]string{}},
				{"POST", "/repos/*/*/issues", map[string]string{"draft": "t*"}},
			},
			Deny: []entry{{"*", "/repos/*/*/keys", map[string]string{}}},
		})
	}
	half := n/2/10*10 + 1
	question := func(host string) map[string]any {
		return map[string]any{"host": host, "port": 443, "binary": "/usr/bin/curl", "method": "POST",
			"path": "/repos/o/r/issues", "query": map[string][]string{"draft": {"true"}}}
	}
	text, err := json.Marshal(map[string]any{"rules": list, "questions": []any{
		question(fmt.Sprintf("host%d.zone%d.test", half, half%97)),
		question(fmt.Sprintf("x.domain%d.test", n-1)),
	}})
	if err != nil {
		panic(err) // plain data
	}
	return b.policy(fmt.Sprintf("rules-%d.json", n), string(text))
}

// decisionParts are the two decisions of B6.
var decisionParts = []string{"connect", "request"}

// goBenchmark is a Go benchmark whose parts become contenders, each named
// before + part + after. Figures are divided by unit, in ns.
type goBenchmark struct {
	before, after, name string
	parts               []string
	unit                float64
	env                 []string
}

// benchmark adds the contenders of a program that prints g. One run of it
// serves all its parts.
func (c *comparison) benchmark(g goBenchmark, args ...string) {
	waiting := map[string]figure{}
	for _, part := range g.parts {
		row := g.before + part + g.after
		c.list = append(c.list, &contender{name: row, measure: func() (float64, error) {
			f, ok := waiting[part]
			if !ok {
				all, err := benchmarks(g.env, args...)
				if err != nil {
					return 0, err
				}
				for k, v := range all {
					waiting[strings.TrimPrefix(k, g.name+"/")] = v
				}
				if f, ok = waiting[part]; !ok {
					return 0, fmt.Errorf("no figure for %s among %v", part, slices.Sorted(maps.Keys(all)))
				}
			}
			delete(waiting, part)
			c.remark(row, f)
			return f.ns / g.unit, nil
		}})
	}
}

// remark keeps the allocations of the last run for the report.
func (c *comparison) remark(row string, f figure) {
	if c.allocations == nil {
		c.allocations = map[string]float64{}
	}
	c.allocations[row] = f.allocations
}

// figure is one line of a Go benchmark.
type figure struct{ ns, allocations float64 }

// benchmarks runs a program that prints Go benchmarks and reads their lines; a
// name loses the number of processors at its end.
func benchmarks(env []string, args ...string) (map[string]figure, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine([]byte(errs.String()+string(out))))
	}
	all := readBenchmarks(string(out))
	if len(all) == 0 {
		return nil, fmt.Errorf("no figures in %q", lastLine(out))
	}
	return all, nil
}

// readBenchmarks keeps the least of figures with one name.
func readBenchmarks(out string) map[string]figure {
	processors := regexp.MustCompile(`-\d+$`)
	all := map[string]figure{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		var f figure
		found := false
		for i := 2; i < len(fields); i++ {
			v, err := strconv.ParseFloat(fields[i-1], 64)
			switch {
			case err != nil:
			case fields[i] == "ns/op":
				f.ns, found = v, true
			case fields[i] == "allocs/op":
				f.allocations = v
			}
		}
		name := processors.ReplaceAllString(fields[0], "")
		if old, again := all[name]; found && (!again || f.ns < old.ns) {
			all[name] = f
		}
	}
	return all
}
