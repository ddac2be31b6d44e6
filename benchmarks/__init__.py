"""Benchmarks: timings live here, never in the tests. `make bench` runs the short form."""
