// Command bench measures creel against its peers and writes
// docs/BENCHMARKS.md. Run it by `make bench`.
//
// Absolute figures drift on shared machines, so every figure is a ratio of
// medians that were taken in one run, all contenders in turn, and the machine
// and all versions stand beside it. A peer that is missing or does not work is
// skipped by name; no figure makes the program fail.
//
// It starts programs and times them; it imports nothing of creel. Where a figure
// is about a package and not the program (B6, B13, B14), it runs the package's Go
// benchmarks, which bench/run builds beside it.
package main
