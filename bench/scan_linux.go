package main

// scanParts are the bodies of B13.
var scanParts = []string{"conversation-64KB", "picture-64KB", "lockfile-64KB", "form-64KB", "conversation-1024KB", "picture-1024KB", "lockfile-1024KB", "form-1024KB"}

// scanning is B13: request bodies without a secret through secret scanning.
func (b *bench) scanning() *comparison {
	c := &comparison{
		id: "B13", title: "64 KB and 1 MB request bodies through secret scanning", unit: "ms", reference: "conversation-64KB",
		target: "at most 5 ms for 64 KB and 60 ms for 1 MB, aim 1 ms for 64 KB",
		conditions: "All rules and twenty known values, on one processor. conversation: JSON of a model's protocol with source code in it; picture: random bytes in base64 in JSON; " +
			"lockfile: of npm, with its checksums; form: source code, percent-encoded. A round is the least of three runs.",
	}
	scanner := b.program("secrets.test")
	if scanner == "" {
		c.skipped = append(c.skipped, "creel: bin/secrets.test is missing (bench/run builds it)")
		return c
	}
	c.benchmark(goBenchmark{"", "", "BenchmarkScan", scanParts, 1e6, nil}, scanner,
		"-test.run", "^$", "-test.bench", "^BenchmarkScan$", "-test.benchtime", "10x", "-test.count", "3", "-test.benchmem")
	return c
}
