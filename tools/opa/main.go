// Command opa-decide measures how long the Open Policy Agent takes for one
// decision about the rules of a file that bench wrote (B6). It is a module of its
// own, so that its dependencies are none of creel's.
//
// OPA gets every help that its documentation offers: a query prepared once, the
// input parsed once, data kept in the form that evaluation reads, and, in the
// form "indexed", rules found by an object's key and not by a loop. What is
// timed is the evaluation alone. Figures are printed as Go's benchmarks are.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/version"
)

//go:embed indexed.rego
var indexed string

//go:embed list.rego
var list string

//go:embed rule.rego
var rule string

// file is what bench writes.
type file struct {
	Rules     []map[string]any
	Questions []map[string]any
}

func main() {
	testing.Init()
	form := flag.String("form", "indexed", "indexed, or list: how the rules are found")
	rules := flag.String("rules", "", "file with rules and questions")
	show := flag.Bool("version", false, "print OPA's version")
	flag.Parse()
	count, _ := strconv.Atoi(flag.Lookup("test.count").Value.String())
	if *show {
		fmt.Println(version.Version)
		return
	}
	if err := run(*form, *rules, count); err != nil {
		fmt.Fprintln(os.Stderr, "opa-decide:", err)
		os.Exit(1)
	}
}

func run(form, path string, count int) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	find, data := list, map[string]any{"rules": anyList(f.Rules)}
	if form == "indexed" {
		find, data = indexed, index(f.Rules)
	}
	var inputs []ast.Value
	for _, q := range f.Questions {
		v, err := ast.InterfaceToValue(q)
		if err != nil {
			return err
		}
		inputs = append(inputs, v)
	}
	ctx := context.Background()
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true))
	for _, what := range []string{"connect", "request"} {
		query, err := rego.New(rego.Query("data.creel."+what), rego.Module("find.rego", find), rego.Module("rule.rego", rule), rego.Store(store)).PrepareForEval(ctx)
		if err != nil {
			return err
		}
		decide := func(v ast.Value) error {
			set, err := query.Eval(ctx, rego.EvalParsedInput(v))
			if err != nil {
				return err
			}
			if !set.Allowed() {
				return fmt.Errorf("%s is not allowed: %v", what, v)
			}
			return nil
		}
		for _, v := range inputs {
			if err := decide(v); err != nil {
				return err
			}
		}
		for range count {
			r := testing.Benchmark(func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if err := decide(inputs[i%len(inputs)]); err != nil {
						b.Fatal(err)
					}
				}
			})
			fmt.Println("BenchmarkDecision/"+what, r.String(), r.MemString())
		}
	}
	return nil
}

// index files the rules under what is literal of their host.
func index(rules []map[string]any) map[string]any {
	literal, wild := map[string]any{}, map[string]any{}
	for _, r := range rules {
		host := r["host"].(string)
		into := literal
		if suffix, ok := strings.CutPrefix(host, "*."); ok {
			into, host = wild, suffix
		}
		of, _ := into[host].([]any)
		into[host] = append(of, any(r))
	}
	return map[string]any{"literal": literal, "wild": wild}
}

func anyList(rules []map[string]any) []any {
	all := make([]any, len(rules))
	for i, r := range rules {
		all[i] = r
	}
	return all
}
