"""Benchmarks against the goals of the project, each run by hand: `python -m tests.benchmarks.rows`."""
