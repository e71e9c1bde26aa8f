package main

import (
	"context"

	"github.com/creel-run/creel/cli"
	"github.com/creel-run/creel/selftest"
)

var (
	isPart  = selftest.IsPart
	runPart = selftest.RunPart
)

// selfTest attacks a sandbox of this installation for `creel selftest`.
func selfTest(ctx context.Context, o cli.SelftestOptions) (*cli.SelftestReport, error) {
	r, err := selftest.Run(ctx, selftest.Options{Policy: o.Policy, PolicyFound: o.PolicyFound, Notice: o.Notice})
	if err != nil {
		return nil, err
	}
	report := &cli.SelftestReport{OK: r.OK, Policy: r.Policy, User: r.User, Millis: r.Millis, Version: r.Version}
	for _, l := range r.Layers {
		report.Layers = append(report.Layers, cli.SelftestVerdict{Layer: l.Layer, State: string(l.State), Attempts: l.Attempts, Evidence: l.Evidence, Fix: l.Fix})
	}
	return report, nil
}
