"""Benchmarks: each prints ratios measured in one run, and ends with a line of JSON."""
