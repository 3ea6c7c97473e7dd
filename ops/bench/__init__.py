"""Benchmarks: stages beside their peers, in one run, on one input. See docs/benchmarks.md for what came out."""
