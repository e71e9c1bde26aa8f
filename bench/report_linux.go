package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// print writes one comparison as a table, which is also readable as text.
func (c *comparison) print(out io.Writer) {
	fmt.Fprintf(out, "\n## %s: %s\n\nMust reach: %s.", c.id, c.title, c.target)
	if c.conditions != "" {
		fmt.Fprintf(out, " %s", c.conditions)
	}
	fmt.Fprintf(out, "\n\n| contender | median, %s | 10 %% to 90 %% | ratio to %s | rounds |\n|---|---|---|---|---|\n", c.unit, c.reference)
	base, ok := c.medianOf(c.reference)
	for _, x := range c.list {
		ratio := "–"
		if ok && base > 0 {
			ratio = fmt.Sprintf("%.2f", x.values.median()/base)
		}
		fmt.Fprintf(out, "| %s | %.2f | %.2f to %.2f | %s | %d |\n", x.name, x.values.median(), x.values.quantile(0.1), x.values.quantile(0.9), ratio, len(x.values))
	}
	var notes []string
	for _, x := range c.list {
		if x.note != nil {
			notes = append(notes, x.name+" "+x.note())
		}
	}
	if len(notes) > 0 {
		fmt.Fprintf(out, "\nMedians of the rounds: %s.\n", strings.Join(notes, "; "))
	}
	if len(c.allocations) > 0 {
		var each []string
		for _, x := range c.list {
			each = append(each, fmt.Sprintf("%s %.0f", x.name, c.allocations[x.name]))
		}
		fmt.Fprintf(out, "\nAllocations of one operation: %s.\n", strings.Join(each, "; "))
	}
	if len(c.skipped) > 0 {
		fmt.Fprintf(out, "\nSkipped: %s.\n", strings.Join(c.skipped, "; "))
	}
}

func (b *bench) report(out io.Writer, done []*comparison) {
	fmt.Fprint(out, "# Benchmarks\n\nWritten by `make bench`; do not edit. Figures of another run differ; ratios of medians taken in the same run, in turn, are what counts.\n\n")
	for _, line := range b.machine() {
		fmt.Fprintf(out, "- %s\n", line)
	}
	for _, c := range done {
		c.print(out)
	}
	fmt.Fprintf(out, "\nSize of the static binary: %.1f MB.\n", float64(b.size)/1e6)
}

// machine says where the figures come from: kind of machine, kernel and
// versions, no names.
func (b *bench) machine() []string {
	lines := []string{
		"Date: " + time.Now().UTC().Format("2006-01-02"),
		fmt.Sprintf("Machine: %s, %d processors, %s of memory, %s", match("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`), runtime.NumCPU(), match("/proc/meminfo", `(?m)^MemTotal:\s*(.*)$`), runtime.GOARCH),
		"Load when it began: " + match("/proc/loadavg", `^(\S+ \S+ \S+)`) + " (when it is above the number of processors, they were shared with others)",
		"Kernel: " + firstLine("uname", "-sr"),
		"creel: " + b.creelVersion + ", built by " + runtime.Version(),
	}
	for _, p := range []struct {
		name string
		args []string
	}{
		{"bwrap", []string{"bwrap", "--version"}},
		{"pasta", []string{"pasta", "--version"}},
		{"slirp4netns", []string{"slirp4netns", "--version"}},
		{"runsc", []string{"runsc", "--version"}},
		{"squid", []string{"squid", "-v"}},
		{"mitmproxy", []string{filepath.Join(b.tools, "mitmproxy", "bin", "mitmdump"), "--version"}},
		{"codex", []string{b.codex(), "--version"}},
	} {
		if p.args[0] == "" {
			continue
		}
		if _, err := exec.LookPath(p.args[0]); err == nil {
			lines = append(lines, p.name+": "+firstLine(p.args...))
		}
	}
	if opa := b.opa(); opa != "" {
		lines = append(lines, "OPA: "+firstLine(opa, "-version"))
	}
	if node, cli := b.srt(); node != "" {
		lines = append(lines, "srt: "+firstLine(node, cli, "--version")+", with Node "+firstLine(node, "--version"))
	}
	return lines
}

func match(file, pattern string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		return "unknown"
	}
	return string(m[1])
}
